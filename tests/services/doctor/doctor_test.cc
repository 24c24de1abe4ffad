#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "services/doctor/examine_server.h"
#include "services/doctor/examine_tls.h"
#include "services/edge/server.h"
#include "services/retortd/dev_config.h"
#include "tests/services/identity/test_access.h"
#include "tests/services/identity/test_authority.h"

namespace retort::services {
namespace {

// The installation that `retortd --dev` makes, with a model file that is there.
class DoctorTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/doctor_test." + std::to_string(getpid());
    std::filesystem::create_directories(folder_);
    auto config = MakeDevConfig({.data_dir = folder_ + "/data",
                                 .listen = "127.0.0.1:" + std::to_string(*FreeLoopbackPort()),
                                 .packs_dir = std::string(RETORT_SOURCE_DIR) + "/policy/packs"});
    ASSERT_TRUE(config.ok()) << config.status();
    config_ = *std::move(config);
    config_.clear_teachers();
    auto* teacher = config_.add_teachers();
    teacher->set_id("local");
    teacher->mutable_local()->set_gguf(folder_ + "/model.gguf");
    std::ofstream(teacher->local().gguf()) << "GGUF";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::vector<Finding> Examine() {
    return ExamineServer(config_, {.roles = {"jobs", "teacher", "policy", "ledger"},
                                   .patience = std::chrono::milliseconds(500)});
  }
  // The finding about `what`; all others are good.
  Finding Only(const std::string& what) {
    Finding found;
    for (const Finding& one : Examine()) {
      if (one.what == what) {
        found = one;
      } else {
        EXPECT_EQ(one.state, Finding::State::kGood) << one.what << ": " << one.seen;
      }
    }
    EXPECT_EQ(found.what, what);
    EXPECT_EQ(found.advice.empty(), found.state == Finding::State::kGood);
    return found;
  }

  std::string folder_;
  server::v1::ServerConfig config_;
};

TEST_F(DoctorTest, AWholeInstallationIsGood) {
  const auto found = Only("listen");
  EXPECT_EQ(found.state, Finding::State::kGood) << found.seen;
  EXPECT_NE(found.seen.find("does not run"), std::string::npos);
}

TEST_F(DoctorTest, OpenAndMissingKeysAreBad) {
  ASSERT_EQ(chmod(config_.keys().log().c_str(), 0644), 0);
  EXPECT_EQ(Only("keys.log").state, Finding::State::kBad);
  ASSERT_EQ(chmod(config_.keys().log().c_str(), 0600), 0);
  std::filesystem::remove(config_.keys().vault());
  EXPECT_EQ(Only("keys.vault").state, Finding::State::kBad);
}

TEST_F(DoctorTest, FilesThatAreNotAsTheyShouldBeAreBad) {
  const std::string access = config_.access_file();
  std::filesystem::rename(access, access + ".away");
  EXPECT_EQ(Only("access_file").state, Finding::State::kBad);
  std::filesystem::rename(access + ".away", access);
  std::filesystem::remove(config_.teachers(0).local().gguf());
  EXPECT_EQ(Only("teacher local").state, Finding::State::kBad);
  std::ofstream(config_.teachers(0).local().gguf()) << "GGUF";
  const std::string packs = config_.packs_dir();
  config_.set_packs_dir(folder_ + "/nowhere");
  EXPECT_EQ(Only("packs_dir").state, Finding::State::kBad);
  config_.set_packs_dir(packs);
  config_.set_data_dir(folder_ + "/nowhere");
  EXPECT_EQ(Only("data_dir").state, Finding::State::kBad);
}

TEST_F(DoctorTest, ACertificateThatEndsSoonIsAWarning) {
  const std::string tls = folder_ + "/tls";
  std::filesystem::create_directories(tls);
  const TestAuthority authority(tls);
  const TlsPaths soon =
      authority.Issue("soon", {.uris = {"spiffe://retort.example/a"}, .ends = std::chrono::hours(5)});
  config_.mutable_tls()->set_certificate(soon.certificate);
  config_.mutable_tls()->set_private_key(soon.private_key);
  config_.mutable_tls()->set_authorities(soon.authorities);
  const Finding found = Only("certificate");
  EXPECT_EQ(found.state, Finding::State::kWarning);
  EXPECT_NE(found.advice.find("renew"), std::string::npos);
  for (const Finding& one : ExamineTlsFiles(soon, std::chrono::system_clock::now() + std::chrono::hours(6))) {
    if (one.what == "tls files") {
      EXPECT_EQ(one.state, Finding::State::kBad) << "it has ended by then";
    }
  }
}

TEST_F(DoctorTest, APortOfAnotherProgramIsBad) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port =
      htons(static_cast<uint16_t>(std::stoi(config_.listen().substr(config_.listen().rfind(':') + 1))));
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(fd, 8), 0);
  EXPECT_EQ(Only("listen").state, Finding::State::kBad);
  close(fd);
}

TEST_F(DoctorTest, PeersAreAskedAndTheirAnswerIsUnderstood) {
  TestAccess access(folder_, kDevAccess);
  const TlsPaths tls{config_.tls().certificate(), config_.tls().private_key(), config_.tls().authorities()};
  const auto server = EdgeServer::Start({.listen = "127.0.0.1:0", .tls = tls, .access = access.guard()}, {});
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string address = "127.0.0.1:" + std::to_string((*server)->port());
  const auto patience = std::chrono::seconds(5);
  EXPECT_EQ(ExaminePeer("peer", address, tls, patience).state, Finding::State::kGood);
  (*server)->SetServing(false);
  Finding found = ExaminePeer("peer", address, tls, patience);
  EXPECT_EQ(found.state, Finding::State::kBad);
  EXPECT_NE(found.seen.find("not ready"), std::string::npos) << found.seen;
  access.Write(
      "trust_domain: dev.retort.invalid\ngrants:\n"
      "  - {identity: spiffe://dev.retort.invalid/second, roles: [viewer], projects: [\"*\"]}\n");
  ASSERT_EQ(access.file().Refresh(), absl::OkStatus());
  found = ExaminePeer("peer", address, tls, patience);
  EXPECT_EQ(found.state, Finding::State::kBad);
  EXPECT_NE(found.advice.find("access file"), std::string::npos) << found.seen;
}

}  // namespace
}  // namespace retort::services
