#include "services/edge/server.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "retort/policy/v1/policy.grpc.pb.h"
#include "services/edge/dev_identity.h"
#include "services/edge/status.h"
#include "tests/services/identity/test_access.h"

namespace retort::services {
namespace {

// Any service will do; this one answers GetPolicy with the name it was asked for.
class EchoService final : public policy::v1::PolicyService::Service {
  grpc::Status GetPolicy(grpc::ServerContext*, const policy::v1::GetPolicyRequest* request,
                         policy::v1::Policy* response) override {
    response->set_name(request->name());
    return grpc::Status::OK;
  }
};

constexpr char kService[] = "retort.policy.v1.PolicyService";

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/edge_server_test." + std::to_string(getpid());
    ASSERT_EQ(EnsureDevIdentity(folder_), absl::OkStatus());
    access_ = std::make_unique<TestAccess>(folder_, kDevAccess);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  TlsPaths Paths(const std::string& role) const {
    return {folder_ + "/" + role + ".crt", folder_ + "/" + role + ".key", folder_ + "/ca.crt"};
  }
  std::unique_ptr<EdgeServer> Serve(std::string listen = "127.0.0.1:0") {
    auto server = EdgeServer::Start(
        {.listen = std::move(listen), .tls = Paths("server"), .reflection = true, .access = access_->guard()},
        {{&service_, kService}});
    EXPECT_TRUE(server.ok()) << server.status();
    return *std::move(server);
  }
  grpc::Status Call(const EdgeServer& server, const TlsPaths& tls) {
    auto channel = ConnectTo("127.0.0.1:" + std::to_string(server.port()), tls);
    EXPECT_TRUE(channel.ok()) << channel.status();
    grpc::ClientContext context;
    SetDeadline(context, std::chrono::seconds(5));
    policy::v1::GetPolicyRequest request;
    request.set_name("projects/p/policies/x");
    policy::v1::Policy response;
    const grpc::Status status =
        policy::v1::PolicyService::NewStub(*channel)->GetPolicy(&context, request, &response);
    if (status.ok()) {
      EXPECT_EQ(response.name(), request.name());
    }
    return status;
  }

  std::string folder_;
  std::unique_ptr<TestAccess> access_;
  EchoService service_;
};

TEST_F(ServerTest, ServesAClientOfItsAuthority) {
  const auto server = Serve();
  EXPECT_TRUE(Call(*server, Paths("client")).ok());
}

TEST_F(ServerTest, WhoWantsTooMuchIsToldWhenToComeBack) {
  const auto server = EdgeServer::Start({.listen = "127.0.0.1:0",
                                         .tls = Paths("server"),
                                         .access = access_->guard(),
                                         .limits = {.calls_per_second = 1, .burst = 2}},
                                        {{&service_, kService}});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE(Call(**server, Paths("second")).ok());
  EXPECT_TRUE(Call(**server, Paths("second")).ok());
  const absl::Status refused = FromGrpcStatus(Call(**server, Paths("second")));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_EQ(ReasonOf(refused), LIMIT_EXCEEDED);
  const auto back = RetryAfterOf(refused);
  ASSERT_TRUE(back.has_value());
  std::this_thread::sleep_for(*back);
  EXPECT_TRUE(Call(**server, Paths("second")).ok()) << "who keeps to it is let in";
}

TEST_F(ServerTest, TurnsStrangersAway) {
  const auto server = Serve();
  const std::string other = folder_ + "/other";
  ASSERT_EQ(EnsureDevIdentity(other), absl::OkStatus());
  // The stranger trusts our authority but has a certificate of its own.
  const TlsPaths stranger{other + "/client.crt", other + "/client.key", folder_ + "/ca.crt"};
  EXPECT_EQ(Call(*server, stranger).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ServerTest, RefusesATakenPort) {
  const auto server = Serve();
  const std::string listen = "127.0.0.1:" + std::to_string(server->port());
  EchoService another;
  const auto second = EdgeServer::Start(
      {.listen = listen, .tls = Paths("server"), .access = access_->guard()}, {{&another, kService}});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(second.status().message().find(listen), std::string::npos) << second.status();
}

TEST_F(ServerTest, NamesTheFileThatIsMissing) {
  TlsPaths tls = Paths("server");
  tls.certificate = folder_ + "/absent.crt";
  const auto server = EdgeServer::Start({.listen = "127.0.0.1:0", .tls = tls, .access = access_->guard()},
                                        {{&service_, kService}});
  EXPECT_EQ(server.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(server.status().message().find("absent.crt"), std::string::npos);
}

TEST_F(ServerTest, WithoutAGuardNothingIsServed) {
  const auto server =
      EdgeServer::Start({.listen = "127.0.0.1:0", .tls = Paths("server")}, {{&service_, kService}});
  EXPECT_EQ(server.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ServerTest, NewCertificatesAreServedWithoutARestart) {
  const std::string first = folder_ + "/first", second = folder_ + "/second", current = folder_ + "/current";
  ASSERT_EQ(EnsureDevIdentity(first), absl::OkStatus());
  ASSERT_EQ(EnsureDevIdentity(second), absl::OkStatus());
  std::filesystem::create_directory_symlink(first, current);
  const auto in = [](const std::string& folder, const std::string& name) {
    return TlsPaths{folder + "/" + name + ".crt", folder + "/" + name + ".key", folder + "/ca.crt"};
  };
  const auto server = EdgeServer::Start({.listen = "127.0.0.1:0",
                                         .tls = in(current, "server"),
                                         .access = access_->guard(),
                                         .certificate_refresh = std::chrono::seconds(1)},
                                        {{&service_, kService}});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE(Call(**server, in(first, "client")).ok());
  EXPECT_EQ(Call(**server, in(second, "client")).error_code(), grpc::StatusCode::UNAVAILABLE);
  std::filesystem::create_directory_symlink(second, current + ".new");
  std::filesystem::rename(current + ".new", current);  // one step: never a certificate without its key
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!Call(**server, in(second, "client")).ok() && std::chrono::steady_clock::now() < end) {
  }
  EXPECT_TRUE(Call(**server, in(second, "client")).ok());
  EXPECT_EQ(Call(**server, in(first, "client")).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ServerTest, IdentityIsKeptAndPrivate) {
  const auto before = ReadSmallFile(folder_ + "/server.crt");
  ASSERT_EQ(EnsureDevIdentity(folder_), absl::OkStatus());
  EXPECT_EQ(*before, *ReadSmallFile(folder_ + "/server.crt"));
  EXPECT_EQ(std::filesystem::status(folder_ + "/server.key").permissions() & std::filesystem::perms(077),
            std::filesystem::perms::none);
}

TEST_F(ServerTest, SmallFilesAreBounded) {
  EXPECT_EQ(ReadSmallFile(folder_ + "/ca.crt", 16).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReadSmallFile(folder_ + "/none").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace retort::services
