// `retort doctor`: examines an installation and says what to do.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "services/cli/cli.h"
#include "services/cli/exit_code.h"
#include "services/doctor/examine_server.h"
#include "services/doctor/examine_tls.h"
#include "services/edge/server_config.h"

namespace retort::services {
namespace {

struct Arguments {
  std::string config;
  std::string roles = "jobs,teacher,policy,ledger";
};

int Print(const Cli& cli, const std::vector<Finding>& findings) {
  const auto count = [&](Finding::State state) {
    return std::count_if(findings.begin(), findings.end(),
                         [&](const Finding& one) { return one.state == state; });
  };
  const auto bad = count(Finding::State::kBad), warnings = count(Finding::State::kWarning);
  const int code = bad > 0 ? kExitFailure : kExitOk;
  if (cli.structured()) {
    std::vector<std::string> items;
    for (const Finding& one : findings) {
      items.push_back(nlohmann::json{
          {"name", one.what}, {"state", StateName(one.state)}, {"seen", one.seen}, {"advice", one.advice}}
                          .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    }
    const int printed = cli.PrintItems(items);
    return printed == kExitOk ? code : printed;
  }
  Table table({"LOOKED AT", "STATE", "SEEN"});
  for (const Finding& one : findings) table.Add({one.what, StateName(one.state), one.seen});
  table.Print(cli.out);
  for (const Finding& one : findings) {
    if (!one.advice.empty()) cli.out << "\n" << one.what << ": " << one.advice;
  }
  cli.out << (bad + warnings > 0 ? "\n\n" : "\n") << findings.size() << " looked at, " << warnings
          << " warnings, " << bad << " bad\n";
  return code;
}

int Examine(const Cli& cli, const Arguments& arguments) {
  if (arguments.config.empty()) {
    const auto resolved = ResolveConnection(cli.connection, ProcessEnvironment());
    if (!resolved.ok()) return cli.Fail(resolved.status());
    auto findings = ExamineTlsFiles(resolved->tls, std::chrono::system_clock::now());
    findings.push_back(ExaminePeer("server", resolved->server, resolved->tls, std::chrono::seconds(5)));
    return Print(cli, findings);
  }
  const auto roles = ParseRoles(arguments.roles);
  if (!roles.ok()) return cli.Fail(roles.status());
  const auto config = LoadServerConfig(arguments.config, *roles);
  if (!config.ok()) {
    return Print(
        cli, {Bad("configuration", std::string(config.status().message()), "mend what the message names")});
  }
  std::vector<Finding> findings{Good("configuration", arguments.config + " is valid for " + arguments.roles)};
  for (Finding& one : ExamineServer(*config, {.roles = *roles})) findings.push_back(std::move(one));
  return Print(cli, findings);
}

}  // namespace

void AddDoctorCommand(CLI::App& app, Cli& cli) {
  // Arguments are shared because CLI11 keeps copies of the callbacks.
  auto arguments = std::make_shared<Arguments>();
  CLI::App* doctor =
      app.add_subcommand("doctor", "Examine an installation and say what to do; changes nothing")
          ->fallthrough();
  doctor->add_option(
      "--config", arguments->config,
      "Configuration of a retortd, file or folder: examine that server. Left out: this client's side");
  doctor->add_option("--roles", arguments->roles, "With --config: the roles that the server hosts")
      ->capture_default_str();
  doctor->footer(
      "Exit status 1 when something is bad; warnings are not.\n\nExamples:\n  retort doctor\n  retort doctor "
      "--config "
      "/etc/retort/retortd.yaml --roles ledger -o json");
  doctor->callback(
      [&cli, arguments] { cli.action = [&cli, arguments] { return Examine(cli, *arguments); }; });
}

}  // namespace retort::services
