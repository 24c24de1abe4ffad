#include "services/jobs/wire.h"

#include "google/protobuf/util/time_util.h"
#include "services/edge/teacher_channel.h"

namespace retort::jobs {

ledger::v1::SignedStatement ToProto(const ledger::SignedStatement& statement) {
  ledger::v1::SignedStatement proto;
  proto.set_statement(statement.statement);
  proto.set_signature(statement.signature.data(), statement.signature.size());
  proto.set_key_id(statement.key_id.data(), statement.key_id.size());
  return proto;
}

ledger::v1::SignedStatement ToProto(const policy::v1::DecideResponse& response) {
  ledger::v1::SignedStatement proto;
  proto.set_statement(response.decision());
  proto.set_signature(response.signature());
  proto.set_key_id(response.key_id());
  return proto;
}

v1::Obligation ToProto(const ledger::DecidedObligation& obligation) {
  v1::Obligation proto;
  proto.set_pack(obligation.pack);
  proto.set_rule(obligation.rule);
  proto.set_kind(obligation.kind);
  proto.set_trigger(obligation.trigger);
  proto.set_text(obligation.text);
  return proto;
}

ledger::DecidedObligation FromProto(const v1::Obligation& obligation) {
  return {obligation.pack(), obligation.rule(), obligation.kind(), obligation.trigger(), obligation.text()};
}

policy::v1::Facts FactsOf(const teacher::v1::Teacher& teacher, const v1::JobSpec& spec, std::string mode,
                          std::chrono::system_clock::time_point now) {
  policy::v1::Facts facts;
  policy::v1::TeacherFacts& about = *facts.mutable_teacher();
  if (!teacher.provider().empty()) about.set_provider(teacher.provider());
  about.set_channel(services::TeacherChannelName(teacher.channel()));
  if (!teacher.model().empty()) about.set_model(teacher.model());
  about.set_account_class(teacher.account_class());  // empty says that there is none
  if (!teacher.account_region().empty()) about.set_account_region(teacher.account_region());
  if (teacher.has_acquired_time()) *about.mutable_acquired_time() = teacher.acquired_time();
  about.set_modality("text");
  about.set_extraction_mode(std::move(mode));
  *facts.mutable_student() = spec.purpose();
  if (spec.has_student()) {
    facts.mutable_student()->set_name(spec.student().name());
    if (!spec.purpose().has_base_model()) facts.mutable_student()->set_base_model("");
  }
  *facts.mutable_generated_time() = google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count());
  if (!spec.prompt_licence().empty()) facts.set_prompt_licence(spec.prompt_licence());
  *facts.mutable_authorisations() = spec.authorisations();
  return facts;
}

std::string Explain(const ledger::DecisionStatement& decision) {
  std::string text;
  for (const ledger::MatchedRule& rule : decision.rules) {
    if (rule.effect != decision.effect) continue;
    text += (text.empty() ? "" : "; ") + rule.pack + " " + rule.rule + " (" + rule.clause + ")";
  }
  if (text.empty()) text = "no rule matches";
  for (size_t i = 0; i < decision.missing_inputs.size(); ++i) {
    text += (i == 0 ? "; missing: " : ", ") + decision.missing_inputs[i];
  }
  return text;
}

}  // namespace retort::jobs
