#include "services/ledger/project_logs.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "ledger/hex.h"
#include "ledger/private_file.h"
#include "services/edge/channel.h"
#include "services/edge/disk_room.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

constexpr std::chrono::seconds kMendEvery(1);

}  // namespace

ProjectLogs::ProjectLogs(ProjectLogsOptions options) : options_(std::move(options)) {}

absl::Status ProjectLogs::OpenAll() {
  std::error_code error;
  std::filesystem::create_directories(options_.data_dir, error);
  if (error)
    return absl::FailedPreconditionError(options_.data_dir + ": cannot be created: " + error.message());
  for (const auto& entry : std::filesystem::directory_iterator(options_.data_dir, error)) {
    const std::string project = entry.path().filename().string();
    if (!entry.is_directory() || !IsResourceId(project)) continue;
    if (auto log = Get(project, /*create=*/false); !log.ok()) {
      return absl::Status(log.status().code(),
                          "log of project " + project + ": " + std::string(log.status().message()));
    }
  }
  if (error) return absl::FailedPreconditionError(options_.data_dir + ": cannot be read: " + error.message());
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<ledger::Log>> ProjectLogs::Get(const std::string& project_id, bool create) {
  const std::lock_guard lock(mutex_);
  if (const auto found = logs_.find(project_id); found != logs_.end()) {
    OpenLog& open = found->second;
    Mend(project_id, open);
    if (open.log == nullptr) return open.closed;
    return open.log;
  }
  std::error_code error;
  if (!create && !std::filesystem::exists(options_.data_dir + "/" + project_id, error)) {
    return WithReason(
        absl::NotFoundError("projects/" + project_id + " has no ledger: nothing was appended to it"),
        NOT_FOUND, {{"project", project_id}});
  }
  if (logs_.size() >= kProjectsMax) {
    return WithReason(
        absl::ResourceExhaustedError("this service holds " + std::to_string(kProjectsMax) + " logs already"),
        LIMIT_EXCEEDED);
  }
  auto opened = Open(project_id);
  if (!opened.ok()) return opened.status();
  return logs_.emplace(project_id, *std::move(opened)).first->second.log;
}

void ProjectLogs::Mend(const std::string& project_id, OpenLog& open) const {
  if (open.log != nullptr && !open.log->read_only()) return;
  if (open.log != nullptr && open.log.use_count() > 1) return;  // a call uses it, and the disk has one owner
  const auto now = std::chrono::steady_clock::now();
  if (now - open.tried < kMendEvery || !CheckDiskRoom(options_.data_dir).ok()) return;
  open.tried = now;
  open.log.reset();
  auto opened = Open(project_id);
  if (!opened.ok()) {
    open.closed = opened.status();
    return;
  }
  open.key = std::move(opened->key);
  open.log = std::move(opened->log);
}

int64_t ProjectLogs::NewestEntryTimeUs() {
  const std::lock_guard lock(mutex_);
  int64_t newest = 0;
  for (const auto& [project, open] : logs_) {
    if (open.log == nullptr) continue;
    const uint64_t size = open.log->CheckpointNote().checkpoint.size;
    const auto entry = size == 0 ? absl::NotFoundError("") : open.log->ReadEntry(size - 1);
    if (entry.ok()) newest = std::max(newest, entry->entry.time_us);
  }
  return newest;
}

absl::Status ProjectLogs::CheckAppendable() {
  {
    const std::lock_guard lock(mutex_);
    for (auto& [project, open] : logs_) {
      Mend(project, open);
      if (open.log != nullptr && !open.log->read_only()) continue;
      return absl::UnavailableError("the log of project " + project +
                                    " takes no entries after a failed write, until it is opened again" +
                                    (open.log == nullptr ? ": " + std::string(open.closed.message()) : ""));
    }
  }
  return CheckDiskRoom(options_.data_dir);
}

ProjectLogs::Entries ProjectLogs::CountEntries() {
  const std::lock_guard lock(mutex_);
  Entries entries;
  for (const auto& [project, open] : logs_) {
    if (open.log == nullptr) continue;
    const uint64_t size = open.log->CheckpointNote().checkpoint.size;
    entries.all += size;
    entries.appended += size - open.entries_before;
  }
  return entries;
}

absl::StatusOr<ProjectLogs::OpenLog> ProjectLogs::Open(const std::string& project_id) const {
  const std::string origin = options_.deployment + "/" + project_id;
  auto key = options_.log_key->WithName(origin);
  if (!key.ok()) return key.status();
  OpenLog opened;
  opened.key = std::make_unique<ledger::SigningKey>(*std::move(key));
  ledger::LogOptions log;
  log.path = options_.data_dir + "/" + project_id;
  log.origin = origin;
  log.project = "projects/" + project_id;
  log.log_key = opened.key.get();
  log.vault_key = options_.vault_key;
  log.trusted_keys = options_.trusted_keys;
  log.now_us = options_.now_us;
  std::error_code error;
  const bool existed = std::filesystem::exists(log.path, error);
  auto made = ledger::Log::Open(std::move(log));
  if (!made.ok()) return made.status();
  opened.log = *std::move(made);
  if (existed) opened.entries_before = opened.log->CheckpointNote().checkpoint.size;
  return opened;
}

absl::StatusOr<std::array<uint8_t, 32>> LoadVaultKey(const std::string& path) {
  if (auto s = ledger::CheckPrivateFile(path); !s.ok()) return s;
  auto text = ReadSmallFile(path, 128);
  if (!text.ok()) return text.status();
  if (!text->empty() && text->back() == '\n') text->pop_back();
  auto bytes = ledger::HexDecode(*text);
  OPENSSL_cleanse(text->data(), text->size());
  if (!bytes.ok() || bytes->size() != 32) {
    return absl::InvalidArgumentError(path + ": not a vault key; wanted 64 hex digits");
  }
  std::array<uint8_t, 32> key;
  std::copy(bytes->begin(), bytes->end(), key.begin());
  OPENSSL_cleanse(bytes->data(), bytes->size());
  return key;
}

}  // namespace retort::services
