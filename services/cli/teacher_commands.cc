#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "services/cli/cli.h"
#include "services/cli/exit_code.h"

namespace retort::services {
namespace {

using retort::teacher::v1::Channel;

int ListTeachers(const Cli& cli) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::teacher::v1::ListTeachersRequest request;
  request.set_parent(cli.parent());
  std::vector<retort::teacher::v1::Teacher> teachers;
  do {
    auto page = (*client)->Call((*client)->teacher(), &Client::Teacher::Stub::ListTeachers, request);
    if (!page.ok()) return cli.Fail(page.status());
    for (const auto& teacher : page->teachers()) teachers.push_back(teacher);
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());

  if (cli.structured()) {
    std::vector<std::string> items;
    for (const auto& teacher : teachers) items.push_back(ToJson(teacher));
    return cli.PrintItems(items);
  }
  Table table({"NAME", "PROVIDER", "CHANNEL", "MODEL", "ENDPOINT", "LOGPROBS", "STATE"}, {5});
  for (const auto& teacher : teachers) {
    table.Add({teacher.name(), teacher.provider(), retort::teacher::v1::Channel_Name(teacher.channel()),
               teacher.model(), teacher.endpoint(), std::to_string(teacher.top_logprobs_max()),
               teacher.unavailable_reason().empty() ? "ready" : teacher.unavailable_reason()});
  }
  table.Print(cli.out);
  return kExitOk;
}

struct AskArguments {
  std::string text, system, teacher = "embedded";
  double temperature = kAskTemperature, top_p = kAskTopP;
  uint64_t seed = 0;
  int max_tokens = 256;
};

int AskTeacher(const Cli& cli, const AskArguments& arguments) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::jobs::v1::AskTeacherRequest request;
  request.set_teacher(cli.FullName("teachers", arguments.teacher));
  request.set_request_id(NewRequestId());
  if (!arguments.system.empty()) {
    auto* turn = request.add_messages();
    turn->set_role("system");
    turn->set_content(arguments.system);
  }
  auto* turn = request.add_messages();
  turn->set_role("user");
  turn->set_content(arguments.text);
  request.mutable_sampling()->set_temperature(arguments.temperature);
  request.mutable_sampling()->set_top_p(arguments.top_p);
  request.mutable_sampling()->set_seed(arguments.seed);
  request.mutable_sampling()->set_max_tokens(arguments.max_tokens);
  auto answer = (*client)->Call((*client)->jobs(), &Client::Jobs::Stub::AskTeacher, request);
  if (!answer.ok()) return cli.Fail(answer.status());
  if (cli.structured()) {
    return cli.PrintItem(ToJson(*answer));
  }
  cli.out << Printable(answer->completion()) << std::endl;
  cli.err << "entry " << answer->entry() << " of the ledger; training on it: " << answer->effect() << "; "
          << answer->completion_tokens() << " tokens, " << answer->finish_reason() << std::endl;
  return kExitOk;
}

}  // namespace

void AddTeacherCommands(CLI::App& app, Cli& cli) {
  CLI::App* teacher = app.add_subcommand("teacher", "Teacher models")->require_subcommand(1)->fallthrough();

  CLI::App* list = teacher->add_subcommand("list", "List the teachers that the server has")->fallthrough();
  list->footer("Examples:\n  retort teacher list\n  retort teacher list -o json");
  list->callback([&cli] { cli.action = [&cli] { return ListTeachers(cli); }; });

  auto arguments = std::make_shared<AskArguments>();  // shared: CLI11 keeps copies of the callbacks
  CLI::App* ask =
      teacher->add_subcommand("ask", "Ask one question; the answer is shown once the ledger has it")
          ->fallthrough();
  ask->add_option("text", arguments->text, "The question")->required();
  ask->add_option("--teacher", arguments->teacher, "Id of the teacher")->capture_default_str();
  ask->add_option("--system", arguments->system, "System turn; the model's own default when left out");
  ask->add_option("--temperature", arguments->temperature,
                  "0 takes the most likely token every time, which makes small models go in circles")
      ->check(CLI::Range(0.0, 2.0))
      ->capture_default_str();
  ask->add_option("--top-p", arguments->top_p, "Draw from the likeliest tokens that together hold this share")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  ask->add_option("--seed", arguments->seed, "Seed of the draw: the same seed gives the same answer")
      ->capture_default_str();
  ask->add_option("--max-tokens", arguments->max_tokens, "Most tokens to generate")
      ->check(CLI::Range(1, 8192))
      ->capture_default_str();
  ask->footer(
      "Examples:\n  retort teacher ask \"How do I boil rice?\"\n"
      "  retort teacher ask \"Name a herb.\" --temperature 0.7 --seed 3 -o json");
  ask->callback(
      [&cli, arguments] { cli.action = [&cli, arguments] { return AskTeacher(cli, *arguments); }; });
}

}  // namespace retort::services
