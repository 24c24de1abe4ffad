// What every command of `retort` gets: global options, streams, and the way to a server.
//
// A command group registers its sub-commands with Add...Commands; the one that the user picked sets `action`,
// which main runs after parsing and whose result is the exit code. Data goes to `out`, everything else to
// `err`.
#ifndef SERVICES_CLI_CLI_H_
#define SERVICES_CLI_CLI_H_

#include <functional>
#include <iostream>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/cli/client.h"
#include "services/cli/output.h"
#include "services/cli/output_form.h"

namespace CLI {
class App;
}

namespace retort::services {

// How `teacher ask` and `chat` draw when nothing is said: far enough from the likeliest token that a small
// model does not repeat itself, near enough that it stays on the subject. Jobs have no default: their file
// says how they draw.
inline constexpr double kAskTemperature = 0.7;
inline constexpr double kAskTopP = 0.9;

struct Cli {
  ConnectionOptions connection;
  std::string project = "default";
  std::string output = "table";  // one of kOutputForms
  int timeout_seconds = 60;
  std::string program;    // argv[0], to find the programs beside it
  std::string come_back;  // global flags as given, for commands that are printed for later

  std::ostream& out = std::cout;
  std::ostream& err = std::cerr;
  std::function<int()> action;

  bool structured() const { return output != "table" && output != "wide"; }
  bool wide() const { return output == "wide"; }
  std::string parent() const { return "projects/" + project; }

  // "projects/{project}/<collection>/<id>"; `id` as it is when it is a full name already.
  std::string FullName(std::string_view collection, const std::string& id) const;

  absl::StatusOr<std::unique_ptr<Client>> Connect() const;

  // Prints one thing, or a list, from its JSON in the form that was asked for; the exit code.
  int PrintItem(const std::string& json) const;
  int PrintItems(const std::vector<std::string>& items) const;

  // Prints the error and returns its exit code.
  int Fail(const absl::Status& status) const;
};

void AddJobCommands(CLI::App& app, Cli& cli);
void AddJobLogCommand(CLI::App& job, Cli& cli);
void AddSampleCommands(CLI::App& app, Cli& cli);
void AddOperationCommands(CLI::App& app, Cli& cli);
void AddPolicyRevisionCommands(CLI::App& policy, Cli& cli);
void AddCostCommand(CLI::App& app, Cli& cli);
void AddLedgerCommands(CLI::App& app, Cli& cli);
void AddPolicyCommands(CLI::App& app, Cli& cli);
void AddTeacherCommands(CLI::App& app, Cli& cli);
void AddStudentCommands(CLI::App& app, Cli& cli);
void AddChatCommand(CLI::App& app, Cli& cli);
void AddAuditCommands(CLI::App& app, Cli& cli);
void AddKeyCommands(CLI::App& app, Cli& cli);
void AddDoctorCommand(CLI::App& app, Cli& cli);
void AddTreeCommands(CLI::App& app, Cli& cli);  // of all commands, those added later too

// The sub-command in `names` that a user most likely meant by `typed`; empty when none is near (edit distance
// above a third of the longer word, and above 1).
std::string DidYouMean(std::string_view typed, const std::vector<std::string>& names);

// Verifier key from what a user gave: a file that holds a vkey, or the vkey itself. NotFound when it is
// neither.
absl::StatusOr<std::string> ReadVkey(const std::string& argument);

}  // namespace retort::services

#endif  // SERVICES_CLI_CLI_H_
