// Builds small evidence packs, honest or not, for tests.
#ifndef TESTS_SERVICES_AUDIT_PACK_BUILDER_H_
#define TESTS_SERVICES_AUDIT_PACK_BUILDER_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ledger/digest.h"
#include "ledger/entry.h"
#include "ledger/signing.h"
#include "ledger/statement.h"
#include "policy/pack.h"
#include "retort/policy/v1/facts.pb.h"

namespace retort::services {

// Allows samples of the provider huggingface and sends personal data to review.
extern const char kTestPack[];

class PackBuilder {
 public:
  using ChangeDecision = std::function<void(ledger::DecisionStatement&)>;

  PackBuilder();

  // Entries. The constructor has added the keys of teacher and policy.
  void AddPack(const std::string& yaml = kTestPack);
  // A sample that the packs so far decide about; `findings` is what screening found. `change` may falsify the
  // decision before it is signed, as a dishonest policy service would.
  void AddSample(int64_t index, const std::map<std::string, int>& findings = {},
                 const ChangeDecision& change = nullptr);
  void AddJobDecision(const ChangeDecision& change = nullptr);

  // What an attempt at the run "logits" used; the first call adds the trainer's key and a dataset without
  // samples.
  void AddAttempt(const ledger::TrainingUsage& usage);

  // Writes the pack to a new folder under the test's folder and returns it.
  std::string Write(const std::string& name) const;

  std::string log_vkey() const { return log_.vkey(); }
  static ledger::CaptureStatement Capture(int64_t index);
  // Facts of a sample, screening included.
  static policy::v1::Facts Facts(int64_t index, const std::map<std::string, int>& findings);
  const policy::PackSet& packs() const { return packs_; }

 private:
  void AddEntry(ledger::EntryKind kind, std::vector<ledger::SignedStatement> statements);
  void AddKey(const std::string& role, const ledger::SigningKey& key);

  ledger::SigningKey log_, teacher_, policy_, trainer_;
  int64_t samples_ = 0;  // all of the one job
  int64_t dataset_entry_ = -1;
  policy::PackSet packs_;
  std::vector<std::string> leaves_;
  std::map<std::string, std::string> attachments_;
};

}  // namespace retort::services

#endif  // TESTS_SERVICES_AUDIT_PACK_BUILDER_H_
