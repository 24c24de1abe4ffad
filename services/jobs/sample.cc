#include "services/jobs/sample.h"

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "services/edge/status.h"
#include "services/jobs/wire.h"

namespace retort::jobs {
namespace {

using LedgerStub = ledger::v1::LedgerService::StubInterface;
using PolicyStub = policy::v1::PolicyService::StubInterface;

absl::Status Unreadable(std::string_view what, const absl::Status& why) {
  return absl::InternalError(std::string(what) + " cannot be read: " + std::string(why.message()));
}

}  // namespace

absl::StatusOr<RecordedSample> Record(Peers& peers, PackRegister& packs, StopSignal& stop,
                                      const teacher::v1::ExtractResponse& answer,
                                      const policy::v1::Facts& facts, const RecordOptions& options) {
  auto waiting = [&](std::string_view peer) {
    return [&options, peer](const absl::Status& status) { options.waiting(peer, status); };
  };
  auto capture = ledger::CaptureStatement::Parse(answer.capture());
  if (!capture.ok()) return Unreadable("the teacher service's capture", capture.status());

  policy::v1::DecideSampleRequest decide;
  decide.set_capture(answer.capture());
  decide.set_payload(answer.payload());
  decide.set_salt(answer.salt());
  *decide.mutable_facts() = facts;
  ledger::DecisionStatement decision;
  // The packs are registered with the decision that names them: if they change in between, a new decision is
  // made.
  std::string_view asked;
  auto decided = CallUntilAnswered<policy::v1::DecideResponse>(
      stop, options.until, options.pauses,
      [&](const absl::Status& status) { options.waiting(asked, status); },
      [&]() -> absl::StatusOr<policy::v1::DecideResponse> {
        asked = "policy";
        auto response = CallOnce(stop, *peers.policy, &PolicyStub::DecideSample, decide);
        if (!response.ok()) return response;
        auto parsed = ledger::DecisionStatement::Parse(response->decision());
        if (!parsed.ok()) return Unreadable("the policy service's decision", parsed.status());
        decision = *std::move(parsed);
        if (auto registered = packs.Ensure(stop, options.project, decision.packs, &asked); !registered.ok())
          return registered;
        return response;
      });
  if (!decided.ok()) return decided.status();
  if (decision.subject_digest != ledger::HexEncode(ledger::Sha256(answer.capture()))) {
    return absl::InternalError("the policy service decided about another capture than the one it was given");
  }
  if (options.before_append) {
    if (auto status = options.before_append(decision, *capture); !status.ok()) return status;
  }

  ledger::v1::AppendEntryRequest append;
  append.set_parent(options.project);
  append.set_kind(ledger::v1::ENTRY_KIND_SAMPLE);
  auto& signed_capture = *append.add_statements();
  signed_capture.set_statement(answer.capture());
  signed_capture.set_signature(answer.signature());
  signed_capture.set_key_id(answer.key_id());
  *append.add_statements() = ToProto(*decided);
  append.set_payload(answer.payload());
  append.set_salt(answer.salt());
  auto entry = CallUntilAnswered<ledger::v1::Entry>(
      stop, options.until, options.pauses, waiting("ledger"),
      [&] { return CallOnce(stop, *peers.ledger, &LedgerStub::AppendEntry, append); });
  RecordedSample recorded{decision.effect, -1, answer.completion_tokens()};
  if (entry.ok()) {
    recorded.entry = entry->index();
  } else if (services::ReasonOf(entry.status()) != REQUEST_ID_REUSED &&
             !absl::IsAlreadyExists(entry.status())) {
    return entry.status();
  }
  return recorded;
}

ExtractFailure Classify(const absl::Status& status) {
  if (IsAway(status)) return ExtractFailure::kAway;
  switch (services::ReasonOf(status)) {
    case TEACHER_RATE_LIMITED:
    case TEACHER_TIMEOUT:
    case TEACHER_UNAVAILABLE:
      return ExtractFailure::kPassing;
    case TEACHER_REJECTED:
    case TEACHER_BROKEN_ANSWER:
      return ExtractFailure::kPrompt;
    default:
      return ExtractFailure::kEndpoint;
  }
}

}  // namespace retort::jobs
