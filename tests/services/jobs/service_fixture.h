// A jobs service over a folder and fake peers, reached by its own client, restarted at will.
#ifndef TESTS_SERVICES_JOBS_SERVICE_FIXTURE_H_
#define TESTS_SERVICES_JOBS_SERVICE_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ledger/signing.h"
#include "retort/student/v1/student.grpc.pb.h"
#include "services/edge/status.h"
#include "services/jobs/jobs_service.h"
#include "tests/services/jobs/example_job.h"
#include "tests/services/jobs/fake_peers.h"

namespace retort::jobs {

inline bool HasEnded(const v1::Job& job) {
  return job.state() == v1::Job::STATE_SUCCEEDED || job.state() == v1::Job::STATE_FAILED ||
         job.state() == v1::Job::STATE_CANCELLED || job.state() == v1::Job::STATE_AWAITING_REVIEW;
}

class JobsServiceFixture : public testing::Test {
 protected:
  JobsServiceFixture() : key_(*ledger::SigningKey::FromSeed("jobs", std::string(32, 'j'))) {
    trainer_ = folder_.Script("trainer", kFakeTrainer);
  }
  ~JobsServiceFixture() override { Kill(); }

  void Start() {
    JobsServiceOptions options;
    options.data_dir = folder_.path() / "data";
    options.peers = peers_.Stubs();
    options.signing_key = &key_;
    options.trainer.program = trainer_;
    options.trainer.key_file = "trainer.key";
    options.trainer.ledger_address = "127.0.0.1:1";
    options.trainer.tokenizer_sha256 = std::string(64, 'a');
    options.trainer.vocabulary_size = 49152;
    options.patience.pauses = {std::chrono::milliseconds(1), std::chrono::milliseconds(5)};
    options.patience.failed_launches_max = 3;
    options.patience.failed_samples_max = failed_samples_max_;
    options.patience.outage = outage_;
    options.heartbeat = std::chrono::milliseconds(50);
    options.watchers_max = 2;
    options.caller = [this](const grpc::ServerContext&) { return caller_; };
    Configure(options);
    auto service = JobsService::Open(std::move(options));
    ASSERT_TRUE(service.ok()) << service.status();
    service_ = *std::move(service);
    ASSERT_TRUE(service_->Start().ok());
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    builder.RegisterService(service_->students());
    server_ = builder.BuildAndStart();
    client_ = v1::JobsService::NewStub(server_->InProcessChannel({}));
  }

  // Changes what Start opens the service with.
  virtual void Configure(JobsServiceOptions&) {}

  // What kill -9 leaves: nothing in flight is finished, nothing more is written.
  void Kill() {
    if (!service_) return;
    service_->Stop(std::chrono::milliseconds(0));
    server_->Shutdown(std::chrono::system_clock::now());
    client_.reset();
    server_.reset();
    service_.reset();
  }

  absl::StatusOr<v1::Job> Create(const v1::CreateJobRequest& request) {
    return Call(&v1::JobsService::StubInterface::CreateJob, request);
  }

  absl::StatusOr<v1::Job> Get(const std::string& name = "projects/p/jobs/example") {
    v1::GetJobRequest request;
    request.set_name(name);
    return Call(&v1::JobsService::StubInterface::GetJob, request);
  }

  template <class Request, class Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::JobsService::StubInterface::*method)(grpc::ClientContext*,
                                                                                       const Request&,
                                                                                       Response*),
                                const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    Response response;
    const grpc::Status status =
        (static_cast<v1::JobsService::StubInterface&>(*client_).*method)(&context, request, &response);
    if (!status.ok()) return services::FromGrpcStatus(status);
    return response;
  }

  // Watches until the predicate holds or the stream ends; the newest job.
  v1::Job Await(const std::function<bool(const v1::Job&)>& done = HasEnded,
                const std::string& name = "projects/p/jobs/example") {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    v1::WatchJobRequest request;
    request.set_name(name);
    auto reader = client_->WatchJob(&context, request);
    v1::WatchJobResponse message;
    v1::Job job;
    while (reader->Read(&message)) {
      if (message.has_job()) job = message.job();
      if (done(job)) break;
    }
    context.TryCancel();
    reader->Finish();
    return job;
  }

  TestFolder folder_;
  FakePeers peers_;
  ledger::SigningKey key_;
  std::string trainer_;
  int failed_samples_max_ = 8;
  std::chrono::milliseconds outage_{0};
  std::string caller_ = "spiffe://example/ann";  // changed only while no call is under way
  std::unique_ptr<JobsService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::JobsService::Stub> client_;
};

}  // namespace retort::jobs

#endif  // TESTS_SERVICES_JOBS_SERVICE_FIXTURE_H_
