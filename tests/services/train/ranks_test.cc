#include "services/train/ranks.h"

#include <gmock/gmock.h>

#include <array>
#include <fstream>
#include <future>

#include "services/jobs/rendezvous.h"
#include "services/train/follow.h"
#include "tests/services/train/run_fixture.h"

namespace retort::train {
namespace {

using ::testing::HasSubstr;

class RanksTest : public RunFixture {
 protected:
  RankOptions Rank(int rank, int world) {
    RankOptions options;
    options.layout = {1, world};
    options.environment.rank = rank;
    options.environment.world = world;
    options.environment.source = "RETORT_RANK and RETORT_WORLD_SIZE";
    options.job = kJob;
    options.job_uid = "uid of " + folder_;  // whose hash names the shared memory
    options.binary_sha256 = std::string(64, 'a');
    options.device.device = "cpu";
    options.join_patience = std::chrono::seconds(20);
    return options;
  }

  // What every rank of a world answers, each on a thread of its own.
  template <class Act>
  auto OnEach(int world, const Act& act) {
    std::vector<std::future<decltype(act(0))>> acts;
    for (int rank = 0; rank < world; ++rank) {
      acts.push_back(std::async(std::launch::async, [&act, rank] { return act(rank); }));
    }
    std::vector<decltype(act(0))> results;
    for (auto& each : acts) results.push_back(each.get());
    return results;
  }

  // Two ranks through a whole run; `spoil` changes one's options.
  std::vector<absl::Status> Train(
      const std::string& run_dir,
      const std::function<void(int, RunOptions&)>& spoil = [](int, RunOptions&) {}) {
    return OnEach(2, [&](int rank) {
      RunOptions options = Options(run_dir);
      options.log = [](std::string_view) {};
      spoil(rank, options);
      auto world = JoinRanks(Rank(rank, 2), options.manifest, nullptr, options.log);
      if (!world.ok()) return world.status();
      options.world = world->get();
      absl::Status status;
      if (rank == 0) {
        status = RunIt(options, trainer_);
      } else {
        LedgerClient client(
            wire::LedgerService::NewStub(grpc::CreateChannel(Address(), grpc::InsecureChannelCredentials())),
            options.stop, options.log, std::chrono::seconds(20));
        status = Follow(options, *tokenizer_, client);
      }
      if (!status.ok() && !absl::IsCancelled(status)) options.world->Abort(std::string(status.message()));
      return status;
    });
  }
};

TEST_F(RanksTest, TwoRanksMakeOneRun) {
  for (const absl::Status& status : Train("ranks")) EXPECT_TRUE(status.ok()) << status;
  ASSERT_EQ(Of("finished").size(), 1u);
  const std::string digest = Of("finished")[0]["digest"];
  EXPECT_EQ(TrainingEntries().size(), 4u);
  EXPECT_EQ(Of("step").size(), 6u);
  EXPECT_EQ(Of("step")[0]["tokens"], 92);  // of both ranks: two documents of 23 positions in each of two rows

  // Stopped by a signal to rank 1 alone, both leave after the same step, and go on to the same end.
  std::array<std::atomic<int>, 2> asked = {};
  const auto stopped = Train("stopped", [&](int rank, RunOptions& options) {
    if (rank == 1) options.stop = [&asked] { return ++asked[1] > 12; };
  });
  for (const absl::Status& status : stopped) EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  EXPECT_TRUE(Of("finished").empty());
  for (const absl::Status& status : Train("stopped")) EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(Of("finished")[0]["digest"], digest);
}

TEST_F(RanksTest, ErrorOfOneRankEndsBothWithItsReason) {
  const auto ended = Train("spoiled", [](int rank, RunOptions& options) {
    if (rank == 1) options.dataset_entry += 1000;  // no such entry
  });
  EXPECT_EQ(ended[0].code(), absl::StatusCode::kUnavailable) << ended[0];
  EXPECT_THAT(std::string(ended[0].message()), HasSubstr("rank 1"));
  EXPECT_FALSE(ended[1].ok());
}

TEST_F(RanksTest, OtherManifestsAndProgramsAreRefused) {
  const auto manifests = OnEach(2, [&](int rank) {
    student::TrainingManifest manifest = Options("x").manifest;
    manifest.seed = static_cast<uint64_t>(rank);
    return JoinRanks(Rank(rank, 2), manifest, nullptr, [](std::string_view) {}).status();
  });
  const auto programs = OnEach(2, [&](int rank) {
    RankOptions options = Rank(rank, 2);
    if (rank == 1) options.binary_sha256 = std::string(64, 'b');
    return JoinRanks(options, Options("x").manifest, nullptr, [](std::string_view) {}).status();
  });
  for (const absl::Status& status : {manifests[0], manifests[1], programs[0], programs[1]}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("wanted the same on all ranks"));
  }
  EXPECT_THAT(std::string(programs[0].message()), HasSubstr("binary " + std::string(64, 'b')));
}

TEST_F(RanksTest, MissingRankIsNamed) {
  RankOptions options = Rank(0, 2);
  options.join_patience = std::chrono::milliseconds(200);
  const auto status = JoinRanks(options, Options("x").manifest, nullptr, [](std::string_view) {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("of 2 ranks 1 did not come within 0.2 s: 1"));
}

TEST_F(RanksTest, WhatTheLauncherStartedMustBeWhatIsAskedFor) {
  const auto alone = JoinRanks(Rank(0, 1), Options("x").manifest, nullptr, [](std::string_view) {});
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(*alone, nullptr);
  RankOptions options = Rank(1, 4);
  options.layout = {2, 1};
  auto status = JoinRanks(options, Options("x").manifest, nullptr, [](std::string_view) {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(
      std::string(status.message()),
      HasSubstr("the launcher started 4 processes (RETORT_RANK and RETORT_WORLD_SIZE); --data-ranks 2 and "
                "--expert-ranks 1 want 2"));
  options = Rank(1, 2);
  options.device.device = "cuda:0";
  status = JoinRanks(options, Options("x").manifest, nullptr, [](std::string_view) {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("wanted --jobs host:port"));
}

// The id of rank 0 travels through the jobs service's meeting, and the ranks are on devices then.
TEST_F(RanksTest, RanksOnDevicesMeetThroughTheService) {
  class MeetingPoint final : public jobs::v1::JobsService::Service {
    grpc::Status ExchangeRendezvous(grpc::ServerContext* context,
                                    const jobs::v1::ExchangeRendezvousRequest* request,
                                    jobs::v1::ExchangeRendezvousResponse* response) override {
      const auto payload = rendezvous_.Exchange(*request, [context] { return context->IsCancelled(); });
      if (!payload.ok()) return services::ToGrpcStatus(payload.status());
      response->set_payload(*payload);
      return grpc::Status::OK;
    }
    jobs::Rendezvous rendezvous_;
  } point;
  grpc::ServerBuilder builder;
  builder.RegisterService(&point);
  const auto server = builder.BuildAndStart();
  const student::DeviceChoice device = student::ChooseDevice("cuda", CUDA_ON_CPU_LIBRARY);
  ASSERT_TRUE(device.ok) << device.reason;
  const auto meet = [&](const std::string& other_binary) {
    return OnEach(2, [&](int rank) -> absl::StatusOr<double> {
      const auto stub = jobs::v1::JobsService::NewStub(server->InProcessChannel({}));
      RankOptions options = Rank(rank, 2);
      options.device = device;
      if (rank == 1 && !other_binary.empty()) options.binary_sha256 = other_binary;
      const auto world = JoinRanks(options, Options("x").manifest, stub.get(), [](std::string_view) {});
      if (!world.ok()) return world.status();
      double sum = rank + 1;
      if (!(*world)->all().SumHost(std::span<double>(&sum, 1)))
        return absl::UnavailableError((*world)->failure());
      return sum;
    });
  };
  for (const auto& sum : meet("")) {
    ASSERT_TRUE(sum.ok()) << sum.status();
    EXPECT_EQ(*sum, 3.0);
  }
  for (const auto& sum : meet(std::string(64, 'b'))) {
    EXPECT_EQ(sum.status().code(), absl::StatusCode::kFailedPrecondition) << sum.status();
    const std::string message(sum.status().message());  // whoever came first is named second
    EXPECT_THAT(message, HasSubstr("rank 0 has "));
    EXPECT_THAT(message, HasSubstr("rank 1 has "));
    EXPECT_THAT(message, HasSubstr(std::string(64, 'b')));
  }
}

TEST_F(RanksTest, TheDigestCoversTheProgramAndTheLibraryOfTheDevice) {
  student::DeviceChoice device = {.ok = true, .device = "cpu"};
  const auto of_program = DigestOfPrograms(device);
  ASSERT_TRUE(of_program.ok()) << of_program.status();
  EXPECT_EQ(of_program->size(), 64u);
  EXPECT_EQ(*of_program, *DigestOfPrograms(device));
  device = {.ok = true, .device = "cuda:0", .library = folder_ + "/library.so"};
  EXPECT_EQ(DigestOfPrograms(device).status().code(), absl::StatusCode::kInternal);
  std::ofstream(device.library) << "one build";
  const auto one = DigestOfPrograms(device);
  ASSERT_TRUE(one.ok()) << one.status();
  std::ofstream(device.library) << "another build";
  EXPECT_NE(*one, *of_program);
  EXPECT_NE(*one, *DigestOfPrograms(device));
}

}  // namespace
}  // namespace retort::train
