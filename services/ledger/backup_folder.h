// Backups of a ledger service: one folder for each, named by its time, holding a copy of every project's log.
//
//   /backup/20261122T140000Z/kitchen    a log, as ledger/log_copy.h makes it
//   /backup/20261122T140000Z/cellar
//   /backup/.20261123T140000Z.partial   one that is being made, or whose maker died
//
// A folder gets its name only when every copy in it has been checked, so what has a name can be restored. The
// server whose logs are copied may run; the one whose logs are restored must not.
#ifndef SERVICES_LEDGER_BACKUP_FOLDER_H_
#define SERVICES_LEDGER_BACKUP_FOLDER_H_

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/log_copy.h"
#include "ledger/signing.h"

namespace retort::services {

struct Backup {
  std::string path;
  std::map<std::string, ledger::LogCopy> logs;  // by project
  std::vector<std::string> removed;             // names of older backups that were one too many
  std::string set_aside;                        // where a restore has moved what was there; may be empty
};

// Copies the logs of `ledger_dir` (a ledger role's <data_dir>/ledger) into a new folder of `backups_dir`,
// then removes the oldest backups beyond `keep`, which is at least 1. What an interrupted run left is removed
// first.
//
// NotFound when ledger_dir is missing or holds no log; AlreadyExists when a backup of this second is there;
// FailedPrecondition when a folder cannot be written; otherwise the errors of ledger::CopyLog, led by the
// project, and then there is no new backup and no old one is removed.
absl::StatusOr<Backup> BackUpLogs(const std::string& ledger_dir, const std::string& backups_dir,
                                  const ledger::VerifyingKey& log_key, int keep,
                                  std::chrono::system_clock::time_point now);

struct RestoreOptions {
  std::string backups_dir;
  std::string name;        // of the backup; empty means the newest
  std::string ledger_dir;  // missing or empty, unless set_aside
  bool set_aside = false;  // move what is in the way to <ledger_dir>.replaced-<time>, for an investigation
};

// Copies a backup into a ledger's folder. Checked like a backup; after an error ledger_dir is as it was, but
// for what was set aside.
//
// NotFound when there is no such backup or none at all; FailedPrecondition when a server holds a log in
// ledger_dir, or ledger_dir holds anything and set_aside is false; InvalidArgument for a name that no backup
// can have; otherwise the errors of ledger::CopyLog.
absl::StatusOr<Backup> RestoreLogs(const RestoreOptions& options, const ledger::VerifyingKey& log_key,
                                   std::chrono::system_clock::time_point now);

}  // namespace retort::services

#endif  // SERVICES_LEDGER_BACKUP_FOLDER_H_
