// Offline verification of an evidence pack: from a folder and the log's public key, nothing else.
//
// The pack (docs/formats/ledger.md, "Evidence pack") is
//
// - manifest.json: size and SHA-256 of every other file, canonical JSON (ledger/verify/pack_manifest.h);
// - checkpoint: a C2SP note, signed by the log;
// - tile/entries/...: every entry, in C2SP bundles;
// - tile/0/...: the leaf hashes, in C2SP tiles; optional, they tell which entry a changed byte is in;
// - attachments/<sha256>: packs, dataset manifests, training manifests;
// - student/...: the released files, when a student was released.
//
// Contents are checked before the blanket digests of manifest.json, so a changed byte is reported as what it
// changed: the statement of the entry, the file of the student. Findings are collected, up to kFindingsMax,
// not only the first. Links hashing, Ed25519 and JSON; no database, no RPC, no protobuf. One thread.
#ifndef LEDGER_VERIFY_EVIDENCE_H_
#define LEDGER_VERIFY_EVIDENCE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/checkpoint.h"
#include "ledger/digest.h"
#include "ledger/entry.h"
#include "ledger/statement.h"

namespace retort::ledger {

inline constexpr size_t kFindingsMax = 32;

// Something that does not hold.
struct Finding {
  std::string
      where;  // "entry 57 (SAMPLE)", "student/model.safetensors", "tile/entries/000.p/37", "checkpoint"
  std::string what;  // "decision signature does not verify"
  std::string ToString() const { return where + ": " + what; }
};

// Something that was checked, and how much of it.
struct Checked {
  std::string what;  // "signatures of statements"
  uint64_t count = 0;
};

struct VerifyReport {
  Checkpoint checkpoint;
  std::string log_vkey;
  std::vector<Finding> findings;  // empty: verified
  bool more_findings = false;     // kFindingsMax was reached
  std::vector<Checked> checked;
  std::vector<std::string> not_checked;   // sentences
  std::optional<uint64_t> release_entry;  // whose files student/ holds

  // "VERIFIED" or "FAILED: <first finding>".
  std::string Verdict() const;
};

// Called in log order while entries are read; each may be empty. An error becomes a finding of that entry.
struct EvidenceVisitor {
  // A pack that became active, with the bytes of its attachment (their SHA-256 is the statement's).
  std::function<absl::Status(uint64_t index, const PolicyPackStatement& statement, std::string_view pack)>
      policy_pack;
  // The decision of a SAMPLE (capture given) or a DECISION entry (capture null). Its signature has been
  // checked.
  std::function<absl::Status(uint64_t index, const DecisionStatement& decision,
                             const CaptureStatement* capture)>
      decision;
  // A key that the log accepts, or no longer; so that a report can say who signed.
  std::function<absl::Status(uint64_t index, const KeyStatement& statement)> key;
  std::function<absl::Status(uint64_t index, const DatasetStatement& statement)> dataset;
  std::function<absl::Status(uint64_t index, const TrainingStatement& statement)> training;
  std::function<absl::Status(uint64_t index, const ReleaseStatement& statement)> release;
  // After every entry; for progress. May be empty.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

// Verifies the pack in `folder` against the log's key; `origin` empty means the key's name. InvalidArgument
// for a bad vkey; NotFound when the folder has no checkpoint; Unavailable when files cannot be read.
// Everything else that is wrong with the pack is a finding.
absl::StatusOr<VerifyReport> VerifyEvidence(const std::string& folder, std::string_view log_vkey,
                                            std::string_view origin, const EvidenceVisitor& visitor);

}  // namespace retort::ledger

#endif  // LEDGER_VERIFY_EVIDENCE_H_
