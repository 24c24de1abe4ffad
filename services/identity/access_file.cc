#include "services/identity/access_file.h"

#include <sys/stat.h>

#include <utility>

#include "ledger/digest.h"
#include "proto/strict_yaml.h"
#include "services/edge/small_file.h"

namespace retort::services {
namespace {

constexpr std::chrono::minutes kSayAgain{1};

absl::StatusOr<AccessTable> Load(const std::string& path, const std::string& yaml) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && (info.st_mode & 022) != 0) {
    return absl::FailedPreconditionError(path +
                                         ": group or others may write to it; wanted mode 0644 or less");
  }
  server::v1::AccessPolicy policy;
  if (auto s = LoadYaml(yaml, path, &policy); !s.ok()) return s;
  auto table = AccessTable::Make(policy);
  if (!table.ok())
    return absl::Status(table.status().code(), path + ": " + std::string(table.status().message()));
  return table;
}

}  // namespace

AccessFile::AccessFile(AccessFileOptions options) : options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<AccessFile>> AccessFile::Open(AccessFileOptions options) {
  std::unique_ptr<AccessFile> file(new AccessFile(std::move(options)));
  if (auto s = file->Refresh(); !s.ok()) return s;
  file->refresher_.emplace(file->options_.refresh, [self = file.get()] { self->RefreshAndSay(); });
  return file;
}

std::shared_ptr<const AccessTable> AccessFile::table() const {
  const std::lock_guard lock(mutex_);
  return table_;
}

absl::Status AccessFile::Refresh() {
  auto yaml = ReadSmallFile(options_.path);
  if (!yaml.ok()) return yaml.status();
  const std::string sha256(ledger::AsView(ledger::Sha256(*yaml)));
  const std::lock_guard lock(mutex_);
  if (sha256 == sha256_) return absl::OkStatus();
  auto table = Load(options_.path, *yaml);
  if (!table.ok()) {
    if (sha256 != refused_sha256_) ++reload_failures_;
    refused_sha256_ = sha256;
    return table.status();
  }
  table_ = std::make_shared<const AccessTable>(*std::move(table));
  sha256_ = sha256;
  return absl::OkStatus();
}

void AccessFile::RefreshAndSay() {
  const auto before = table();
  const absl::Status status = Refresh();
  if (!options_.say) return;
  if (status.ok()) {
    if (table() != before) options_.say("access file " + options_.path + ": read anew, in force from now on");
    said_ = {};
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (said_ != std::chrono::steady_clock::time_point{} && now - said_ < kSayAgain) return;
  said_ = now;
  options_.say("access file not taken, the last valid one stays in force: " + std::string(status.message()));
}

}  // namespace retort::services
