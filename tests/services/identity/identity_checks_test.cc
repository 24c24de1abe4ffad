// What a process looks at before it starts: certificates, permissions, the clock, and its own memory.
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "ledger/private_file.h"
#include "services/identity/certificate.h"
#include "services/identity/clock_check.h"
#include "services/identity/private_process.h"
#include "tests/services/identity/test_authority.h"

namespace retort::services {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using std::chrono::system_clock;

class CertificateTest : public testing::Test {
 protected:
  CertificateTest() : folder_(testing::TempDir() + "/certificate_test." + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
    authority_ = std::make_unique<TestAuthority>(folder_);
  }
  ~CertificateTest() override { std::filesystem::remove_all(folder_); }

  // What CheckTlsFiles says about a certificate of this validity.
  absl::Status Check(seconds begins, seconds ends) {
    return CheckTlsFiles(authority_->Issue("leaf", {{"spiffe://retort.example/x"}, begins, ends}),
                         system_clock::now());
  }

  const std::string folder_;
  std::unique_ptr<TestAuthority> authority_;
};

TEST_F(CertificateTest, SaysWhoAndUntilWhen) {
  const auto paths = authority_->Issue("leaf", {{"spiffe://retort.example/x", "https://retort.example"}});
  const auto facts = ReadCertificate(paths.certificate);
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->uris, (std::vector<std::string>{"spiffe://retort.example/x", "https://retort.example"}));
  EXPECT_LT(facts->not_before, system_clock::now());
  EXPECT_NEAR(std::chrono::duration<double>(facts->not_after - system_clock::now()).count(), 3600, 60);
}

TEST_F(CertificateTest, OnlyAValidOneIsStartedWith) {
  EXPECT_TRUE(Check(seconds(-60), seconds(3600)).ok());
  const absl::Status ended = Check(seconds(-7200), seconds(-60));
  EXPECT_EQ(ended.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(ended.message().find("ended at"), std::string_view::npos) << ended;
  const absl::Status early = Check(seconds(3600), seconds(7200));
  EXPECT_EQ(early.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(early.message().find("begins at"), std::string_view::npos) << early;
}

TEST_F(CertificateTest, OnlyAPrivateKeyOfItIsStartedWith) {
  const auto leaf = authority_->Issue("leaf", {{"spiffe://retort.example/x"}});
  const auto other = authority_->Issue("other", {{"spiffe://retort.example/x"}});
  const auto now = system_clock::now();
  EXPECT_EQ(CheckTlsFiles({leaf.certificate, other.private_key, leaf.authorities}, now).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(CheckTlsFiles({leaf.certificate, leaf.private_key, folder_ + "/none"}, now).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(CheckTlsFiles({leaf.certificate, folder_ + "/none", leaf.authorities}, now).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(CheckTlsFiles({leaf.private_key, leaf.private_key, leaf.authorities}, now).code(),
            absl::StatusCode::kInvalidArgument);
  chmod(leaf.private_key.c_str(), 0640);
  const absl::Status open = CheckTlsFiles(leaf, now);
  EXPECT_EQ(open.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(open.message().find("wanted mode 0600"), std::string_view::npos) << open;
  chmod(leaf.private_key.c_str(), 0600);
  std::ofstream(leaf.private_key, std::ios::trunc) << "nothing";
  EXPECT_EQ(CheckTlsFiles(leaf, now).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CertificateTest, WarnsADayBeforeTheEnd) {
  const CertificateFacts facts{system_clock::now() - hours(1), system_clock::now() + hours(48), {}};
  EXPECT_EQ(ExpiryWarning("c.crt", facts, system_clock::now()), "");
  EXPECT_NE(ExpiryWarning("c.crt", facts, facts.not_after - hours(23)).find("within a day"),
            std::string::npos);
  EXPECT_NE(ExpiryWarning("c.crt", facts, facts.not_after).find("ended at"), std::string::npos);
}

TEST(PrivateFileTest, IsClosedToEverybodyElse) {
  const std::string path = testing::TempDir() + "/private_file_test." + std::to_string(getpid());
  std::ofstream(path) << "secret";
  for (const mode_t mode : {0600, 0400, 0700}) {
    chmod(path.c_str(), mode);
    EXPECT_TRUE(ledger::CheckPrivateFile(path).ok()) << std::oct << mode;
  }
  for (const mode_t mode : {0640, 0604, 0660, 0601, 0644}) {
    chmod(path.c_str(), mode);
    EXPECT_EQ(ledger::CheckPrivateFile(path).code(), absl::StatusCode::kFailedPrecondition)
        << std::oct << mode;
  }
  std::filesystem::remove(path);
  EXPECT_EQ(ledger::CheckPrivateFile(path).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ledger::CheckPrivateFile(testing::TempDir()).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ClockCheckTest, RefusesAClockFarBehind) {
  const auto passed = system_clock::from_time_t(1767323045);
  EXPECT_TRUE(CheckClock(passed, passed, "x").ok());
  EXPECT_TRUE(CheckClock(passed + hours(24 * 365), passed, "x").ok());
  EXPECT_TRUE(CheckClock(passed - kClockSlack, passed, "x").ok());
  const absl::Status behind = CheckClock(passed - kClockSlack - seconds(1), passed, "the newest entry");
  EXPECT_EQ(behind.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(behind.message(),
            "this machine's clock says 2026-01-02T02:54:04Z, which is before the newest entry "
            "(2026-01-02T03:04:05Z) by more than 10 minutes: set the clock");
  EXPECT_TRUE(CheckClock(system_clock::now(), BuildDay(), "the build").ok());
  EXPECT_GT(BuildDay(), system_clock::from_time_t(1700000000));
}

TEST(PrivateProcessTest, LeavesNoCoreAndLetsNobodyAttach) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {  // of its own, so that a failing test still leaves a core
    rlimit limit{1, 1};
    const bool ok = KeepMemoryPrivate().ok() && getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0 &&
                    limit.rlim_max == 0 && prctl(PR_GET_DUMPABLE) == 0;
    _exit(ok ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace retort::services
