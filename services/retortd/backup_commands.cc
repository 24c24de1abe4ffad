#include "services/retortd/backup_commands.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "ledger/hex.h"
#include "ledger/signing.h"
#include "services/edge/channel.h"
#include "services/ledger/backup_folder.h"

namespace retort::services {
namespace {

struct Arguments {
  std::string ledger_dir, backups_dir, log_vkey, name;
  int keep = 14;
  bool set_aside = false;
};

absl::StatusOr<ledger::VerifyingKey> ReadLogKey(const std::string& path) {
  auto text = ReadSmallFile(path, 4096);
  if (!text.ok()) return text.status();
  while (!text->empty() && text->back() == '\n') text->pop_back();
  auto key = ledger::VerifyingKey::Parse(*text);
  if (!key.ok())
    return absl::InvalidArgumentError(path + ": not a public key: " + std::string(key.status().message()));
  return key;
}

int Report(const absl::StatusOr<Backup>& backup, const char* done) {
  if (!backup.ok()) {
    std::fprintf(stderr, "retortd: %s\n", std::string(backup.status().message()).c_str());
    return 1;
  }
  for (const auto& [project, log] : backup->logs) {
    std::printf("%s %s: %llu entries, %llu under a signed checkpoint, root %s\n", done, log.origin.c_str(),
                static_cast<unsigned long long>(log.size), static_cast<unsigned long long>(log.signed_size),
                ledger::HexEncode(log.root).c_str());
  }
  if (!backup->set_aside.empty()) std::printf("set aside %s\n", backup->set_aside.c_str());
  for (const std::string& name : backup->removed) std::printf("removed %s\n", name.c_str());
  std::printf("%s\n", backup->path.c_str());
  return 0;
}

int RunBackup(const Arguments& arguments) {
  const auto key = ReadLogKey(arguments.log_vkey);
  if (!key.ok()) return Report(key.status(), "");
  return Report(BackUpLogs(arguments.ledger_dir, arguments.backups_dir, *key, arguments.keep,
                           std::chrono::system_clock::now()),
                "copied");
}

int RunRestore(const Arguments& arguments) {
  const auto key = ReadLogKey(arguments.log_vkey);
  if (!key.ok()) return Report(key.status(), "");
  return Report(RestoreLogs({.backups_dir = arguments.backups_dir,
                             .name = arguments.name,
                             .ledger_dir = arguments.ledger_dir,
                             .set_aside = arguments.set_aside},
                            *key, std::chrono::system_clock::now()),
                "restored");
}

}  // namespace

void AddBackupCommands(CLI::App& app, int& exit_code) {
  // Arguments are shared because CLI11 keeps copies of the callbacks.
  auto backing_up = std::make_shared<Arguments>();
  CLI::App* backup =
      app.add_subcommand("backup", "Copy the logs of a ledger, whose server may run, and check every copy");
  backup->add_option("--ledger", backing_up->ledger_dir, "Folder of the logs: <data_dir>/ledger")->required();
  backup->add_option("--to", backing_up->backups_dir, "Folder of the backups")->required();
  backup->add_option("--log-key", backing_up->log_vkey, "File with the public key of the log")->required();
  backup->add_option("--keep", backing_up->keep, "Newest backups to keep; older ones are removed")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  backup->footer(
      "Examples:\n  retortd backup --ledger /var/lib/retort/ledger --to /backup --log-key log.vkey\n"
      "  retortd backup --ledger /var/lib/retort/ledger --to /backup --log-key log.vkey --keep 30");
  backup->callback([backing_up, &exit_code] { exit_code = RunBackup(*backing_up); });

  auto restoring = std::make_shared<Arguments>();
  CLI::App* restore =
      app.add_subcommand("restore", "Bring a backup of the logs back, for a server that does not run");
  restore->add_option("--from", restoring->backups_dir, "Folder of the backups")->required();
  restore->add_option("--backup", restoring->name, "Which of them; the newest when left out");
  restore->add_option("--ledger", restoring->ledger_dir, "Where to: <data_dir>/ledger, missing or empty")
      ->required();
  restore->add_flag("--set-aside", restoring->set_aside,
                    "Move logs that are there to <ledger>.replaced-<time> instead of refusing");
  restore->add_option("--log-key", restoring->log_vkey, "File with the public key of the log")->required();
  restore->footer(
      "Examples:\n  retortd restore --from /backup --ledger /var/lib/retort/ledger --log-key log.vkey\n"
      "  retortd restore --from /backup --backup 20260131T020000Z --ledger /var/lib/retort/ledger "
      "--log-key log.vkey");
  restore->callback([restoring, &exit_code] { exit_code = RunRestore(*restoring); });
}

}  // namespace retort::services
