// An access guard for tests: a file of grants, and a ledger that is a list in memory.
#ifndef TESTS_SERVICES_IDENTITY_TEST_ACCESS_H_
#define TESTS_SERVICES_IDENTITY_TEST_ACCESS_H_

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "services/identity/access_guard.h"

namespace retort::services {

// Thread-safe.
class ListSink final : public AccessSink {
 public:
  absl::StatusOr<bool> HasLog(const std::string& project) override {
    const std::lock_guard lock(mutex_);
    if (failing_) return absl::UnavailableError("the disk is full");
    return logs_.contains(project);
  }
  absl::Status Append(const std::string& project, const ledger::AccessStatement& statement) override {
    const std::lock_guard lock(mutex_);
    if (failing_) return absl::UnavailableError("the disk is full");
    const auto parsed = ledger::AccessStatement::Parse(statement.ToJson());
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(statement.project, "projects/" + project);
    logs_.insert(project);
    entries_.push_back(statement);
    changed_.notify_all();
    return absl::OkStatus();
  }
  void MakeLog(const std::string& project) {
    const std::lock_guard lock(mutex_);
    logs_.insert(project);
  }
  void set_failing(bool failing) {
    const std::lock_guard lock(mutex_);
    failing_ = failing;
  }
  std::vector<ledger::AccessStatement> entries() {
    const std::lock_guard lock(mutex_);
    return entries_;
  }
  // Whether `condition` holds of the entries within ten seconds.
  bool Await(const std::function<bool(const std::vector<ledger::AccessStatement>&)>& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return condition(entries_); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool failing_ = false;
  std::set<std::string> logs_;
  std::vector<ledger::AccessStatement> entries_;
};

// For the identities of EnsureDevIdentity. The first may do everything, as a person and as a service; the
// second is a person who looks.
inline constexpr char kDevAccess[] = R"(
trust_domain: dev.retort.invalid
grants:
  - identity: spiffe://dev.retort.invalid/client
    roles: [submitter, reviewer, policy_admin, auditor, operator]
    projects: ["*"]
  - identity: spiffe://dev.retort.invalid/client
    roles: [service_jobs, service_teacher, service_policy, service_ledger, service_trainer]
    projects: ["*"]
  - identity: spiffe://dev.retort.invalid/second
    roles: [viewer]
    projects: ["*"]
  - identity: spiffe://dev.retort.invalid/server
    roles: [service_jobs, service_teacher, service_policy, service_ledger, service_trainer]
    projects: ["*"]
)";

class TestAccess {
 public:
  // Writes <folder>/access.yaml. Refusals of one kind are written once in `interval`.
  TestAccess(const std::string& folder, const std::string& yaml,
             std::chrono::milliseconds interval = std::chrono::minutes(1))
      : path_(folder + "/access.yaml") {
    Write(yaml);
    auto file = AccessFile::Open({.path = path_});
    EXPECT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
    audit_ = std::make_unique<AccessAudit>(AccessAuditOptions{.sink = &sink_, .interval = interval});
    guard_ = std::make_unique<AccessGuard>(file_.get(), audit_.get());
  }

  void Write(const std::string& yaml) const { std::ofstream(path_, std::ios::trunc) << yaml; }
  AccessFile& file() { return *file_; }
  ListSink& sink() { return sink_; }
  const AccessGuard* guard() const { return guard_.get(); }

 private:
  const std::string path_;
  ListSink sink_;
  std::unique_ptr<AccessFile> file_;
  std::unique_ptr<AccessAudit> audit_;
  std::unique_ptr<AccessGuard> guard_;
};

}  // namespace retort::services

#endif  // TESTS_SERVICES_IDENTITY_TEST_ACCESS_H_
