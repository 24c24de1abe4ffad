// A gRPC server with one service that a test scripts, and a gateway in front of it, plain HTTP for this user.
#ifndef TESTS_SERVICES_GATEWAY_GATEWAY_FIXTURE_H_
#define TESTS_SERVICES_GATEWAY_GATEWAY_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "retort/jobs/v1/jobs.grpc.pb.h"
#include "services/edge/dev_identity.h"
#include "services/edge/server.h"
#include "services/gateway/gateway.h"
#include "tests/services/gateway/http_peer.h"
#include "tests/services/identity/test_access.h"

namespace retort::services::gateway {

// Each method does what the test says.
class ScriptedJobs final : public jobs::v1::JobsService::Service {
 public:
  using Context = grpc::ServerContext;
  std::function<grpc::Status(Context&, const jobs::v1::GetJobRequest&, jobs::v1::Job&)> get =
      [](Context&, const auto& request, auto& job) {
        job.set_name(request.name());
        return grpc::Status::OK;
      };
  std::function<grpc::Status(Context&, const jobs::v1::CreateJobRequest&, jobs::v1::Job&)> create =
      [](Context&, const auto& request, auto& job) {
        job.set_name(request.parent() + "/jobs/" + request.job_id());
        return grpc::Status::OK;
      };
  std::function<grpc::Status(Context&, grpc::ServerWriter<jobs::v1::WatchJobResponse>&)> watch;
  std::atomic<int> calls = 0;

 private:
  grpc::Status GetJob(Context* context, const jobs::v1::GetJobRequest* request, jobs::v1::Job* job) override {
    ++calls;
    return get(*context, *request, *job);
  }
  grpc::Status CreateJob(Context* context, const jobs::v1::CreateJobRequest* request,
                         jobs::v1::Job* job) override {
    ++calls;
    return create(*context, *request, *job);
  }
  grpc::Status WatchJob(Context* context, const jobs::v1::WatchJobRequest*,
                        grpc::ServerWriter<jobs::v1::WatchJobResponse>* writer) override {
    ++calls;
    return watch(*context, *writer);
  }
};

inline constexpr char kJobs[] = "retort.jobs.v1.JobsService";
inline constexpr char kGetJob[] = "/retort.jobs.v1.JobsService/GetJob";
inline constexpr char kCreateJob[] = "/retort.jobs.v1.JobsService/CreateJob";
inline constexpr char kWatchJob[] = "/retort.jobs.v1.JobsService/WatchJob";
inline constexpr char kClient[] = "spiffe://dev.retort.invalid/client";
inline constexpr char kName[] = R"({"name":"projects/p/jobs/j"})";

class GatewayFixture : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = testing::TempDir() + "/gateway_test." + std::to_string(getpid()) + "." + test->name();
    ASSERT_EQ(EnsureDevIdentity(folder_), absl::OkStatus());
    access_ = std::make_unique<TestAccess>(folder_, kDevAccess);
    auto server = EdgeServer::Start(
        {.listen = "127.0.0.1:0", .tls = Paths("server"), .access = access_->guard()}, {{&jobs_, kJobs}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    options_ = {.listen = "127.0.0.1:0",
                .own_identity = kClient,
                .services = {kJobs},
                .access = access_->guard(),
                .channel = server_->InProcessChannel()};
  }
  void TearDown() override {
    gateway_.reset();
    options_.channel.reset();
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  TlsPaths Paths(const std::string& role) const {
    return {folder_ + "/" + role + ".crt", folder_ + "/" + role + ".key", folder_ + "/ca.crt"};
  }
  // With what options_ say now.
  void Serve() {
    auto gateway = Gateway::Start(options_);
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = *std::move(gateway);
  }
  int port() const { return gateway_->port(); }
  HttpResponse Ask(const std::string& request) const {
    HttpPeer peer(port());
    peer.Send(request);
    return peer.Read();
  }

  std::string folder_;
  std::unique_ptr<TestAccess> access_;
  ScriptedJobs jobs_;
  std::unique_ptr<EdgeServer> server_;
  GatewayOptions options_;
  std::unique_ptr<Gateway> gateway_;
};

}  // namespace retort::services::gateway

#endif  // TESTS_SERVICES_GATEWAY_GATEWAY_FIXTURE_H_
