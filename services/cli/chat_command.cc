#include <unistd.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "services/cli/cli.h"
#include "services/cli/exit_code.h"
#include "student/inference/deepseek.h"
#include "student/inference/llama.h"

namespace retort::services {
namespace {

struct ChatArguments {
  std::string folder, teacher, system, once;
  bool with_teacher = false;
  double temperature = kAskTemperature, top_p = kAskTopP;
  uint64_t seed = 0;
  int max_tokens = 256, threads = 0;
};

student::SamplingOptions SamplingOf(const ChatArguments& a) {
  student::SamplingOptions sampling;
  sampling.temperature = a.temperature;
  sampling.top_p = a.top_p;
  sampling.seed = a.seed;
  sampling.max_tokens = a.max_tokens;
  return sampling;
}

// Answers a conversation; prints the pieces as they come and returns the whole.
using Turns = std::vector<student::ChatTurn>;
using Speaker = std::function<absl::StatusOr<std::string>(const Turns& turns)>;

absl::StatusOr<Speaker> StudentSpeaker(const Cli& cli, const ChatArguments& a) {
  auto loaded = student::StudentModel::Load(a.folder, {.threads = a.threads});
  if (!loaded.ok()) return loaded.status();
  std::shared_ptr<student::StudentModel> model =
      *std::move(loaded);  // shared: std::function must be copyable
  return Speaker([&cli, a, model](const Turns& turns) -> absl::StatusOr<std::string> {
    auto reply = model->Generate(turns, SamplingOf(a), [&](std::string_view text) {
      cli.out << Printable(std::string(text)) << std::flush;
      return true;
    });
    if (!reply.ok()) return reply.status();
    return reply->text;
  });
}

absl::StatusOr<Speaker> TeacherSpeaker(const Cli& cli, const ChatArguments& a) {
  std::string path = a.teacher;
  if (path.empty()) {
    auto found = student::FindTeacherGguf();
    if (!found.ok()) return found.status();
    path = *found;
  }
  auto model = student::LlamaModel::Load(path);
  if (!model.ok()) return model.status();
  student::LlamaEngineOptions engine_options;
  engine_options.max_sequences = 1;
  engine_options.threads = a.threads;
  auto created = student::LlamaEngine::Create(*model, engine_options);
  if (!created.ok()) return created.status();
  std::shared_ptr<student::LlamaEngine> engine =
      *std::move(created);  // shared: std::function must be copyable
  return Speaker([&cli, a, engine](const Turns& turns) -> absl::StatusOr<std::string> {
    auto ids = engine->model().tokenizer().EncodeChat(turns, /*add_generation_prompt=*/true);
    if (!ids.ok()) return ids.status();
    auto answer = engine->Generate(*ids, SamplingOf(a));
    if (!answer.ok()) return answer.status();
    cli.out << Printable(answer->text) << std::flush;
    return answer->text;
  });
}

int Chat(const Cli& cli, const ChatArguments& a) {
  if (a.with_teacher == !a.folder.empty()) {
    return cli.Fail(absl::InvalidArgumentError("wanted either the folder of a student, or --teacher"));
  }
  auto speaker = a.with_teacher ? TeacherSpeaker(cli, a) : StudentSpeaker(cli, a);
  if (!speaker.ok()) return cli.Fail(speaker.status());

  Turns turns;
  if (!a.system.empty()) turns.push_back({"system", a.system});
  const auto answer = [&](const std::string& text) -> absl::Status {
    turns.push_back({"user", text});
    auto reply = (*speaker)(turns);
    cli.out << std::endl;
    if (!reply.ok()) return reply.status();
    turns.push_back({"assistant", *reply});
    return absl::OkStatus();
  };
  if (!a.once.empty()) {
    const absl::Status status = answer(a.once);
    return status.ok() ? kExitOk : cli.Fail(status);
  }
  const bool terminal = isatty(STDIN_FILENO) == 1;
  if (terminal) {
    cli.err << "Runs on this machine; nothing is recorded and nothing of it can train. An empty line begins "
               "anew, Ctrl-D ends."
            << std::endl;
  }
  const size_t begin = turns.size();
  for (;;) {
    if (terminal) cli.err << "> " << std::flush;
    std::string line;
    if (!std::getline(std::cin, line)) break;
    if (line.empty()) {
      turns.resize(begin);
      continue;
    }
    if (absl::Status status = answer(line); !status.ok()) return cli.Fail(status);
  }
  return kExitOk;
}

}  // namespace

void AddChatCommand(CLI::App& app, Cli& cli) {
  auto a = std::make_shared<ChatArguments>();  // shared: CLI11 keeps copies of the callbacks
  CLI::App* chat =
      app.add_subcommand("chat", "Talk to an exported student, or to a teacher's file, on this machine")
          ->fallthrough();
  chat->add_option("folder", a->folder, "Folder of an exported student");
  chat->add_flag("--teacher", a->with_teacher, "Talk to the embedded teacher instead");
  chat->add_option("--gguf", a->teacher, "Another GGUF file for --teacher");
  chat->add_option("--system", a->system, "System turn; the model's own default when left out");
  chat->add_option("--once", a->once, "Ask this one question and exit");
  chat->add_option("--temperature", a->temperature,
                   "0 takes the most likely token every time, which makes small models go in circles")
      ->check(CLI::Range(0.0, 2.0))
      ->capture_default_str();
  chat->add_option("--top-p", a->top_p, "Draw from the likeliest tokens that together hold this share")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  chat->add_option("--seed", a->seed, "Seed of the draw: the same seed gives the same answers")
      ->capture_default_str();
  chat->add_option("--max-tokens", a->max_tokens, "Of one answer")
      ->check(CLI::Range(1, 2048))
      ->capture_default_str();
  chat->add_option("--threads", a->threads, "0 means all cores")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  chat->footer(
      "Examples:\n  retort chat out/demo/student --once \"How do I boil rice?\"\n  retort chat --teacher");
  chat->callback([&cli, a] { cli.action = [&cli, a] { return Chat(cli, *a); }; });
}

}  // namespace retort::services
