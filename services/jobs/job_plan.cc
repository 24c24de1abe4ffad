#include "services/jobs/job_plan.h"

#include <google/protobuf/util/time_util.h>

#include <cmath>
#include <utility>

#include "google/rpc/error_details.pb.h"
#include "ledger/fixed_decimal.h"
#include "services/edge/status.h"
#include "services/jobs/wire.h"

namespace retort::jobs {
namespace {

using PolicyStub = policy::v1::PolicyService::StubInterface;
using TeacherStub = teacher::v1::TeacherService::StubInterface;

constexpr int kEarlierJobsMax = 100;
constexpr int64_t kBytesPerToken = 4;  // of English prose with the tokenizers of today; other text has fewer

// Sums over earlier jobs of the project that ended with something to count.
struct Pace {
  int64_t samples = 0, tokens = 0;  // with this teacher
  double extraction_seconds = 0;
  int64_t training_tokens = 0;  // of this shape and row length
  double training_seconds = 0;
};

absl::StatusOr<Pace> PaceOf(const JobStore& store, const v1::Job& job) {
  Pace pace;
  auto earlier =
      store.List({.project = job.name().substr(0, job.name().find("/jobs/")), .size = kEarlierJobsMax});
  if (!earlier.ok()) return earlier.status();
  const v1::JobSpec& spec = job.spec();
  for (const v1::Job& other : earlier->jobs) {
    const v1::Progress& progress = other.progress();
    if (other.spec().teacher() == spec.teacher() && progress.samples_done() > 0) {
      pace.samples += progress.samples_done();
      pace.tokens += progress.teacher_tokens();
      pace.extraction_seconds += progress.extraction_seconds();
    }
    const v1::TrainingSpec& training = other.spec().training();
    if (other.spec().student().shape() == spec.student().shape() &&
        training.sequence_length() == spec.training().sequence_length() && progress.training_seconds() > 0) {
      pace.training_tokens += progress.training_tokens();
      pace.training_seconds += progress.training_seconds();
    }
  }
  return pace;
}

std::string Explain(const policy::v1::PreviewedDecision& decision) {
  std::string text;
  for (const auto& rule : decision.rules()) {
    if (rule.effect() != decision.effect()) continue;
    text += (text.empty() ? "" : "; ") + rule.pack() + " " + rule.rule() + " (" + rule.clause() + ")";
  }
  if (text.empty()) text = "no rule matches";
  for (int i = 0; i < decision.missing_inputs_size(); ++i)
    text += (i == 0 ? "; missing: " : ", ") + decision.missing_inputs(i);
  return text;
}

absl::Status Refusal(const policy::v1::PreviewedDecision& decision) {
  const bool denied = decision.effect() == "deny";
  absl::Status status = services::WithReason(
      absl::FailedPreconditionError(
          (denied ? "policy denies this job: " : "policy asks for a review of this job: ") +
          Explain(decision) + "; nothing was sent to the teacher"),
      denied ? POLICY_DENIED : POLICY_REVIEW);
  google::rpc::PreconditionFailure failure;
  for (const auto& rule : decision.rules()) {
    if (rule.effect() != decision.effect()) continue;
    auto* violation = failure.add_violations();
    violation->set_type("POLICY");
    violation->set_subject(rule.pack() + "/" + rule.rule());
    violation->set_description(rule.effect() + " by " + rule.clause());
  }
  for (const std::string& input : decision.missing_inputs()) {
    auto* violation = failure.add_violations();
    violation->set_type("FACT");
    violation->set_subject(input);
    violation->set_description("nobody has declared this fact");
  }
  status.SetPayload("type.googleapis.com/google.rpc.PreconditionFailure",
                    absl::Cord(failure.SerializeAsString()));
  return status;
}

policy::v1::PreviewJobRequest Question(const v1::Job& job, const policy::v1::Facts& facts) {
  policy::v1::PreviewJobRequest request;
  request.set_job(job.name());
  *request.mutable_facts() = facts;
  for (const v1::Prompt& prompt : job.spec().prompts()) {
    auto* row = request.add_prompts();
    row->set_id(prompt.id());
    row->set_split(prompt.split().empty() ? "train" : prompt.split());
    if (!prompt.system().empty()) row->add_texts(prompt.system());
    row->add_texts(prompt.text());
  }
  return request;
}

google::protobuf::Duration Seconds(double seconds) {
  return google::protobuf::util::TimeUtil::MillisecondsToDuration(static_cast<int64_t>(seconds * 1000));
}

absl::StatusOr<v1::Money> Added(const v1::Money& a, const v1::Money& b) {
  v1::Money sum = a;
  const int64_t nanos = int64_t{a.nanos()} + b.nanos();
  sum.set_units(a.units() + b.units() + nanos / 1'000'000'000);
  sum.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return sum;
}

// What the provider charges for so many tokens.
absl::StatusOr<v1::Money> TeacherCost(const teacher::v1::TeacherPrice& price, int64_t prompt,
                                      int64_t completion) {
  auto asked = Charge(price.currency_code(), price.per_million_prompt_tokens(), prompt, 1'000'000);
  if (!asked.ok()) return asked.status();
  auto answered = Charge(price.currency_code(), price.per_million_completion_tokens(), completion, 1'000'000);
  if (!answered.ok()) return answered.status();
  return Added(*asked, *answered);
}

void EstimateTeacher(const v1::JobSpec& spec, const teacher::v1::Teacher& teacher, const Pace& pace,
                     v1::JobPlan& plan) {
  for (const v1::Prompt& prompt : spec.prompts()) {
    const auto bytes = static_cast<int64_t>(prompt.system().size() + prompt.text().size());
    plan.set_prompt_tokens(plan.prompt_tokens() + (bytes + kBytesPerToken - 1) / kBytesPerToken);
  }
  plan.set_call_count(spec.prompts_size());
  plan.set_completion_tokens_max(int64_t{spec.prompts_size()} * spec.sampling().max_tokens());
  plan.add_basis(
      "prompt_tokens: one token for every 4 bytes; the chat template and repeated calls come on top");
  plan.add_basis("completion_tokens_max: max_tokens for every prompt");
  if (pace.samples > 0) {
    const double each = static_cast<double>(pace.tokens) / static_cast<double>(pace.samples);
    plan.set_completion_tokens_expected(std::min(
        plan.completion_tokens_max(), static_cast<int64_t>(std::llround(each * spec.prompts_size()))));
    *plan.mutable_extraction_time() =
        Seconds(pace.extraction_seconds / static_cast<double>(pace.samples) * spec.prompts_size());
    plan.add_basis("completion_tokens_expected, extraction_time: the mean of " +
                   std::to_string(pace.samples) + " samples of this teacher in this project");
  } else {
    plan.add_basis(
        "completion_tokens_expected, extraction_time: absent, no earlier job of this project asked this "
        "teacher");
  }
  if (teacher.endpoint() == "local" || !teacher.has_price()) {
    plan.add_basis(teacher.endpoint() == "local"
                       ? "teacher_cost: absent, the teacher runs on this server"
                       : "teacher_cost: absent, the operator declared no price for this teacher");
    return;
  }
  auto most = TeacherCost(teacher.price(), plan.prompt_tokens(), plan.completion_tokens_max());
  if (most.ok()) *plan.mutable_teacher_cost_max() = *most;
  if (plan.has_completion_tokens_expected()) {
    auto expected = TeacherCost(teacher.price(), plan.prompt_tokens(), plan.completion_tokens_expected());
    if (expected.ok()) *plan.mutable_teacher_cost_expected() = *expected;
  }
  plan.add_basis("teacher_cost: the operator's declared price, without what a provider adds or takes off");
}

void EstimateTraining(const v1::JobSpec& spec, const Pace& pace, const TrainingCosts& costs,
                      v1::JobPlan& plan) {
  if (spec.extract_only()) return;
  const int64_t runs = spec.training().text_only_baseline() ? 2 : 1;
  plan.set_training_tokens(runs * spec.training().steps() * spec.training().batch_tokens());
  if (pace.training_tokens == 0) {
    plan.add_basis(
        "training_time: absent, no earlier job of this project trained this shape with these rows");
    return;
  }
  const double seconds = pace.training_seconds * static_cast<double>(plan.training_tokens()) /
                         static_cast<double>(pace.training_tokens);
  *plan.mutable_training_time() = Seconds(seconds);
  plan.add_basis("training_time: the pace of " + std::to_string(pace.training_tokens) +
                 " tokens of earlier jobs");
  if (costs.price_device_hour.empty()) {
    plan.add_basis("training_cost: absent, the operator declared no price for a device's hour");
    return;
  }
  const int64_t devices =
      int64_t{std::max(1, spec.training().data_ranks())} * std::max(1, spec.training().expert_ranks());
  auto cost = Charge(costs.currency, costs.price_device_hour, std::llround(seconds) * devices, 3600);
  if (cost.ok()) *plan.mutable_training_cost() = *cost;
  plan.add_basis("training_cost: training_time on " + std::to_string(devices) +
                 " device(s) at the declared price, without energy");
}

}  // namespace

absl::StatusOr<v1::Money> Charge(const std::string& currency, const std::string& price, int64_t amount,
                                 int64_t per) {
  const auto each = ledger::FixedDecimal::Parse(price);
  if (!each.ok()) return each.status();
  if (amount < 0 || amount > ledger::FixedDecimal::kUnitsMax)
    return absl::OutOfRangeError("an amount beyond what is counted");
  const auto total = ledger::ProductOver(*each, ledger::FixedDecimal::FromNanos(amount * 1'000'000'000), per);
  if (!total.ok()) return total.status();
  v1::Money money;
  money.set_currency_code(currency);
  money.set_units(total->nanos() / 1'000'000'000);
  money.set_nanos(static_cast<int32_t>(total->nanos() % 1'000'000'000));
  return money;
}

absl::StatusOr<v1::JobPlan> MakePlan(Workplace& place, StopSignal& stop, const v1::Job& job,
                                     const std::function<std::chrono::milliseconds()>& left) {
  teacher::v1::GetTeacherRequest get;
  get.set_name(job.name().substr(0, job.name().find("/jobs/")) + "/teachers/" + job.spec().teacher());
  auto teacher = CallOnce(stop, *place.peers->teacher, &TeacherStub::GetTeacher, get, left());
  if (!teacher.ok()) return teacher.status();
  const auto request = Question(job, FactsOf(*teacher, job.spec(), "scripted", place.now()));
  auto preview = CallOnce(stop, *place.peers->policy, &PolicyStub::PreviewJob, request, left());
  if (!preview.ok()) return preview.status();
  if (preview->job().effect() != "allow") return Refusal(preview->job());
  auto pace = PaceOf(*place.store, job);
  if (!pace.ok()) return pace.status();
  v1::JobPlan plan;
  *plan.mutable_job() = preview->job();
  *plan.mutable_groups() = preview->groups();
  EstimateTeacher(job.spec(), *teacher, *pace, plan);
  EstimateTraining(job.spec(), *pace, place.trainer.costs, plan);
  return plan;
}

}  // namespace retort::jobs
