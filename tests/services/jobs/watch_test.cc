// WatchJob: the snapshot, the changes, heartbeats, and what a resume token promises.
#include <set>

#include "tests/services/jobs/service_fixture.h"

namespace retort::jobs {
namespace {

class WatchJobTest : public JobsServiceFixture {
 protected:
  WatchJobTest() { Start(); }

  struct Watched {
    std::vector<v1::WatchJobResponse> messages;
    grpc::Status status;
  };

  // Reads to the end, or `count` messages.
  Watched Watch(const std::string& token, size_t count = SIZE_MAX) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    v1::WatchJobRequest request;
    request.set_name("projects/p/jobs/example");
    request.set_resume_token(token);
    auto reader = client_->WatchJob(&context, request);
    Watched watched;
    v1::WatchJobResponse message;
    while (watched.messages.size() < count && reader->Read(&message)) watched.messages.push_back(message);
    if (watched.messages.size() == count) context.TryCancel();
    watched.status = reader->Finish();
    return watched;
  }
};

TEST_F(WatchJobTest, BeginsWithASnapshotAndEndsWithTheJob) {
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const Watched watched = Watch("");
  ASSERT_TRUE(watched.status.ok()) << watched.status.error_message();
  EXPECT_TRUE(watched.messages.front().has_job());
  EXPECT_EQ(watched.messages.front().job().spec().prompts_size(), 0);
  EXPECT_EQ(watched.messages.back().job().state(), v1::Job::STATE_SUCCEEDED);
  std::set<std::string> events;
  for (const auto& message : watched.messages) events.insert(message.event());
  EXPECT_EQ(events.count("every run has finished"), 1u);
}

TEST_F(WatchJobTest, TokenOfTheEndGivesNothingMore) {
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  Await();
  const Watched last = Watch("");
  ASSERT_EQ(last.messages.size(), 1u);
  const Watched after = Watch(last.messages[0].resume_token());
  EXPECT_TRUE(after.status.ok());
  EXPECT_TRUE(after.messages.empty());
}

TEST_F(WatchJobTest, ResumingInPiecesAcrossARestart) {
  std::atomic<bool> hold{true};
  peers_.SetHook([&](const std::string& method, Moment, grpc::ServerContext&) {
    return hold && method == "GetTeacher" ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "not yet")
                                          : grpc::Status::OK;
  });
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const std::string start = Watch("", 1).messages.at(0).resume_token();
  hold = false;
  Await();
  const Watched whole = Watch(start);
  ASSERT_TRUE(whole.status.ok());
  ASSERT_GT(whole.messages.size(), 8u);
  std::vector<std::string> pieces;
  std::string token = start;
  while (pieces.size() < whole.messages.size()) {
    const Watched piece = Watch(token, 3);
    ASSERT_FALSE(piece.messages.empty());
    for (const auto& message : piece.messages) pieces.push_back(message.SerializeAsString());
    token = piece.messages.back().resume_token();
    Kill();
    Start();
  }
  ASSERT_EQ(pieces.size(), whole.messages.size());
  for (size_t i = 0; i < pieces.size(); ++i) EXPECT_EQ(pieces[i], whole.messages[i].SerializeAsString()) << i;
}

TEST_F(WatchJobTest, BeatsWhileNothingHappens) {
  peers_.SetHook([](const std::string& method, Moment, grpc::ServerContext& context) {
    while (method == "GetTeacher" && !context.IsCancelled())
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return grpc::Status::OK;
  });
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const Watched watched = Watch("", 3);
  ASSERT_EQ(watched.messages.size(), 3u);
  EXPECT_FALSE(watched.messages[2].has_job());
  EXPECT_EQ(watched.messages[2].resume_token(), watched.messages[1].resume_token());
}

TEST_F(WatchJobTest, ForeignTokenIsRefused) {
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const Watched watched = Watch("bm90IGEgdG9rZW4");
  EXPECT_EQ(watched.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(services::ReasonOf(services::FromGrpcStatus(watched.status)), PAGE_TOKEN_INVALID);
}

TEST_F(WatchJobTest, UnknownJobIsNotFound) {
  EXPECT_EQ(Watch("").status.error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(WatchJobTest, TooManyWatchersAreTurnedAway) {
  peers_.SetHook([](const std::string& method, Moment, grpc::ServerContext& context) {
    while (method == "GetTeacher" && !context.IsCancelled())
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return grpc::Status::OK;
  });
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  v1::WatchJobRequest request;
  request.set_name("projects/p/jobs/example");
  grpc::ClientContext contexts[2];
  std::unique_ptr<grpc::ClientReader<v1::WatchJobResponse>> readers[2];
  v1::WatchJobResponse message;
  for (int i = 0; i < 2; ++i) {
    readers[i] = client_->WatchJob(&contexts[i], request);
    ASSERT_TRUE(readers[i]->Read(&message));
  }
  EXPECT_EQ(Watch("").status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  for (int i = 0; i < 2; ++i) {
    contexts[i].TryCancel();
    readers[i]->Finish();
  }
}

}  // namespace
}  // namespace retort::jobs
