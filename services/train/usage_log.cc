#include "services/train/usage_log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "ledger/digest.h"
#include "ledger/uuid.h"
#include "student/formats/atomic_file.h"

namespace retort::train {
namespace {

constexpr uint64_t kRecordBytesMax = 64 * 1024;
constexpr int64_t kAttemptsMax = 999'999;  // six digits of a file name
constexpr std::string_view kPrefix = "attempt-";
constexpr std::string_view kPending = ".json";
constexpr std::string_view kAppended = ".appended.json";

std::string RecordPath(const std::string& folder, int64_t attempt, std::string_view suffix) {
  char number[16];
  std::snprintf(number, sizeof number, "%06lld", static_cast<long long>(attempt));
  return folder + "/" + std::string(kPrefix) + number + std::string(suffix);
}

// The attempt of attempt-000012<suffix>; 0 for other names.
int64_t AttemptOf(std::string_view name, std::string_view suffix) {
  if (name.size() != kPrefix.size() + 6 + suffix.size() || !name.starts_with(kPrefix) ||
      !name.ends_with(suffix)) {
    return 0;
  }
  int64_t attempt = 0;
  const char* digits = name.data() + kPrefix.size();
  const auto [end, error] = std::from_chars(digits, digits + 6, attempt);
  return error == std::errc() && end == digits + 6 ? attempt : 0;
}

absl::StatusOr<int> Lock(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::UnavailableError(folder + ": cannot make the folder (" + error.message() + ")");
  const std::string path = folder + "/lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return absl::UnavailableError(path + ": " + std::strerror(errno));
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  const int why = errno;
  close(fd);
  if (why == EWOULDBLOCK)
    return absl::FailedPreconditionError(path + ": another trainer works in this folder");
  return absl::UnavailableError(path + ": " + std::strerror(why));
}

absl::Status OfAnotherRun(const std::string& path, std::string_view member, const std::string& seen,
                          const std::string& wanted) {
  return absl::FailedPreconditionError(path + ": belongs to another run: its " + std::string(member) +
                                       " is " + seen.substr(0, 96) + "; wanted " + wanted);
}

}  // namespace

std::string UsageRequestId(std::string_view job_uid, std::string_view run, int64_t attempt) {
  std::string text = "retort/training/v1\n";
  for (const std::string_view part : {job_uid, run, std::string_view("usage")})
    text.append(part).append("\n");
  return ledger::UuidFromDigest(ledger::Sha256(text + std::to_string(attempt)));
}

UsageLog::UsageLog(std::string folder, ledger::TrainingStatement run, int lock_fd)
    : folder_(std::move(folder)), run_(std::move(run)), lock_fd_(lock_fd) {}

UsageLog::UsageLog(UsageLog&& other) noexcept
    : folder_(std::move(other.folder_)),
      run_(std::move(other.run_)),
      lock_fd_(std::exchange(other.lock_fd_, -1)),
      last_attempt_(other.last_attempt_),
      pending_(std::move(other.pending_)) {}

UsageLog::~UsageLog() {
  if (lock_fd_ >= 0) close(lock_fd_);
}

absl::StatusOr<UsageLog> UsageLog::Open(const std::string& run_dir, ledger::TrainingStatement run) {
  const std::string folder = run_dir + "/usage";
  const auto lock = Lock(folder);
  if (!lock.ok()) return lock.status();
  UsageLog log(folder, std::move(run), *lock);
  std::error_code error;
  std::vector<int64_t> appended;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (const int64_t attempt = AttemptOf(name, kAppended); attempt > 0) {
      log.last_attempt_ = std::max(log.last_attempt_, attempt);
    } else if (const int64_t waiting = AttemptOf(name, kPending); waiting > 0) {
      log.last_attempt_ = std::max(log.last_attempt_, waiting);
      log.pending_.push_back(waiting);
    }
  }
  if (error) return absl::UnavailableError(folder + ": " + error.message());
  std::sort(log.pending_.begin(), log.pending_.end());
  for (const int64_t attempt : log.pending_) {
    if (auto record = log.Read(attempt); !record.ok()) return record.status();
  }
  return log;
}

absl::StatusOr<ledger::TrainingStatement> UsageLog::Read(int64_t attempt) const {
  const std::string path = RecordPath(folder_, attempt, kPending);
  const auto bytes = student::ReadWholeFile(path, kRecordBytesMax);
  if (absl::IsInvalidArgument(bytes.status())) return absl::DataLossError(bytes.status().message());
  if (!bytes.ok()) return bytes.status();
  auto statement = ledger::TrainingStatement::Parse(*bytes);
  if (!statement.ok()) {
    return absl::DataLossError(path + ": " + std::string(statement.status().message()) +
                               "; wanted what a trainer wrote; move the file away to go on without it");
  }
  if (statement->is_milestone() || statement->usage.attempt != attempt) {
    return absl::DataLossError(path + ": is no record of attempt " + std::to_string(attempt));
  }
  const std::pair<std::string_view, std::pair<std::string, std::string>> members[] = {
      {"project", {statement->project, run_.project}},
      {"job", {statement->job, run_.job}},
      {"job_uid", {statement->job_uid, run_.job_uid}},
      {"run", {statement->run, run_.run}},
      {"dataset_entry", {std::to_string(statement->dataset_entry), std::to_string(run_.dataset_entry)}},
      {"manifest_sha256", {statement->manifest_sha256, run_.manifest_sha256}},
      {"request_id", {statement->request_id, UsageRequestId(run_.job_uid, run_.run, attempt)}}};
  for (const auto& [member, values] : members) {
    if (values.first != values.second) return OfAnotherRun(path, member, values.first, values.second);
  }
  return statement;
}

absl::Status UsageLog::Write(const ledger::TrainingUsage& usage) {
  assert(ledger::CheckUsage(usage).ok() && usage.attempt <= kAttemptsMax);
  ledger::TrainingStatement statement = run_;
  statement.phase = "usage";
  statement.request_id = UsageRequestId(run_.job_uid, run_.run, usage.attempt);
  statement.usage = usage;
  if (auto s = student::WriteFileAtomically(RecordPath(folder_, usage.attempt, kPending), statement.ToJson());
      !s.ok()) {
    return s;
  }
  last_attempt_ = std::max(last_attempt_, usage.attempt);
  if (std::find(pending_.begin(), pending_.end(), usage.attempt) == pending_.end())
    pending_.push_back(usage.attempt);
  return absl::OkStatus();
}

void UsageLog::MarkAppended(int64_t attempt) {
  std::error_code lost;
  std::filesystem::rename(RecordPath(folder_, attempt, kPending), RecordPath(folder_, attempt, kAppended),
                          lost);
  pending_.erase(std::remove(pending_.begin(), pending_.end(), attempt), pending_.end());
}

}  // namespace retort::train
