// Mutual TLS of the gateway.
#include <thread>

#include "services/gateway/tls_context.h"
#include "services/identity/peer.h"
#include "tests/services/gateway/connect_client.h"
#include "tests/services/gateway/gateway_fixture.h"
#include "tests/services/identity/test_authority.h"

namespace retort::services::gateway {
namespace {

class GatewayTlsTest : public GatewayFixture {
 protected:
  std::string Address() const { return "127.0.0.1:" + std::to_string(port()); }
  std::string Call(const TlsPaths& tls) const {
    const auto* service = jobs::v1::Job::descriptor()->file()->FindServiceByName("JobsService");
    jobs::v1::GetJobRequest request;
    request.set_name("projects/p/jobs/j");
    return ConnectClient(Address(), tls)
        .Call(*service->FindMethodByName("GetJob"), request.SerializeAsString());
  }
};

TEST_F(GatewayTlsTest, TheCertificateSaysWhoCalls) {
  std::string caller;
  jobs_.get = [&caller](grpc::ServerContext& context, const auto&, auto&) {
    caller = CallerOf(context);
    return grpc::Status::OK;
  };
  options_.tls = Paths("server");
  options_.own_identity = "spiffe://dev.retort.invalid/server";  // counts without TLS only
  Serve();
  EXPECT_EQ(Call(Paths("client")), "OK");
  EXPECT_EQ(caller, kClient);
}

TEST_F(GatewayTlsTest, WithoutACertificateOfTheAuthorityNobodyConnects) {
  options_.tls = Paths("server");
  Serve();
  const std::string other = folder_ + "/other";
  ASSERT_EQ(EnsureDevIdentity(other), absl::OkStatus());
  EXPECT_EQ(Call({"", "", folder_ + "/ca.crt"}), "NO_CONNECTION");
  EXPECT_EQ(Call({other + "/client.crt", other + "/client.key", folder_ + "/ca.crt"}), "NO_CONNECTION");
  HttpPeer plain(port());
  plain.Send(Post(port(), kGetJob, "application/json", kName));
  EXPECT_EQ(plain.Read().status, 0);
  EXPECT_EQ(jobs_.calls, 0);
  EXPECT_EQ(Call(Paths("client")), "OK");
}

TEST_F(GatewayTlsTest, AHandshakeHasItsTime) {
  options_.tls = Paths("server");
  options_.limits.handshake = std::chrono::milliseconds(100);
  Serve();
  HttpPeer silent(port());
  EXPECT_TRUE(silent.IsClosed());
}

TEST_F(GatewayTlsTest, NewCertificatesAreServedWithoutARestart) {
  const std::string first = folder_ + "/first", second = folder_ + "/second", current = folder_ + "/current";
  ASSERT_EQ(EnsureDevIdentity(first), absl::OkStatus());
  ASSERT_EQ(EnsureDevIdentity(second), absl::OkStatus());
  std::filesystem::create_directory_symlink(first, current);
  const auto in = [](const std::string& folder, const std::string& name) {
    return TlsPaths{folder + "/" + name + ".crt", folder + "/" + name + ".key", folder + "/ca.crt"};
  };
  options_.tls = in(current, "server");
  options_.certificate_refresh = std::chrono::seconds(1);
  Serve();
  EXPECT_EQ(Call(in(first, "client")), "OK");
  EXPECT_EQ(Call(in(second, "client")), "NO_CONNECTION");
  std::filesystem::create_directory_symlink(second, current + ".new");
  std::filesystem::rename(current + ".new", current);  // one step: never a certificate without its key
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (Call(in(second, "client")) != "OK" && std::chrono::steady_clock::now() < end)
    std::this_thread::yield();
  EXPECT_EQ(Call(in(second, "client")), "OK");
  EXPECT_EQ(Call(in(first, "client")), "NO_CONNECTION");
}

TEST(TlsFilesTest, ACertificateThatBeginsLaterIsUsedThen) {
  const std::string folder = testing::TempDir() + "/tls_files_test." + std::to_string(getpid());
  std::filesystem::create_directories(folder);
  const TestAuthority authority(folder);
  const TlsPaths paths = authority.Issue("server", {{"spiffe://retort.example/server"}});
  auto files = TlsFiles::Open(paths);
  ASSERT_TRUE(files.ok()) << files.status();
  const auto before = (*files)->context();
  authority.Issue("server", {{"spiffe://retort.example/server"}, std::chrono::seconds(2)});
  EXPECT_EQ((*files)->Refresh().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*files)->Refresh(), absl::OkStatus());  // said once
  EXPECT_EQ((*files)->context(), before);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while ((*files)->context() == before && std::chrono::steady_clock::now() < end) {
    EXPECT_EQ((*files)->Refresh(), absl::OkStatus());
  }
  EXPECT_NE((*files)->context(), before);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace retort::services::gateway
