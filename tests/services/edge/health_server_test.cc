#include "services/edge/health_server.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "grpc/health/v1/health.grpc.pb.h"
#include "retort/policy/v1/policy.grpc.pb.h"

namespace retort::services {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr char kJobs[] = "retort.jobs.v1.JobsService";

class HealthServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = HealthServer::Start("127.0.0.1:0", {kJobs});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = Health::NewStub(Channel());
  }
  std::shared_ptr<grpc::Channel> Channel() const {
    return grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()),
                               grpc::InsecureChannelCredentials());
  }
  static void Limit(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  }
  grpc::Status Check(const std::string& service, HealthCheckResponse::ServingStatus* status) {
    grpc::ClientContext context;
    Limit(context);
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const grpc::Status result = stub_->Check(&context, request, &response);
    *status = response.status();
    return result;
  }
  void ExpectStatus(const std::string& service, HealthCheckResponse::ServingStatus wanted) {
    HealthCheckResponse::ServingStatus status;
    const grpc::Status result = Check(service, &status);
    EXPECT_TRUE(result.ok()) << service << ": " << result.error_message();
    EXPECT_EQ(status, wanted) << service;
  }

  std::unique_ptr<HealthServer> server_;
  std::unique_ptr<Health::Stub> stub_;
};

TEST_F(HealthServerTest, NothingIsReadyAtFirstAndTheProcessIsAlive) {
  ExpectStatus("", HealthCheckResponse::NOT_SERVING);
  ExpectStatus(kJobs, HealthCheckResponse::NOT_SERVING);
  ExpectStatus(std::string(kLiveness), HealthCheckResponse::SERVING);
}

TEST_F(HealthServerTest, EachNameHasItsOwnStatus) {
  server_->Set("", true);
  ExpectStatus("", HealthCheckResponse::SERVING);
  ExpectStatus(kJobs, HealthCheckResponse::NOT_SERVING);
  server_->Set(kJobs, true);
  ExpectStatus(kJobs, HealthCheckResponse::SERVING);
  server_->Set(kJobs, false);
  ExpectStatus(kJobs, HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthServerTest, LivenessCannotBeTakenBack) {
  server_->Set(std::string(kLiveness), false);
  ExpectStatus(std::string(kLiveness), HealthCheckResponse::SERVING);
}

TEST_F(HealthServerTest, AnUnknownServiceIsNotFound) {
  HealthCheckResponse::ServingStatus status;
  EXPECT_EQ(Check("retort.jobs.v1.Another", &status).error_code(), grpc::StatusCode::NOT_FOUND);
  server_->Set("retort.jobs.v1.Another", true);  // ignored
  EXPECT_EQ(Check("retort.jobs.v1.Another", &status).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(HealthServerTest, NothingElseIsServed) {
  grpc::ClientContext context;
  Limit(context);
  policy::v1::Policy response;
  const grpc::Status status =
      policy::v1::PolicyService::NewStub(Channel())->GetPolicy(&context, {}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(HealthServerTest, AWatchSeesEveryLastingChange) {
  grpc::ClientContext context;
  Limit(context);
  HealthCheckRequest request;
  request.set_service(kJobs);
  auto reader = stub_->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  server_->Set("", true);  // another name: not told
  server_->Set(kJobs, true);
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  server_->Set(kJobs, false);
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  server_.reset();
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthServerTest, AWatchOfAnUnknownServiceStaysOpen) {
  grpc::ClientContext context;
  Limit(context);
  HealthCheckRequest request;
  request.set_service("another");
  auto reader = stub_->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  context.TryCancel();
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(HealthServerTest, WatchesAreBounded) {
  struct Open {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader;
  };
  HealthCheckRequest request;
  HealthCheckResponse response;
  std::vector<std::unique_ptr<Open>> open;
  for (size_t i = 0; i < HealthServer::kWatchesMax; ++i) {
    auto one = std::make_unique<Open>();
    Limit(one->context);
    one->reader = stub_->Watch(&one->context, request);
    ASSERT_TRUE(one->reader->Read(&response)) << i;
    open.push_back(std::move(one));
  }
  grpc::ClientContext context;
  Limit(context);
  auto refused = stub_->Watch(&context, request);
  EXPECT_FALSE(refused->Read(&response));
  EXPECT_EQ(refused->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  server_.reset();
  for (auto& one : open) EXPECT_EQ(one->reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthServerTest, ATakenPortIsNamed) {
  const std::string listen = "127.0.0.1:" + std::to_string(server_->port());
  const auto second = HealthServer::Start(listen, {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(second.status().message().find(listen), std::string::npos) << second.status();
}

}  // namespace
}  // namespace retort::services
