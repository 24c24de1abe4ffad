#include "services/identity/access_guard.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "retort/jobs/v1/jobs.pb.h"
#include "services/edge/status.h"
#include "services/identity/separation.h"
#include "tests/services/identity/test_access.h"

namespace retort::services {
namespace {

constexpr char kAccess[] = R"(
trust_domain: retort.example
grants:
  - {identity: spiffe://retort.example/anna, roles: [submitter], projects: [acme]}
  - {identity: spiffe://retort.example/vera, roles: [viewer], projects: [acme, globex]}
  - {identity: spiffe://retort.example/root, roles: [operator, submitter], projects: ["*"]}
)";

class AccessGuardTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/access_guard_test." + std::to_string(getpid());
    std::filesystem::create_directories(folder_);
    access_ = std::make_unique<TestAccess>(folder_, kAccess, std::chrono::milliseconds(200));
  }
  void TearDown() override {
    access_.reset();
    std::filesystem::remove_all(folder_);
  }
  static SpiffeId Id(const std::string& name) { return *SpiffeId::Parse("spiffe://retort.example/" + name); }
  static MethodRule Rule(const std::string& method) {
    return *MethodRule::Of(
        *jobs::v1::Job::descriptor()->file()->FindServiceByName("JobsService")->FindMethodByName(method));
  }
  absl::Status Create(const std::string& who, const std::string& parent) {
    jobs::v1::CreateJobRequest request;
    request.set_parent(parent);
    return access_->guard()->Check(Id(who), Rule("CreateJob"), request);
  }
  absl::Status Get(const std::string& who, const std::string& name) {
    jobs::v1::GetJobRequest request;
    request.set_name(name);
    return access_->guard()->Check(Id(who), Rule("GetJob"), request);
  }

  std::string folder_;
  std::unique_ptr<TestAccess> access_;
};

TEST_F(AccessGuardTest, WhatIsAllowedIsWrittenDownFirst) {
  ASSERT_TRUE(Create("anna", "projects/acme").ok());
  const auto entries = access_->sink().entries();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].identity, "spiffe://retort.example/anna");
  EXPECT_EQ(entries[0].method, "/retort.jobs.v1.JobsService/CreateJob");
  EXPECT_EQ(entries[0].resource, "projects/acme");
  EXPECT_EQ(entries[0].decision, "allow");
  ASSERT_TRUE(Get("anna", "projects/acme/jobs/x").ok());
  EXPECT_EQ(access_->sink().entries().size(), 1u);  // a read is not
}

TEST_F(AccessGuardTest, WhatCannotBeWrittenDownIsNotDone) {
  access_->sink().set_failing(true);
  const absl::Status status = Create("anna", "projects/acme");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), LEDGER_UNAVAILABLE);
  EXPECT_TRUE(Get("anna", "projects/acme/jobs/x").ok());
  EXPECT_EQ(Create("vera", "projects/acme").code(), absl::StatusCode::kPermissionDenied);  // denied anyhow
}

TEST_F(AccessGuardTest, ARoleCountsInItsProjectOnly) {
  EXPECT_TRUE(Create("root", "projects/anything").ok());
  for (const auto& [who, parent] : std::vector<std::pair<std::string, std::string>>{
           {"anna", "projects/globex"}, {"vera", "projects/acme"}, {"stranger", "projects/acme"}}) {
    const absl::Status status = Create(who, parent);
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << who;
    EXPECT_EQ(ReasonOf(status), PERMISSION_DENIED);
    EXPECT_EQ(MetadataOf(status).at("roles"), "submitter");
  }
  EXPECT_TRUE(Get("vera", "projects/globex/jobs/x").ok());
  EXPECT_EQ(Get("anna", "projects/globex/jobs/x").code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(AccessGuardTest, TricksInNamesOpenNothing) {
  for (const char* name : {"", "jobs/x", "projects/../jobs/x", "projects/acme%2f..%2fglobex/jobs/x",
                           "projects/acme\x01/jobs/x", "PROJECTS/acme/jobs/x"}) {
    EXPECT_EQ(Get("anna", name).code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(Get("stranger", name).code(), absl::StatusCode::kPermissionDenied) << name;
  }
}

TEST_F(AccessGuardTest, NobodyWritesToTheDeploymentsLog) {
  EXPECT_EQ(Create("root", "projects/deployment").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Get("root", "projects/deployment/jobs/x").ok());
}

TEST_F(AccessGuardTest, OnlyIdentitiesOfTheDeploymentAreAdmitted) {
  const auto admit = [&](std::vector<std::string> uris) {
    return access_->guard()->Admit(uris, "_OTHER").status().code();
  };
  EXPECT_EQ(admit({"spiffe://retort.example/anna"}), absl::StatusCode::kOk);
  EXPECT_EQ(admit({"spiffe://retort.example/bob"}), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(admit({"spiffe://other.example/anna"}), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(admit({"https://retort.example/anna"}), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(admit({}), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(admit({"spiffe://retort.example/anna", "spiffe://retort.example/root"}),
            absl::StatusCode::kUnauthenticated);
}

TEST_F(AccessGuardTest, RefusalsAreInTheLogOfAProjectThatExistsAndOtherwiseInTheDeployments) {
  access_->sink().MakeLog("globex");
  EXPECT_FALSE(Create("anna", "projects/globex").ok());
  EXPECT_FALSE(Create("anna", "projects/nowhere").ok());
  ASSERT_TRUE(access_->sink().Await([](const auto& entries) { return entries.size() >= 2; }));
  std::set<std::string> projects;
  for (const auto& entry : access_->sink().entries()) {
    projects.insert(entry.project);
    EXPECT_EQ(entry.decision, "deny");
    EXPECT_EQ(entry.reason, "PERMISSION_DENIED");
    EXPECT_EQ(entry.resource, "");
  }
  EXPECT_EQ(projects, (std::set<std::string>{"projects/globex", "projects/deployment"}));
}

TEST_F(AccessGuardTest, AFloodOfRefusalsIsFewEntriesWithTheirCount) {
  constexpr int kCalls = 20'000;
  // Names that do not exist are one kind, however many there are.
  for (int i = 0; i < kCalls; ++i)
    Create("anna", "projects/nowhere-" + std::to_string(i % 5000)).IgnoreError();
  const auto total = [](const auto& entries) {
    int64_t calls = 0;
    for (const auto& entry : entries) calls += entry.count;
    return calls;
  };
  ASSERT_TRUE(access_->sink().Await([&](const auto& entries) { return total(entries) == kCalls; }));
  EXPECT_LT(access_->sink().entries().size(), 40u);
}

TEST_F(AccessGuardTest, RefusalsAreKeptUntilTheyCanBeWritten) {
  ListSink sink;
  sink.set_failing(true);
  AccessAudit audit(
      {.sink = &sink, .interval = std::chrono::milliseconds(10), .retry = std::chrono::milliseconds(10)});
  const Refusal refusal{
      .identity = "spiffe://d/x", .method = "/s/M", .project = "", .reason = "PERMISSION_DENIED"};
  for (int i = 0; i < 3; ++i) audit.Refuse(refusal);
  sink.set_failing(false);
  ASSERT_TRUE(sink.Await([](const auto& entries) {
    int64_t calls = 0;
    for (const auto& entry : entries) calls += entry.count;
    return calls == 3;
  }));
}

TEST_F(AccessGuardTest, WhatIsCountedIsWrittenAtTheEnd) {
  ListSink sink;
  {
    AccessAudit audit({.sink = &sink, .interval = std::chrono::hours(1)});
    for (int i = 0; i < 5; ++i) {
      audit.Refuse(
          {.identity = "spiffe://d/x", .method = "/s/M", .project = "", .reason = "PERMISSION_DENIED"});
    }
  }
  int64_t calls = 0;
  for (const auto& entry : sink.entries()) calls += entry.count;
  EXPECT_EQ(calls, 5);
}

TEST_F(AccessGuardTest, TheFileIsReadAnewAndABadOneChangesNothing) {
  EXPECT_EQ(Get("vera", "projects/initech/jobs/x").code(), absl::StatusCode::kPermissionDenied);
  access_->Write(std::string(kAccess) +
                 "  - {identity: spiffe://retort.example/vera, roles: [viewer], projects: [initech]}\n");
  ASSERT_TRUE(access_->file().Refresh().ok());
  EXPECT_TRUE(Get("vera", "projects/initech/jobs/x").ok());
  access_->Write("trust_domain: retort.example\ngrants: [{identity: x}]\n");
  const absl::Status status = access_->file().Refresh();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("access.yaml"), std::string_view::npos);
  EXPECT_TRUE(Get("vera", "projects/initech/jobs/x").ok());
  EXPECT_FALSE(access_->file().Refresh().ok());
  EXPECT_EQ(access_->file().reload_failures(), 1);  // one bad content, however often it is looked at
}

TEST_F(AccessGuardTest, AFileThatOthersMayWriteToIsRefused) {
  chmod((folder_ + "/access.yaml").c_str(), 0666);
  EXPECT_EQ(AccessFile::Open({.path = folder_ + "/access.yaml"}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(AccessFile::Open({.path = folder_ + "/none.yaml"}).status().code(), absl::StatusCode::kNotFound);
}

TEST(SeparationTest, AnotherIdentityMustApprove) {
  const std::string anna = "spiffe://retort.example/anna", bob = "spiffe://retort.example/bob";
  EXPECT_TRUE(CheckMayReview(bob, anna, "projects/acme/jobs/one").ok());
  EXPECT_TRUE(CheckMayActivate(bob, anna, "projects/acme/policies/p/revisions/r").ok());
  for (const absl::Status& status :
       {CheckMayReview(anna, anna, "projects/acme/jobs/one"),
        CheckMayReview("", anna, "projects/acme/jobs/one"), CheckMayReview(bob, "", "projects/acme/jobs/one"),
        CheckMayReview("", "", "projects/acme/jobs/one"),
        CheckMayActivate(anna, anna, "projects/acme/policies/p/revisions/r"),
        CheckMayActivate(bob, "", "projects/acme/policies/p/revisions/r")}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
    EXPECT_EQ(ReasonOf(status), SEPARATION_OF_DUTIES);
  }
}

}  // namespace
}  // namespace retort::services
