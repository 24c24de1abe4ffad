#include "services/audit/decision_auditor.h"

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "policy/decision_statement.h"
#include "policy/facts.h"

namespace retort::services {
namespace {

constexpr size_t kPacksPerDecisionMax = 1000;  // as many as a folder of packs may hold

std::string KeyOf(const policy::Obligation& o) {
  std::string key;
  for (const std::string* part : {&o.pack, &o.rule, &o.kind, &o.trigger, &o.text}) key += *part + '\n';
  return key;
}

}  // namespace

absl::Status DecisionAuditor::AddPack(const ledger::PolicyPackStatement& statement, std::string_view bytes) {
  const std::string sha256 = ledger::HexEncode(ledger::Sha256(bytes));
  if (sha256 != statement.sha256) {
    return absl::DataLossError("pack " + statement.id + ": saw SHA-256 " + sha256 + ", wanted " +
                               statement.sha256);
  }
  auto pack = policy::LoadedPack::Parse(statement.id, std::string(bytes));
  if (!pack.ok()) return pack.status();
  if (pack->pack().id() != statement.id || pack->pack().version() != statement.version) {
    return absl::InvalidArgumentError("pack: saw " + pack->pack().id() + " " + pack->pack().version() +
                                      " inside, wanted " + statement.id + " " + statement.version);
  }
  pack_bytes_.emplace(sha256, std::make_pair(statement.id, std::string(bytes)));
  return absl::OkStatus();
}

absl::StatusOr<const policy::PackSet*> DecisionAuditor::PacksOf(const ledger::DecisionStatement& decision) {
  if (decision.packs.size() > kPacksPerDecisionMax) {
    return absl::DataLossError("decision names " + std::to_string(decision.packs.size()) +
                               " packs, wanted at most " + std::to_string(kPacksPerDecisionMax));
  }
  std::string key;
  for (const auto& pack : decision.packs) key += pack.sha256 + '\n';
  if (auto found = sets_.find(key); found != sets_.end()) return &found->second;

  std::vector<std::pair<std::string, std::string>> packs;
  for (const auto& reference : decision.packs) {
    auto found = pack_bytes_.find(reference.sha256);
    if (found == pack_bytes_.end()) {
      return absl::DataLossError("decision names pack " + reference.id + " " + reference.version +
                                 " with SHA-256 " + reference.sha256 +
                                 ", which no entry before it made active");
    }
    packs.push_back(found->second);
  }
  auto set = policy::PackSet::FromPacks(std::move(packs));
  if (!set.ok()) {
    return absl::DataLossError("the packs that the decision names are no valid set: " +
                               std::string(set.status().message()));
  }
  return &sets_.emplace(key, *std::move(set)).first->second;
}

absl::Status DecisionAuditor::Check(const ledger::DecisionStatement& decision,
                                    const ledger::CaptureStatement* capture) {
  auto packs = PacksOf(decision);
  if (!packs.ok()) return packs.status();
  if (auto s = policy::RecomputeDecision(**packs, decision); !s.ok()) {
    return absl::DataLossError("decision does not follow from its facts and packs: " +
                               std::string(s.message()));
  }
  if (capture != nullptr) {
    // A statement has one written form, so ToJson gives the bytes that were signed.
    if (auto s = policy::CheckDecisionAgainstCapture(decision, capture->ToJson()); !s.ok()) return s;
  }
  Job& job = jobs_[decision.job_uid];
  if (decision.subject_kind == "job") {
    auto facts = policy::FactsFromCanonicalJson(decision.facts);
    if (!facts.ok()) return facts.status();
    job.use.distributed = !facts->student().has_distributed() || facts->student().distributed();
    job.use.hosted = !facts->student().has_hosted() || facts->student().hosted();
  } else if (decision.effect == "allow") {
    for (const auto& stated : decision.obligations) {
      policy::Obligation obligation = policy::FromStatement(stated);
      job.obligations.emplace(KeyOf(obligation), std::move(obligation));
    }
  }
  return absl::OkStatus();
}

std::vector<policy::Obligation> DecisionAuditor::ObligationsOf(const std::string& job_uid) const {
  std::vector<policy::Obligation> obligations;
  if (auto job = jobs_.find(job_uid); job != jobs_.end()) {
    for (const auto& [key, obligation] : job->second.obligations) obligations.push_back(obligation);
  }
  return obligations;
}

DecisionAuditor::Use DecisionAuditor::UseOf(const std::string& job_uid) const {
  auto job = jobs_.find(job_uid);
  return job == jobs_.end() ? Use() : job->second.use;
}

}  // namespace retort::services
