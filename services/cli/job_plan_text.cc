#include "services/cli/job_plan_text.h"

#include "google/protobuf/util/time_util.h"
#include "services/cli/progress.h"

namespace retort::services {
namespace {

using google::protobuf::util::TimeUtil;
using retort::policy::v1::PreviewedDecision;

std::string RulesText(const PreviewedDecision& decision) {
  std::string text;
  for (const auto& rule : decision.rules()) {
    if (rule.effect() != decision.effect()) continue;
    text += (text.empty() ? "" : "; ") + rule.pack() + " " + rule.rule() + " (" + rule.clause() + ")";
  }
  for (int i = 0; i < decision.missing_inputs_size(); ++i)
    text += (i == 0 ? "; missing " : ", ") + decision.missing_inputs(i);
  return text.empty() ? "no rule matches" : text;
}

std::string SecondsText(const google::protobuf::Duration& duration) {
  return Duration(static_cast<double>(TimeUtil::DurationToMilliseconds(duration)) / 1000);
}

}  // namespace

std::string MoneyText(const retort::jobs::v1::Money& money, int digits) {
  int64_t unit = 1'000'000'000;
  for (int i = 0; i < digits; ++i) unit /= 10;
  const int64_t nanos = (money.nanos() + unit / 2) / unit * unit;
  std::string fraction =
      std::to_string(1'000'000'000 + nanos % 1'000'000'000).substr(1, static_cast<size_t>(digits));
  const std::string number =
      std::to_string(money.units() + nanos / 1'000'000'000) + (digits > 0 ? "." + fraction : "");
  return money.currency_code().empty() ? number : money.currency_code() + " " + number;
}

void PrintPlan(const Cli& cli, const retort::jobs::v1::Job& job) {
  if (cli.structured()) {
    cli.PrintItem(ToJson(job));
    return;
  }
  const auto& plan = job.plan();
  cli.out << plan.job().effect() << " the job: " << Printable(RulesText(plan.job())) << "\n\n";
  Table samples({"PROMPTS", "SPLIT", "WOULD BE", "BY", "FOUND IN THEM", "FIRST"}, {0});
  for (const auto& group : plan.groups()) {
    std::string found;
    for (const auto& [kind, count] : group.findings())
      found += (found.empty() ? "" : ", ") + std::to_string(count) + " " + kind;
    samples.Add({std::to_string(group.prompt_count()), group.split(), group.decision().effect(),
                 RulesText(group.decision()), found.empty() ? "-" : found,
                 group.first_prompt_ids().empty() ? "-" : group.first_prompt_ids(0)});
  }
  samples.Print(cli.out);
  cli.out << "\n";
  Table facts({"ESTIMATE", std::to_string(plan.call_count()) + " calls of the teacher"});
  facts.Add({"prompt tokens", std::to_string(plan.prompt_tokens())});
  facts.Add({"completion tokens", (plan.has_completion_tokens_expected()
                                       ? "about " + std::to_string(plan.completion_tokens_expected()) + ", "
                                       : "") +
                                      std::string("at most ") +
                                      std::to_string(plan.completion_tokens_max())});
  if (plan.has_teacher_cost_max()) {
    facts.Add({"teacher", (plan.has_teacher_cost_expected()
                               ? "about " + MoneyText(plan.teacher_cost_expected(), 4) + ", "
                               : "") +
                              std::string("at most ") + MoneyText(plan.teacher_cost_max(), 4)});
  }
  if (plan.has_extraction_time()) facts.Add({"extraction", SecondsText(plan.extraction_time())});
  if (plan.training_tokens() > 0) facts.Add({"training tokens", std::to_string(plan.training_tokens())});
  if (plan.has_training_time()) facts.Add({"training", SecondsText(plan.training_time())});
  if (plan.has_training_cost()) facts.Add({"training cost", MoneyText(plan.training_cost(), 4)});
  facts.Print(cli.out);
  cli.out << "\n";
  for (const std::string& sentence : plan.basis()) cli.out << "  - " << Printable(sentence) << "\n";
}

}  // namespace retort::services
