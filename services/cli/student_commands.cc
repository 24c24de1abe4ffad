#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "google/protobuf/util/time_util.h"
#include "ledger/statement.h"
#include "proto/strict_yaml.h"
#include "services/cli/cli.h"
#include "services/cli/entry_pages.h"
#include "services/cli/evidence_export.h"
#include "services/cli/exit_code.h"
#include "services/cli/local_comparison.h"
#include "student/inference/deepseek.h"
#include "student/inference/llama_model.h"

namespace retort::services {
namespace {

int DownloadStudent(const Cli& cli, const std::string& name, const std::string& out) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  if (auto s = DownloadStudentFolder(**client, cli.FullName("students", name), out); !s.ok())
    return cli.Fail(s);
  cli.err << "wrote " << out << "; talk to it with:\n  retort chat " << out << std::endl;
  return kExitOk;
}

// A RELEASE entry of the ledger: what is signed about a student.
struct Release {
  int64_t entry = 0;
  google::protobuf::Timestamp time;
  std::string json;
  ledger::ReleaseStatement statement;
};

// In log order.
absl::StatusOr<std::vector<Release>> ReadReleases(const Cli& cli, Client& client) {
  std::vector<Release> releases;
  auto status =
      ForEachEntry(client, cli.parent(), retort::ledger::v1::ENTRY_KIND_RELEASE, [&](const auto& entry) {
        const std::string& json = entry.statements(0).statement();
        auto statement = ledger::ReleaseStatement::Parse(json);
        if (!statement.ok()) return statement.status();
        releases.push_back({entry.index(), entry.append_time(), json, *std::move(statement)});
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return releases;
}

// Entry and statement, as JSON.
nlohmann::ordered_json JsonOfRelease(const Release& release) {
  return {{"name", release.statement.student},
          {"entry", release.entry},
          {"releaseTime", google::protobuf::util::TimeUtil::ToString(release.time)},
          {"statement", nlohmann::ordered_json::parse(release.json)}};  // parsed once already, so it is JSON
}

// A decimal of a statement, as jobs show it.
std::string Rounded(const std::string& decimal, int digits) {
  return Decimal(std::strtod(decimal.c_str(), nullptr), digits);
}

int ListStudents(const Cli& cli) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  auto releases = ReadReleases(cli, **client);
  if (!releases.ok()) return cli.Fail(releases.status());
  if (cli.structured()) {
    std::vector<std::string> items;
    for (const Release& release : *releases) items.push_back(JsonOfRelease(release).dump());
    return cli.PrintItems(items);
  }
  Table table({"NAME", "RELEASED", "JOB", "KL", "AGREEMENT", "PERPLEXITY", "ENTRY"}, {3, 4, 5, 6});
  for (const Release& release : *releases) {
    std::string kl = "-", agreement = "-", perplexity = "-";
    for (const auto& measured : release.statement.quality) {
      if (measured.student != "logits") continue;  // the run that is released
      kl = Rounded(measured.kl, 3);
      agreement = Rounded(measured.agreement, 3);
      perplexity = Rounded(measured.perplexity, 1);
    }
    table.Add({release.statement.student, google::protobuf::util::TimeUtil::ToString(release.time),
               release.statement.job, kl, agreement, perplexity, std::to_string(release.entry)});
  }
  table.Print(cli.out);
  return kExitOk;
}

int GetReleased(const Cli& cli, const std::string& name) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  auto releases = ReadReleases(cli, **client);
  if (!releases.ok()) return cli.Fail(releases.status());
  const std::string full = cli.FullName("students", name);
  const auto found = std::find_if(releases->begin(), releases->end(),
                                  [&](const Release& release) { return release.statement.student == full; });
  if (found == releases->end()) {
    return cli.Fail(absl::NotFoundError("there is no folder " + name + " and no released student " + full +
                                        "; `retort student list` shows those that are there"));
  }
  if (cli.structured()) {
    return cli.PrintItem(JsonOfRelease(*found).dump(2));
  }
  const ledger::ReleaseStatement& statement = found->statement;
  int64_t bytes = 0;
  for (const auto& file : statement.files) bytes += file.bytes;
  Table facts({"STUDENT", statement.student});
  facts.Add({"released", google::protobuf::util::TimeUtil::ToString(found->time)});
  facts.Add({"job", statement.job});
  facts.Add({"entry", std::to_string(found->entry)});
  facts.Add({"checkpoint", statement.checkpoint_digest});
  facts.Add({"files", std::to_string(statement.files.size()) + ", " + std::to_string(bytes) + " bytes"});
  for (const auto& duty : statement.obligations)
    facts.Add({"duty", duty.kind + " " + duty.trigger + ": " + duty.text});
  facts.Print(cli.out);
  if (!statement.quality.empty()) {
    cli.out << "\n";
    Table quality({"MEASURED", "KL", "AGREEMENT", "PERPLEXITY", "TOKENS"}, {1, 2, 3, 4});
    for (const auto& q : statement.quality)
      quality.Add({q.student, Rounded(q.kl, 3), Rounded(q.agreement, 3), Rounded(q.perplexity, 1),
                   std::to_string(q.tokens)});
    quality.Print(cli.out);
  }
  cli.err << "Fetch its files with: retort " << cli.come_back << "student download " << name
          << " --out FOLDER" << std::endl;
  return kExitOk;
}

// A folder when it is one, or is written like one; otherwise the name of a released student.
bool IsStudentFolder(const std::string& text) {
  std::error_code ignored;
  if (std::filesystem::is_directory(text, ignored)) return true;
  return text.rfind("projects/", 0) != 0 && text.find('/') != std::string::npos;
}

int GetStudent(const Cli& cli, const std::string& folder) {
  if (!IsStudentFolder(folder)) return GetReleased(cli, folder);
  auto model = student::StudentModel::Load(folder, {});
  if (!model.ok()) return cli.Fail(model.status());
  if (cli.structured()) {
    nlohmann::ordered_json json = {{"parameters", (*model)->parameters()},
                                   {"active_parameters", (*model)->active_parameters()},
                                   {"vocabulary_size", (*model)->tokenizer().vocabulary_size()},
                                   {"context_length", (*model)->config().context}};
    return cli.PrintItem(json.dump(2));
  }
  Table table({"STUDENT", folder});
  table.Add({"parameters", std::to_string((*model)->parameters())});
  table.Add({"per token", std::to_string((*model)->active_parameters())});
  table.Add({"vocabulary", std::to_string((*model)->tokenizer().vocabulary_size())});
  table.Add({"context", std::to_string((*model)->config().context)});
  table.Print(cli.out);
  return kExitOk;
}

struct EvalArguments {
  std::string folder, prompts, teacher;
  bool all = false;
  int max_tokens = 64, threads = 0;
};

int Eval(const Cli& cli, const EvalArguments& arguments) {
  retort::jobs::v1::PromptSet set;
  if (auto s = LoadYamlFile(arguments.prompts, &set); !s.ok()) return cli.Fail(s);
  std::vector<retort::jobs::v1::Prompt> prompts;
  for (const auto& prompt : set.prompts()) {
    if (arguments.all || prompt.split() == "held_out") prompts.push_back(prompt);
  }
  if (prompts.empty()) {
    return cli.Fail(absl::InvalidArgumentError(
        arguments.prompts + ": saw no prompt with split: held_out; add --all to use every prompt"));
  }
  ComparisonOptions options{arguments.folder, arguments.teacher, arguments.max_tokens, arguments.threads};
  if (options.teacher_gguf.empty()) {
    auto found = student::FindTeacherGguf();
    if (!found.ok()) return cli.Fail(found.status());
    options.teacher_gguf = *found;
  }
  auto quality = CompareWithTeacher(prompts, options, [&](size_t done, size_t total) {
    if (done % 16 == 0 || done == total)
      cli.err << "compared " << done << "/" << total << " prompts" << std::endl;
  });
  if (!quality.ok()) return cli.Fail(quality.status());
  if (cli.structured()) {
    nlohmann::ordered_json json = {{"kl", quality->kl},
                                   {"agreement", quality->agreement},
                                   {"perplexity", quality->perplexity},
                                   {"tokens", quality->tokens},
                                   {"prompts", prompts.size()}};
    return cli.PrintItem(json.dump(2));
  }
  Table table({"KL", "AGREEMENT", "PERPLEXITY", "TOKENS", "PROMPTS"}, {0, 1, 2, 3, 4});
  table.Add({Decimal(quality->kl, 3), Decimal(quality->agreement, 3), Decimal(quality->perplexity, 1),
             std::to_string(quality->tokens), std::to_string(prompts.size())});
  table.Print(cli.out);
  return kExitOk;
}

}  // namespace

void AddStudentCommands(CLI::App& app, Cli& cli) {
  CLI::App* student =
      app.add_subcommand("student", "Released students")->require_subcommand(1)->fallthrough();

  // Arguments are shared because CLI11 keeps copies of the callbacks.
  auto name = std::make_shared<std::string>();
  auto out = std::make_shared<std::string>();
  CLI::App* download = student->add_subcommand("download", "Fetch the files of a student")->fallthrough();
  download->add_option("student", *name, "Name of the student, or its full name")->required();
  download->add_option("--out", *out, "Folder to make")->required();
  download->footer(
      "Examples:\n  retort student download retort-nano-cooking --out student\n"
      "  retort student download projects/default/students/retort-nano-cooking --out s");
  download->callback(
      [&cli, name, out] { cli.action = [&cli, name, out] { return DownloadStudent(cli, *name, *out); }; });

  CLI::App* list = student->add_subcommand("list", "List released students, from the ledger")->fallthrough();
  list->footer("Examples:\n  retort student list\n  retort student list -o json");
  list->callback([&cli] { cli.action = [&cli] { return ListStudents(cli); }; });

  auto folder = std::make_shared<std::string>();
  CLI::App* get =
      student->add_subcommand("get", "Describe a released student, or the one in a folder")->fallthrough();
  get->add_option("student", *folder, "Name of a released student, or folder of an exported one")->required();
  get->footer(
      "Examples:\n  retort student get retort-nano-cooking\n  retort student get out/demo/student -o json");
  get->callback([&cli, folder] { cli.action = [&cli, folder] { return GetStudent(cli, *folder); }; });

  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* eval =
      student->add_subcommand("eval", "Measure the student in a folder against a teacher on this machine")
          ->fallthrough();
  eval->add_option("folder", arguments->folder, "Folder of an exported student")->required();
  eval->add_option("--prompts", arguments->prompts, "YAML PromptSet; its held_out prompts are asked")
      ->required();
  eval->add_flag("--all", arguments->all, "Ask every prompt, not only held_out ones");
  eval->add_option("--teacher", arguments->teacher, "GGUF file; the embedded teacher when left out");
  eval->add_option("--max-tokens", arguments->max_tokens, "Of an answer of the teacher")
      ->check(CLI::Range(1, 2048))
      ->capture_default_str();
  eval->add_option("--threads", arguments->threads, "0 means all cores")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  eval->footer(
      "KL is over the teacher's 32 likeliest tokens and the rest as one; that of a job is over its own "
      "top_logprobs, so "
      "the two agree when the job asked for 32.\n\n"
      "Examples:\n  retort student eval out/demo/student --prompts deploy/examples/cooking-prompts.yaml\n"
      "  retort student eval student --prompts mine.yaml --all -o json");
  eval->callback([&cli, arguments] { cli.action = [&cli, arguments] { return Eval(cli, *arguments); }; });
}

}  // namespace retort::services
