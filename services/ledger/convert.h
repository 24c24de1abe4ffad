// Between the messages of retort.ledger.v1 and the types of ledger/. Pure functions.
#ifndef SERVICES_LEDGER_CONVERT_H_
#define SERVICES_LEDGER_CONVERT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/log.h"
#include "retort/ledger/v1/ledger.pb.h"

namespace retort::services {

// The append that a request asks for. InvalidArgument (INVALID_FIELD) for a kind that is none, a signature
// that is not 64 bytes, a key id or a salt that is not 32, an attachment whose digest is not its content's,
// or anything above its bound.
absl::StatusOr<ledger::AppendRequest> AppendFrom(const ledger::v1::AppendEntryRequest& request);

// `project` is projects/{project}. The leaf must parse: it comes from the log.
ledger::v1::Entry EntryMessage(const std::string& project, uint64_t index, const ledger::Digest& leaf_hash,
                               const std::string& leaf, const ledger::Entry& entry);

ledger::v1::Checkpoint CheckpointMessage(const ledger::SignedCheckpoint& checkpoint, const std::string& vkey);

std::string BytesOf(const ledger::Digest& digest);

}  // namespace retort::services

#endif  // SERVICES_LEDGER_CONVERT_H_
