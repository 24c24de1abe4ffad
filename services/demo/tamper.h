// Damages copies of an evidence pack in chosen places, so that the demo and tests can show that each is
// found.
#ifndef SERVICES_DEMO_TAMPER_H_
#define SERVICES_DEMO_TAMPER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/statement.h"

namespace retort::services {

// Copies the pack to the new folder `to`. AlreadyExists when it is there; Unavailable when files cannot be
// copied.
absl::Status CopyPack(const std::string& from, const std::string& to);

// Flips the lowest bit of one byte in the middle of the first capture (kCapture) or decision (kDecision) of a
// SAMPLE entry and returns how a finding must name the place: "entry 57 (SAMPLE)". NotFound when the pack has
// no SAMPLE entry; DataLoss when its bundles cannot be read.
absl::StatusOr<std::string> FlipInSample(const std::string& pack, ledger::StatementType type);

// Flips the lowest bit of the byte in the middle of a file; returns `file`. NotFound when it is missing or
// empty.
absl::StatusOr<std::string> FlipInFile(const std::string& pack, const std::string& file);

// Cuts the last entry bundle in half; returns its path. NotFound when the pack has none.
absl::StatusOr<std::string> TruncateEntries(const std::string& pack);

}  // namespace retort::services

#endif  // SERVICES_DEMO_TAMPER_H_
