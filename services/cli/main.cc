// `retort`: the command line for people.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "services/cli/cli.h"
#include "services/cli/exit_code.h"
#include "services/demo/demo_command.h"

namespace {

using retort::services::Cli;

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

// Follows the words of the command line down the command tree; the first that is no command there gets a
// suggestion.
std::string Suggestion(const CLI::App& app, int argc, char** argv) {
  const CLI::App* here = &app;
  std::string path = "retort";
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word.substr(0, 1) == "-") {
      const CLI::Option* option = app.get_option_no_throw(std::string(word));
      if (option != nullptr && option->get_items_expected_min() > 0) ++i;
      continue;
    }
    const std::vector<std::string> names = CommandNames(*here);
    if (names.empty()) return "";
    const auto children =
        here->get_subcommands([&](const CLI::App* command) { return command->get_name() == word; });
    if (!children.empty()) {
      here = children.front();
      path += " " + std::string(word);
      continue;
    }
    const std::string near = retort::services::DidYouMean(word, names);
    std::string text = "'" + path + "' has no command '" + std::string(word) + "'";
    if (!near.empty()) return text + "; did you mean '" + path + " " + near + "'?";
    text += "; it has";
    for (const std::string& name : names) text += " " + name;
    return text;
  }
  return "";
}

// Global flags as they were given, so that a printed command reaches the same server.
std::string GivenFlags(const CLI::App& app) {
  std::string flags;
  for (const CLI::Option* option : app.get_options()) {
    if (option->count() == 0 || option->get_items_expected_min() == 0 ||
        option->get_single_name() == "output")
      continue;
    // Variables of the environment count too; whoever comes back has them or sees which flag they were.
    flags += "--" + option->get_single_name() + " " + option->as<std::string>() + " ";
  }
  return flags;
}

int Version(const Cli& cli) {
  if (cli.structured()) return cli.PrintItem(nlohmann::json{{"version", RETORT_VERSION}}.dump());
  cli.out << "retort " << RETORT_VERSION << "\n";
  return retort::services::kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace retort::services;
  Cli cli;
  cli.program = argv[0];

  CLI::App app("Distils teacher models into students that an audit can check.", "retort");
  app.require_subcommand(1);
  app.add_option("--server", cli.connection.server,
                 "host:port of the server; the dev server's when left out (RETORT_SERVER)");
  app.add_option("--tls-ca", cli.connection.tls.authorities,
                 "PEM of the authority that signed the server (RETORT_TLS_CA)");
  app.add_option("--tls-cert", cli.connection.tls.certificate, "PEM of your certificate (RETORT_TLS_CERT)");
  app.add_option("--tls-key", cli.connection.tls.private_key, "PEM of its private key (RETORT_TLS_KEY)");
  app.add_option("--dev-dir", cli.connection.dev_dir,
                 "Where `retortd --dev` left its files (RETORT_DEV_DIR)");
  app.add_option("--project", cli.project, "Project")->envname("RETORT_PROJECT")->capture_default_str();
  app.add_option("--timeout", cli.timeout_seconds, "Seconds that one call may take")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  app.add_option("-o,--output", cli.output,
                 "table, wide (more columns), json, yaml, jsonl (one object a line) or name")
      ->check(CLI::IsMember(std::vector<std::string>(std::begin(kOutputForms), std::end(kOutputForms))))
      ->capture_default_str();
  app.footer(
      "`retort help exit-codes` lists the exit codes.\n\nExamples:\n  retort demo\n  retort job create "
      "--file deploy/examples/cooking.yaml --watch");

  AddJobCommands(app, cli);
  AddSampleCommands(app, cli);
  AddCostCommand(app, cli);
  AddLedgerCommands(app, cli);
  AddOperationCommands(app, cli);
  AddPolicyCommands(app, cli);
  AddTeacherCommands(app, cli);
  AddStudentCommands(app, cli);
  AddChatCommand(app, cli);
  AddAuditCommands(app, cli);
  AddKeyCommands(app, cli);
  AddDoctorCommand(app, cli);
  AddDemoCommand(app, cli);
  AddTreeCommands(app, cli);
  app.add_subcommand("version", "Print the version")->fallthrough()->callback([&cli] {
    cli.action = [&cli] { return Version(cli); };
  });
  std::string topic;
  CLI::App* help = app.add_subcommand("help", "Print this help, or `help exit-codes`");
  help->add_option("topic", topic, "exit-codes");
  help->callback([&] {
    cli.action = [&] {
      cli.out << (topic == "exit-codes" ? ExitCodeHelp() : app.help());
      return kExitOk;
    };
  });

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help
    return app.exit(success, cli.out, cli.err);
  } catch (const CLI::ParseError& error) {
    const std::string suggestion = Suggestion(app, argc, argv);
    cli.err << "error: " << (suggestion.empty() ? error.what() : suggestion)
            << "\n  `retort --help` lists the commands." << std::endl;
    return kExitUsage;
  }
  cli.come_back = GivenFlags(app);
  return cli.action();
}
