#include "services/demo/summary.h"

#include <nlohmann/json.hpp>

#include "services/cli/output.h"
#include "services/cli/progress.h"

namespace retort::services {

const retort::jobs::v1::Quality* DemoSummary::QualityOf(const std::string& student) const {
  for (const auto& q : quality) {
    if (q.student() == student) return &q;
  }
  return nullptr;
}

std::string DemoSummary::ToJson() const {
  using Json = nlohmann::ordered_json;
  Json json;
  json["samples"] = {{"asked", asked},
                     {"allowed", allowed},
                     {"review", review},
                     {"denied", denied},
                     {"refused_before_sending", refused_before_sending},
                     {"failed", failed}};
  json["ledger"] = {{"size", ledger_size}, {"root", ledger_root}};
  json["student"] = {{"parameters", parameters}, {"active_parameters", active_parameters}, {"steps", steps}};
  json["quality"] = Json::object();
  for (const auto& q : quality) {
    json["quality"][q.student()] = {
        {"kl", q.kl()}, {"agreement", q.agreement()}, {"perplexity", q.perplexity()}};
  }
  json["speed"] = {{"teacher_tokens_per_second", teacher_tokens_per_second},
                   {"trainer_tokens_per_second", trainer_tokens_per_second}};
  json["seconds"] = Json::object();
  for (const auto& [stage, duration] : seconds) json["seconds"][stage] = duration;
  json["verify"] = Json::object();
  for (const auto& [what, verdict] : verify) json["verify"][what] = verdict;
  json["unmet"] = unmet;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void DemoSummary::Print(std::ostream& out) const {
  Table samples({"SAMPLES", "NUMBER"}, {1});
  samples.Add({"asked", std::to_string(asked)});
  samples.Add({"allowed", std::to_string(allowed)});
  samples.Add({"in review", std::to_string(review)});
  samples.Add({"denied", std::to_string(denied)});
  samples.Add({"refused before sending", std::to_string(refused_before_sending)});
  samples.Add({"failed", std::to_string(failed)});
  samples.Print(out);

  out << "\n";
  Table student({"STUDENT", "KL TO TEACHER", "AGREEMENT", "PERPLEXITY"}, {1, 2, 3});
  for (const auto& q : quality) {
    student.Add({q.student(), Decimal(q.kl(), 3), Decimal(q.agreement() * 100, 1) + " %",
                 Decimal(q.perplexity(), 1)});
  }
  student.Print(out);
  out << parameters << " parameters, " << active_parameters << " per token, " << steps << " steps\n\n";

  Table verdicts({"EVIDENCE", "VERDICT"});
  for (const auto& [what, verdict] : verify) verdicts.Add({what, verdict});
  verdicts.Print(out);
  out << "ledger of " << ledger_size << " entries, root " << ledger_root << "\n\n";

  Table times({"STAGE", "TIME"}, {1});
  for (const auto& [stage, duration] : seconds) times.Add({stage, Duration(duration)});
  times.Print(out);
  out << "teacher " << Decimal(teacher_tokens_per_second, 0) << " tokens/s, trainer "
      << Decimal(trainer_tokens_per_second, 0) << " tokens/s\n";
}

}  // namespace retort::services
