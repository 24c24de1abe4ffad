// Commands that tell about the commands: completion scripts and manual pages.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "services/cli/cli.h"
#include "services/cli/exit_code.h"
#include "services/command_tree/command_tree.h"
#include "services/command_tree/completion.h"
#include "services/command_tree/manual.h"

namespace retort::services {
namespace {

int PrintCompletion(const Cli& cli, const CLI::App& app, const std::string& shell) {
  const Command root = ReadCommandTree(app, "retort");
  cli.out << (shell == "bash"  ? BashCompletion(root)
              : shell == "zsh" ? ZshCompletion(root)
                               : FishCompletion(root));
  return kExitOk;
}

int PrintManual(const Cli& cli, const CLI::App& app, const std::vector<std::string>& words) {
  const Command root = ReadCommandTree(app, "retort");
  std::string path = root.path;
  for (const std::string& word : words) path += " " + word;
  for (const Command* command : AllCommands(root)) {
    if (command->path != path) continue;
    cli.out << ManualPage(root, *command, RETORT_VERSION);
    return kExitOk;
  }
  cli.err << "error: there is no command '" << Printable(path) << "'\n";
  return kExitUsage;
}

int WriteManual(const Cli& cli, const CLI::App& app, const std::string& folder) {
  const Command root = ReadCommandTree(app, "retort");
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  for (const Command* command : AllCommands(root)) {
    const std::string path = folder + "/" + ManualPageName(*command);
    std::ofstream page(path, std::ios::binary | std::ios::trunc);
    page << ManualPage(root, *command, RETORT_VERSION);
    page.close();
    if (!page) {
      cli.err << "error: " << Printable(path) << " cannot be written\n";
      return kExitFailure;
    }
  }
  cli.err << "wrote " << AllCommands(root).size() << " pages into " << Printable(folder) << "\n";
  return kExitOk;
}

}  // namespace

void AddTreeCommands(CLI::App& app, Cli& cli) {
  CLI::App* completion = app.add_subcommand("completion", "Print a completion script for your shell");
  auto shell = std::make_shared<std::string>();
  completion->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->footer(
      "Examples:\n  source <(retort completion bash)\n  retort completion fish > "
      "~/.config/fish/completions/retort.fish");
  completion->callback([&app, &cli, shell] {
    cli.action = [&app, &cli, shell] { return PrintCompletion(cli, app, *shell); };
  });

  CLI::App* manual = app.add_subcommand("manual", "Print a manual page, or write all of them");
  auto words = std::make_shared<std::vector<std::string>>();
  auto folder = std::make_shared<std::string>();
  manual->add_option("command", *words, "Words of the command, such as job create");
  manual->add_option("--dir", *folder, "Write the pages of all commands into this folder");
  manual->footer(
      "Examples:\n  retort manual job create | man -l -\n  retort manual --dir /usr/local/share/man/man1");
  manual->callback([&app, &cli, words, folder] {
    cli.action = [&app, &cli, words, folder] {
      return folder->empty() ? PrintManual(cli, app, *words) : WriteManual(cli, app, *folder);
    };
  });
}

}  // namespace retort::services
