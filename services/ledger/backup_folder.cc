#include "services/ledger/backup_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "services/edge/resource_name.h"

namespace retort::services {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNameForm = "ddddddddTddddddZ";

bool IsBackupName(std::string_view name) {
  return std::equal(name.begin(), name.end(), kNameForm.begin(), kNameForm.end(), [](char c, char form) {
    return form == 'd' ? std::isdigit(static_cast<unsigned char>(c)) != 0 : c == form;
  });
}

bool IsPartialName(std::string_view name) {
  constexpr std::string_view kEnd = ".partial";
  return name.size() > 1 + kEnd.size() && name.front() == '.' && name.ends_with(kEnd) &&
         IsBackupName(name.substr(1, name.size() - 1 - kEnd.size()));
}

std::string NameOf(std::chrono::system_clock::time_point now) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
  return text;
}

absl::Status About(const std::string& what, const std::error_code& error) {
  return absl::FailedPreconditionError(what + ": " + error.message());
}

// Names in a folder that `wanted` accepts, sorted. NotFound when there is no folder.
absl::StatusOr<std::vector<std::string>> NamesIn(const std::string& folder,
                                                 bool (*wanted)(std::string_view)) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::string name = at->path().filename().string();
    if (wanted(name)) names.push_back(std::move(name));
  }
  if (error == std::errc::no_such_file_or_directory)
    return absl::NotFoundError(folder + ": " + error.message());
  if (error) return About(folder, error);
  std::sort(names.begin(), names.end());
  return names;
}

// Makes names inside the folder durable.
absl::Status SyncFolder(const std::string& path) {
  const int folder = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = folder >= 0 && fsync(folder) == 0;
  const int error = errno;
  if (folder >= 0) close(folder);
  if (synced) return absl::OkStatus();
  return absl::FailedPreconditionError(path + ": cannot be synced: " + std::strerror(error));
}

absl::StatusOr<std::map<std::string, ledger::LogCopy>> CopyLogs(const std::string& from,
                                                                const std::string& to,
                                                                const ledger::VerifyingKey& log_key) {
  auto projects = NamesIn(from, IsResourceId);
  if (!projects.ok()) return projects.status();
  if (projects->empty()) return absl::NotFoundError(from + " holds no log");
  std::map<std::string, ledger::LogCopy> logs;
  for (const std::string& project : *projects) {
    auto copy = ledger::CopyLog(from + "/" + project, to + "/" + project, log_key);
    if (!copy.ok()) {
      return absl::Status(copy.status().code(),
                          "project " + project + ": " + std::string(copy.status().message()));
    }
    logs.emplace(project, *std::move(copy));
  }
  if (auto s = SyncFolder(to); !s.ok()) return s;
  return logs;
}

absl::StatusOr<std::vector<std::string>> RemoveOldest(const std::string& backups_dir, int keep) {
  auto names = NamesIn(backups_dir, IsBackupName);
  if (!names.ok()) return names.status();
  names->resize(names->size() - std::min(names->size(), static_cast<size_t>(std::max(keep, 1))));
  for (const std::string& name : *names) {
    std::error_code error;
    fs::remove_all(backups_dir + "/" + name, error);
    if (error) return About("old backup " + name + " cannot be removed", error);
  }
  return names;
}

absl::StatusOr<Backup> FindBackup(const std::string& backups_dir, const std::string& name) {
  if (!name.empty() && !IsBackupName(name)) {
    return absl::InvalidArgumentError("backup: saw '" + name + "', wanted a name like 20260131T020000Z");
  }
  const auto names = NamesIn(backups_dir, IsBackupName);
  if (!names.ok()) return names.status();
  if (names->empty()) return absl::NotFoundError(backups_dir + " holds no backup");
  const std::string wanted = name.empty() ? names->back() : name;
  if (!std::binary_search(names->begin(), names->end(), wanted)) {
    return absl::NotFoundError(backups_dir + " holds no backup " + wanted + "; the newest is " +
                               names->back());
  }
  return Backup{.path = backups_dir + "/" + wanted};
}

// A server holds each of its logs by a lock on the file LOCK in it, as RocksDB makes it (fcntl).
absl::Status CheckNotHeld(const std::string& ledger_dir) {
  const auto projects = NamesIn(ledger_dir, IsResourceId);
  if (absl::IsNotFound(projects.status())) return absl::OkStatus();
  if (!projects.ok()) return projects.status();
  for (const std::string& project : *projects) {
    const int file = open((ledger_dir + "/" + project + "/LOCK").c_str(), O_RDWR | O_CLOEXEC);
    if (file < 0) continue;
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    const bool held = fcntl(file, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(file);
    if (held) {
      return absl::FailedPreconditionError("process " + std::to_string(lock.l_pid) +
                                           " holds the log of project " + project +
                                           " open; stop the ledger first");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Backup> BackUpLogs(const std::string& ledger_dir, const std::string& backups_dir,
                                  const ledger::VerifyingKey& log_key, int keep,
                                  std::chrono::system_clock::time_point now) {
  std::error_code error;
  fs::create_directories(backups_dir, error);
  if (error) return About(backups_dir, error);
  const auto interrupted = NamesIn(backups_dir, IsPartialName);
  if (!interrupted.ok()) return interrupted.status();
  for (const std::string& name : *interrupted) {
    fs::remove_all(backups_dir + "/" + name, error);
    if (error) return About("interrupted backup " + name + " cannot be removed", error);
  }
  const std::string name = NameOf(now);
  Backup backup{.path = backups_dir + "/" + name};
  if (fs::exists(backup.path, error)) return absl::AlreadyExistsError(backup.path + " is there already");
  const std::string partial = backups_dir + "/." + name + ".partial";
  fs::create_directory(partial, error);
  if (error) return About(partial, error);
  auto logs = CopyLogs(ledger_dir, partial, log_key);
  if (!logs.ok()) {
    fs::remove_all(partial, error);
    return logs.status();
  }
  backup.logs = *std::move(logs);
  fs::rename(partial, backup.path, error);
  if (error) return About(backup.path, error);
  if (auto s = SyncFolder(backups_dir); !s.ok()) return s;
  auto removed = RemoveOldest(backups_dir, keep);
  if (!removed.ok()) return removed.status();
  backup.removed = *std::move(removed);
  return backup;
}

absl::StatusOr<Backup> RestoreLogs(const RestoreOptions& options, const ledger::VerifyingKey& log_key,
                                   std::chrono::system_clock::time_point now) {
  auto backup = FindBackup(options.backups_dir, options.name);
  if (!backup.ok()) return backup.status();
  if (auto s = CheckNotHeld(options.ledger_dir); !s.ok()) return s;
  std::error_code error;
  const bool was_there = fs::exists(options.ledger_dir, error);
  if (was_there && !fs::is_empty(options.ledger_dir, error)) {
    if (!options.set_aside) {
      return absl::FailedPreconditionError(options.ledger_dir +
                                           " is not empty; wanted a missing or empty folder: move the old "
                                           "logs away, or let them be set aside");
    }
    backup->set_aside = options.ledger_dir + ".replaced-" + NameOf(now);
    fs::rename(options.ledger_dir, backup->set_aside, error);
    if (error) return About(backup->set_aside, error);
  }
  fs::create_directories(options.ledger_dir, error);
  if (error) return About(options.ledger_dir, error);
  auto logs = CopyLogs(backup->path, options.ledger_dir, log_key);
  if (!logs.ok()) {
    for (const auto& made : fs::directory_iterator(options.ledger_dir, error))
      fs::remove_all(made.path(), error);
    if (!was_there) fs::remove(options.ledger_dir, error);
    return logs.status();
  }
  backup->logs = *std::move(logs);
  return backup;
}

}  // namespace retort::services
