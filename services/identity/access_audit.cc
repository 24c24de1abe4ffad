#include "services/identity/access_audit.h"

#include <openssl/rand.h>
#include <time.h>

#include <algorithm>
#include <cassert>
#include <cstdio>
#include <utility>
#include <vector>

#include "ledger/uuid.h"
#include "services/edge/status.h"
#include "services/identity/access_rule.h"

namespace retort::services {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr char kOtherMethod[] = "_OTHER";

std::string FreshUuid() {
  unsigned char bytes[32];
  const int done = RAND_bytes(bytes, sizeof(bytes));
  assert(done == 1);
  return ledger::UuidFromDigest(ledger::Sha256({reinterpret_cast<const char*>(bytes), sizeof(bytes)}));
}

std::string StatementTime(system_clock::time_point time) {
  const int64_t us = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  const time_t seconds = us / 1'000'000;
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[48];
  const size_t length = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + length, sizeof(text) - length, ".%06dZ", static_cast<int>(us % 1'000'000));
  return text;
}

}  // namespace

AccessAudit::AccessAudit(AccessAuditOptions options)
    : options_(std::move(options)), writer_([this] { Run(); }) {}

AccessAudit::~AccessAudit() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  writer_.join();
}

absl::Status AccessAudit::Allow(const std::string& identity, const std::string& method,
                                const std::string& project, const std::string& resource) {
  const std::string time = StatementTime(options_.now());
  const absl::Status status = options_.sink->Append(project, {.project = "projects/" + project,
                                                              .request_id = FreshUuid(),
                                                              .identity = identity,
                                                              .method = method,
                                                              .resource = resource,
                                                              .decision = "allow",
                                                              .reason = "",
                                                              .count = 1,
                                                              .first_time = time,
                                                              .last_time = time});
  if (status.ok()) return status;
  return WithReason(
      absl::UnavailableError("the call was not carried out, because the ledger could not record who "
                             "made it; try again: " +
                             std::string(status.message())),
      LEDGER_UNAVAILABLE);
}

void AccessAudit::Refuse(const Refusal& refusal) {
  const auto now = options_.now();
  {
    const std::lock_guard lock(mutex_);
    Add(refusal, {.calls = 1, .first = now, .last = now, .due = {}});
  }
  changed_.notify_all();
}

AccessAudit::Count& AccessAudit::Add(Refusal kind, const Count& count) {
  if (!counts_.contains(kind) && counts_.size() >= options_.kinds_max) {
    kind.method = kOtherMethod;
    kind.project.clear();
  }
  // Who it was is kept longest: an identity costs a certificate.
  if (!counts_.contains(kind) && counts_.size() >= 2 * options_.kinds_max) kind.identity.clear();
  Count& sum = counts_[kind];
  sum.first = sum.calls == 0 ? count.first : std::min(sum.first, count.first);
  sum.last = sum.calls == 0 ? count.last : std::max(sum.last, count.last);
  sum.calls += count.calls;
  return sum;
}

void AccessAudit::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto next = WriteDue(lock, /*all=*/false);
    const auto due = [this] {
      return stopping_ || std::any_of(counts_.begin(), counts_.end(), [](const auto& kind) {
               return kind.second.calls > 0 && kind.second.due <= steady_clock::now();
             });
    };
    changed_.wait_until(lock, next, due);
  }
  WriteDue(lock, /*all=*/true);
}

steady_clock::time_point AccessAudit::WriteDue(std::unique_lock<std::mutex>& lock, bool all) {
  std::vector<std::pair<Refusal, Count>> due;
  const auto now = steady_clock::now();
  auto next = now + options_.interval;
  for (auto at = counts_.begin(); at != counts_.end();) {
    auto& [kind, count] = *at;
    if (!all && count.due > now) {
      next = std::min(next, count.due);
    } else if (count.calls == 0) {
      at = counts_.erase(at);
      continue;
    } else {
      due.emplace_back(kind, count);
      count = {.calls = 0, .first = {}, .last = {}, .due = now + options_.interval};
    }
    ++at;
  }
  lock.unlock();
  absl::Status failed;  // the first failure ends the round: each further try could wait for its deadline
  for (auto& [kind, count] : due) {
    absl::StatusOr<bool> has_log = false;
    if (failed.ok() && !kind.project.empty()) has_log = options_.sink->HasLog(kind.project);
    if (failed.ok()) failed = has_log.status();
    if (failed.ok() && !*has_log && !kind.project.empty() && !all) {
      // Projects that do not exist are one kind, whatever they were called: names cost a caller nothing.
      lock.lock();
      if (const auto at = counts_.find(kind); at != counts_.end() && at->second.calls == 0) counts_.erase(at);
      kind.project.clear();
      Add(kind, count);
      next = now;
      lock.unlock();
      continue;
    }
    if (failed.ok()) failed = Write(*has_log ? kind.project : kDeploymentProject, kind, count);
    if (failed.ok()) continue;
    lock.lock();
    Add(kind, count).due = now + options_.retry;
    next = std::min(next, now + options_.retry);
    lock.unlock();
  }
  if (!failed.ok()) Complain(failed);
  lock.lock();
  return next;
}

absl::Status AccessAudit::Write(const std::string& log, const Refusal& refusal, const Count& count) {
  return options_.sink->Append(log, {.project = "projects/" + log,
                                     .request_id = FreshUuid(),
                                     .identity = refusal.identity,
                                     .method = refusal.method,
                                     .resource = "",
                                     .decision = "deny",
                                     .reason = refusal.reason,
                                     .count = count.calls,
                                     .first_time = StatementTime(count.first),
                                     .last_time = StatementTime(count.last)});
}

void AccessAudit::Complain(const absl::Status& status) {
  const auto now = steady_clock::now();
  if (!options_.say || (complained_ != steady_clock::time_point{} && now - complained_ < options_.interval))
    return;
  complained_ = now;
  options_.say("refused calls are not in the ledger yet, they are counted and tried again: " +
               std::string(status.message()));
}

}  // namespace retort::services
