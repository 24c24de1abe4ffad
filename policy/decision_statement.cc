#include "policy/decision_statement.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/uuid.h"
#include "policy/facts.h"
#include "policy/obligations.h"

namespace retort::policy {
namespace {

std::string HashHex(std::string_view bytes) {
  return ledger::HexEncode(ledger::Sha256(bytes));
}

absl::Status Differs(const std::string& member, std::string_view seen, std::string_view wanted) {
  const auto quote = [](std::string_view text) { return "\"" + std::string(text.substr(0, 96)) + "\""; };
  return absl::DataLossError("decision." + member + ": saw " + quote(seen) + ", wanted " + quote(wanted));
}

std::vector<ledger::MatchedRule> ToStatement(const std::vector<RuleMatch>& rules) {
  std::vector<ledger::MatchedRule> out;
  for (const RuleMatch& rule : rules)
    out.push_back({rule.pack, rule.rule, std::string(EffectName(rule.effect)), rule.clause});
  return out;
}

std::vector<ledger::PackReference> ToStatement(const std::vector<ActivePack>& packs) {
  std::vector<ledger::PackReference> out;
  for (const ActivePack& pack : packs) out.push_back({pack.id, pack.version, pack.sha256});
  return out;
}

// One text for each element, so that lists are compared and shown alike.
std::string Show(const ledger::MatchedRule& r) {
  return r.pack + " " + r.rule + " " + r.effect + " " + r.clause;
}
std::string Show(const ledger::DecidedObligation& o) {
  return o.pack + " " + o.rule + " " + o.kind + " " + o.trigger + " " + o.text;
}
std::string Show(const ledger::PackReference& p) {
  return p.id + " " + p.version + " " + p.sha256;
}
std::string Show(const std::string& text) {
  return text;
}

bool Same(const ledger::MatchedRule& a, const ledger::MatchedRule& b) {
  return a.pack == b.pack && a.rule == b.rule && a.effect == b.effect && a.clause == b.clause;
}
bool Same(const ledger::DecidedObligation& a, const ledger::DecidedObligation& b) {
  return a.pack == b.pack && a.rule == b.rule && a.kind == b.kind && a.trigger == b.trigger &&
         a.text == b.text;
}
bool Same(const ledger::PackReference& a, const ledger::PackReference& b) {
  return a.id == b.id && a.version == b.version && a.sha256 == b.sha256;
}
bool Same(const std::string& a, const std::string& b) {
  return a == b;
}

template <typename T>
absl::Status CompareLists(const std::string& member, const std::vector<T>& seen,
                          const std::vector<T>& wanted) {
  for (size_t i = 0; i < std::max(seen.size(), wanted.size()); ++i) {
    const std::string at = member + "[" + std::to_string(i) + "]";
    if (i >= seen.size()) return Differs(at, "nothing", Show(wanted[i]));
    if (i >= wanted.size()) return Differs(at, Show(seen[i]), "nothing");
    if (!Same(seen[i], wanted[i])) return Differs(at, Show(seen[i]), Show(wanted[i]));
  }
  return absl::OkStatus();
}

// What follows from packs and facts alone.
void FillDecision(const PackSet& packs, const v1::Facts& facts, ledger::DecisionStatement* out) {
  const Decision decision = Evaluate(packs, facts);
  out->effect = EffectName(decision.effect);
  out->rules = ToStatement(decision.rules);
  out->obligations.clear();
  for (const Obligation& obligation : decision.obligations)
    out->obligations.push_back(ToStatement(obligation));
  out->packs = ToStatement(decision.packs);
  out->missing_inputs = decision.missing_inputs;
  out->facts = FactsToCanonicalJson(facts);
  out->facts_digest = HashHex(out->facts);
  out->generated_time = FormatTime(facts.generated_time());
  out->decided_time = FormatTime(facts.decided_time());
}

// Facts of a statement that can be stated: the same checks on the way out and on the way back.
absl::Status CheckStatable(const v1::Facts& facts, const std::string& kind) {
  if (auto s = ValidateFacts(facts); !s.ok()) return s;
  if (FactsToCanonicalJson(facts).size() > kFactsJsonSizeMax) {
    return absl::InvalidArgumentError("facts: saw more than " + std::to_string(kFactsJsonSizeMax) +
                                      " bytes of canonical JSON, wanted fewer");
  }
  if (!facts.has_generated_time() || !facts.has_decided_time()) {
    return absl::InvalidArgumentError("facts: saw no generated_time or no decided_time, wanted both");
  }
  if (kind != "sample" && kind != "job") {
    return absl::InvalidArgumentError("subject_kind: saw \"" + kind.substr(0, 64) +
                                      "\", wanted sample or job");
  }
  if (facts.has_screening() != (kind == "sample")) {
    return absl::InvalidArgumentError("facts.screening: wanted with a sample and not with a job (" + kind +
                                      ")");
  }
  return absl::OkStatus();
}

// At most as much of a text as facts may hold, cut between characters. A provider chooses the name of its
// model, and no name that it chooses may keep a sample from being decided about.
std::string Clip(const std::string& text) {
  size_t size = std::min(text.size(), kFactTextMax);
  while (size < text.size() && size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
  return text.substr(0, size);
}

std::string UuidOf(std::string_view domain, std::string_view name) {
  return ledger::UuidFromDigest(ledger::Sha256(std::string(domain) + "\n" + std::string(name)));
}

}  // namespace

std::string SampleDecisionRequestId(std::string_view capture_request_id) {
  return UuidOf("retort/decision/v1", capture_request_id);
}

std::string PackRequestId(std::string_view project, std::string_view pack, std::string_view version,
                          std::string_view sha256) {
  std::string text = "retort/pack/v1";
  for (const std::string_view part : {project, pack, version, sha256}) text.append("\n").append(part);
  return ledger::UuidFromDigest(ledger::Sha256(text));
}

std::string PreflightRequestId(std::string_view job_uid) {
  return UuidOf("retort/preflight/v1", job_uid);
}

absl::Status FillFactsFromCapture(const ledger::CaptureStatement& capture, v1::Facts* facts) {
  auto generated = ParseTime(capture.completed_time);
  if (!generated.ok()) return generated.status();
  *facts->mutable_generated_time() = *generated;
  v1::TeacherFacts& teacher = *facts->mutable_teacher();
  const auto set = [&teacher](const std::string& text, void (v1::TeacherFacts::*put)(const std::string&),
                              void (v1::TeacherFacts::*clear)()) {
    text.empty() ? (teacher.*clear)() : (teacher.*put)(Clip(text));
  };
  set(capture.provider, &v1::TeacherFacts::set_provider, &v1::TeacherFacts::clear_provider);
  set(capture.channel, &v1::TeacherFacts::set_channel, &v1::TeacherFacts::clear_channel);
  set(capture.model_requested, &v1::TeacherFacts::set_model, &v1::TeacherFacts::clear_model);
  set(capture.model_answered, &v1::TeacherFacts::set_model_answered, &v1::TeacherFacts::clear_model_answered);
  set(capture.account_region, &v1::TeacherFacts::set_account_region, &v1::TeacherFacts::clear_account_region);
  teacher.set_account_class(Clip(capture.account_class));
  teacher.set_modality("text");
  teacher.clear_acquired_time();
  if (!capture.acquired_time.empty()) {
    auto acquired = ParseTime(capture.acquired_time);
    if (!acquired.ok()) return acquired.status();
    *teacher.mutable_acquired_time() = *acquired;
  }
  return absl::OkStatus();
}

absl::StatusOr<ledger::DecisionStatement> MakeDecisionStatement(const PackSet& packs, const v1::Facts& facts,
                                                                const DecisionSubject& subject) {
  if (auto s = CheckStatable(facts, subject.kind); !s.ok()) return s;
  ledger::DecisionStatement statement;
  statement.project = subject.project;
  statement.request_id = subject.request_id;
  statement.subject_kind = subject.kind;
  statement.job = subject.job;
  statement.job_uid = subject.job_uid;
  FillDecision(packs, facts, &statement);
  statement.subject_digest = subject.kind == "job" ? statement.facts_digest : subject.subject_digest;
  return statement;
}

absl::Status RecomputeDecision(const PackSet& packs, const ledger::DecisionStatement& statement) {
  auto facts = FactsFromCanonicalJson(statement.facts);
  if (!facts.ok()) return Differs("facts", std::string(facts.status().message()), "facts in canonical JSON");
  if (auto s = CheckStatable(*facts, statement.subject_kind); !s.ok()) {
    return Differs("facts", std::string(s.message()), "facts that a decision can be stated about");
  }
  ledger::DecisionStatement wanted;
  FillDecision(packs, *facts, &wanted);
  if (auto s = CompareLists("packs", statement.packs, wanted.packs); !s.ok()) {
    return absl::FailedPreconditionError("these are not the packs of the decision: " +
                                         std::string(s.message()));
  }
  const std::array<std::tuple<const char*, const std::string*, const std::string*>, 4> texts = {{
      {"facts_digest", &statement.facts_digest, &wanted.facts_digest},
      {"effect", &statement.effect, &wanted.effect},
      {"generated_time", &statement.generated_time, &wanted.generated_time},
      {"decided_time", &statement.decided_time, &wanted.decided_time},
  }};
  for (const auto& [member, seen, want] : texts) {
    if (*seen != *want) return Differs(member, *seen, *want);
  }
  if (statement.subject_kind == "job" && statement.subject_digest != wanted.facts_digest) {
    return Differs("subject_digest", statement.subject_digest, wanted.facts_digest);
  }
  if (auto s = CompareLists("rules", statement.rules, wanted.rules); !s.ok()) return s;
  if (auto s = CompareLists("obligations", statement.obligations, wanted.obligations); !s.ok()) return s;
  return CompareLists("missing_inputs", statement.missing_inputs, wanted.missing_inputs);
}

absl::Status CheckDecisionAgainstCapture(const ledger::DecisionStatement& decision,
                                         std::string_view capture_json) {
  auto capture = ledger::CaptureStatement::Parse(capture_json);
  if (!capture.ok())
    return Differs("subject_digest", "the digest of something else", "the digest of a capture statement");
  const std::string digest = HashHex(capture_json), request_id = SampleDecisionRequestId(capture->request_id);
  const std::string kind = "sample";
  const std::array<std::tuple<const char*, const std::string*, const std::string*>, 6> texts = {{
      {"subject_kind", &decision.subject_kind, &kind},
      {"subject_digest", &decision.subject_digest, &digest},
      {"project", &decision.project, &capture->project},
      {"job", &decision.job, &capture->job},
      {"job_uid", &decision.job_uid, &capture->job_uid},
      {"request_id", &decision.request_id, &request_id},
  }};
  for (const auto& [member, seen, want] : texts) {
    if (*seen != *want) return Differs(member, *seen, *want);
  }
  auto facts = FactsFromCanonicalJson(decision.facts);
  if (!facts.ok()) return Differs("facts", std::string(facts.status().message()), "facts in canonical JSON");
  v1::Facts wanted = *facts;
  if (auto s = FillFactsFromCapture(*capture, &wanted); !s.ok())
    return Differs("facts", std::string(s.message()), "the capture's times");
  if (facts->screening().finish_reason() != "" &&
      facts->screening().finish_reason() != capture->finish_reason) {
    return Differs("facts.screening.finish_reason", facts->screening().finish_reason(),
                   capture->finish_reason);
  }
  const std::string seen = FactsToCanonicalJson(*facts), want = FactsToCanonicalJson(wanted);
  if (seen == want) return absl::OkStatus();
  size_t at = 0;  // show the place of the first difference, not two long objects
  while (at < seen.size() && at < want.size() && seen[at] == want[at]) ++at;
  const size_t from = at < 32 ? 0 : at - 32;
  return Differs("facts", seen.substr(from, 96), want.substr(from, 96));
}

}  // namespace retort::policy
