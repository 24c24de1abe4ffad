#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "proto/strict_yaml.h"
#include "services/cli/cli.h"
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

int GetStudent(const Cli& cli, const std::string& folder) {
  auto model = student::StudentModel::Load(folder, {});
  if (!model.ok()) return cli.Fail(model.status());
  if (cli.json()) {
    nlohmann::ordered_json json = {{"parameters", (*model)->parameters()},
                                   {"active_parameters", (*model)->active_parameters()},
                                   {"vocabulary_size", (*model)->tokenizer().vocabulary_size()},
                                   {"context_length", (*model)->config().context}};
    cli.out << json.dump(2) << "\n";
    return kExitOk;
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
  if (cli.json()) {
    nlohmann::ordered_json json = {{"kl", quality->kl},
                                   {"agreement", quality->agreement},
                                   {"perplexity", quality->perplexity},
                                   {"tokens", quality->tokens},
                                   {"prompts", prompts.size()}};
    cli.out << json.dump(2) << "\n";
    return kExitOk;
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

  auto folder = std::make_shared<std::string>();
  CLI::App* get = student->add_subcommand("get", "Describe the student in a folder")->fallthrough();
  get->add_option("folder", *folder, "Folder of an exported student")->required();
  get->footer(
      "Examples:\n  retort student get out/demo/student\n  retort student get out/demo/student -o json");
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
      "Examples:\n  retort student eval out/demo/student --prompts deploy/examples/cooking-prompts.yaml\n"
      "  retort student eval student --prompts mine.yaml --all -o json");
  eval->callback([&cli, arguments] { cli.action = [&cli, arguments] { return Eval(cli, *arguments); }; });
}

}  // namespace retort::services
