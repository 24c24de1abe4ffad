// `retort cost`: what a job's training and its teacher took, from the entries of the ledger.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ledger/fixed_decimal.h"
#include "ledger/statement.h"
#include "services/audit/cost_report.h"
#include "services/cli/cli.h"
#include "services/cli/entry_pages.h"
#include "services/cli/exit_code.h"

namespace retort::services {
namespace {

namespace wire = retort::ledger::v1;
using retort::jobs::v1::Job;

// What the teacher was asked and answered, as far as it became entries.
struct TeacherUse {
  int64_t calls = 0;  // samples in the ledger
  int64_t repeated_calls = 0, http_retries = 0;
  int64_t prompt_tokens = 0, completion_tokens = 0;
};

std::string ProjectOf(const Job& job) {
  return job.name().substr(0, job.name().find("/jobs/"));
}

absl::Status ReadTraining(Client& client, const Job& job, std::vector<AttemptEntry>& attempts,
                          std::string& final_run) {
  return ForEachEntry(client, ProjectOf(job), wire::ENTRY_KIND_TRAINING, [&](const wire::Entry& entry) {
    const auto index = static_cast<uint64_t>(entry.index());
    const auto statement = ledger::TrainingStatement::Parse(entry.statements(0).statement());
    if (!statement.ok()) return statement.status();
    if (statement->job_uid != job.uid()) return absl::OkStatus();
    if (!statement->is_milestone()) {
      attempts.push_back({index, statement->job_uid, statement->run, statement->usage});
    } else if (statement->phase == "finish" &&
               job.entries().training_finish() == static_cast<int64_t>(index)) {
      final_run = statement->run;
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<TeacherUse> ReadTeacher(Client& client, const Job& job) {
  TeacherUse use;
  auto status = ForEachEntry(client, ProjectOf(job), wire::ENTRY_KIND_SAMPLE, [&](const wire::Entry& entry) {
    const auto capture = ledger::CaptureStatement::Parse(entry.statements(0).statement());
    if (!capture.ok()) return capture.status();
    if (capture->job_uid != job.uid()) return absl::OkStatus();
    ++use.calls;
    use.repeated_calls += capture->attempt - 1;
    use.http_retries += capture->transport_retries;
    use.prompt_tokens += capture->prompt_tokens;
    use.completion_tokens += capture->completion_tokens;
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return use;
}

void PrintTable(const Cli& cli, const Job& job, const CostReport& report, const TeacherUse& teacher) {
  cli.out << Printable(job.name()) << "\n\n";
  if (report.attempts.empty()) {
    cli.out << "No attempt at training is in the ledger.\n";
  } else {
    cli.out << CostText(report) << "\n";
    Table table({"RUN", "ATTEMPT", "OUTCOME", "STEPS", "REPEATED", "DEVICE", "SECONDS", "KWH", "SOURCE",
                 "COST", "ENTRY"},
                {1, 4, 6, 7, 9, 10});
    for (const AttemptCost& attempt : report.attempts) {
      const ledger::TrainingUsage& u = attempt.entry.usage;
      const bool none = u.device_cost.empty() && u.energy_cost.empty();
      const auto part = [](const std::string& text) {
        const auto value = ledger::FixedDecimal::Parse(text.empty() ? "0" : text);
        return value.ok() ? *value : ledger::FixedDecimal();
      };
      const auto cost = ledger::Sum(part(u.device_cost), part(u.energy_cost));
      table.Add({attempt.entry.run, std::to_string(u.attempt), u.outcome,
                 std::to_string(u.first_step) + "-" + std::to_string(u.last_step),
                 std::to_string(attempt.repeated_steps), u.device, Rounded(part(u.device_seconds), 1),
                 u.energy_kwh.empty() ? "-" : Rounded(part(u.energy_kwh), 6), u.energy_source,
                 none || !cost.ok() ? "-" : u.currency + " " + Rounded(*cost, 4),
                 std::to_string(attempt.entry.entry)});
    }
    table.Print(cli.out);
  }
  cli.out << "\nTeacher: " << teacher.calls << " answers in the ledger, " << teacher.prompt_tokens
          << " prompt and " << teacher.completion_tokens << " completion tokens, " << teacher.repeated_calls
          << " calls repeated, " << teacher.http_retries << " HTTP retries\n";
}

int ShowCost(const Cli& cli, const std::string& id) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::jobs::v1::GetJobRequest request;
  request.set_name(cli.FullName("jobs", id));
  const auto job = (*client)->Call((*client)->jobs(), &Client::Jobs::Stub::GetJob, request);
  if (!job.ok()) return cli.Fail(job.status());
  std::vector<AttemptEntry> attempts;
  std::string final_run;
  if (auto s = ReadTraining(**client, *job, attempts, final_run); !s.ok()) return cli.Fail(s);
  const auto teacher = ReadTeacher(**client, *job);
  if (!teacher.ok()) return cli.Fail(teacher.status());
  const auto report = BuildCostReport(std::move(attempts), job->uid(), final_run);
  if (!report.ok()) return cli.Fail(report.status());
  if (!cli.structured()) {
    PrintTable(cli, *job, *report, *teacher);
    return kExitOk;
  }
  nlohmann::ordered_json json = {{"job", job->name()}, {"job_uid", job->uid()}};
  json.update(nlohmann::ordered_json::parse(CostJson(*report)));
  json["teacher"] = {{"answers", teacher->calls},
                     {"repeated_calls", teacher->repeated_calls},
                     {"http_retries", teacher->http_retries},
                     {"prompt_tokens", teacher->prompt_tokens},
                     {"completion_tokens", teacher->completion_tokens}};
  return cli.PrintItem(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace

void AddCostCommand(CLI::App& app, Cli& cli) {
  auto id = std::make_shared<std::string>();  // shared: CLI11 keeps copies of the callbacks
  CLI::App* cost =
      app.add_subcommand("cost", "What a job took: the final run beside every attempt, and the teacher")
          ->fallthrough();
  cost->add_option("job", *id, "Id, or projects/{project}/jobs/{job}")->required();
  cost->footer("Examples:\n  retort cost kitchen\n  retort cost kitchen -o json");
  cost->callback([&cli, id] { cli.action = [&cli, id] { return ShowCost(cli, *id); }; });
}

}  // namespace retort::services
