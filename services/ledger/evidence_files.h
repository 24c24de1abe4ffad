// The files of an evidence pack that the ledger makes, as of one tree size: checkpoint, entries, leaf hashes,
// and the attachments that those entries name (docs/formats/ledger.md). The same size gives the same bytes
// whatever came since.
#ifndef SERVICES_LEDGER_EVIDENCE_FILES_H_
#define SERVICES_LEDGER_EVIDENCE_FILES_H_

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "ledger/log.h"

namespace retort::services {

// Calls `visit` for every file, in one order, until it returns an error, which is returned. DataLoss when
// stored bytes do not match the tree or their digest.
absl::Status ForEachEvidenceFile(
    const ledger::Log& log, const ledger::SignedCheckpoint& checkpoint,
    const std::function<absl::Status(const std::string& path, std::string_view content)>& visit);

}  // namespace retort::services

#endif  // SERVICES_LEDGER_EVIDENCE_FILES_H_
