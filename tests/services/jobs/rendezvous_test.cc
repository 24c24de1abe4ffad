#include "services/jobs/rendezvous.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "services/edge/status.h"

namespace retort::jobs {
namespace {

using ::testing::HasSubstr;

v1::ExchangeRendezvousRequest Of(int rank, int data, int experts, int patience_ms = 20'000) {
  v1::ExchangeRendezvousRequest request;
  request.set_job_uid("uid");
  request.set_run("logits");
  request.set_rank(rank);
  request.set_data_ranks(data);
  request.set_expert_ranks(experts);
  request.set_binary_sha256("b1");
  request.set_manifest_sha256("m1");
  request.set_transport("nccl");
  if (rank == 0) request.set_payload("the id");
  request.mutable_patience()->set_seconds(patience_ms / 1000);
  request.mutable_patience()->set_nanos(patience_ms % 1000 * 1'000'000);
  return request;
}

class RendezvousTest : public testing::Test {
 protected:
  // Calls for each request on a thread of its own, in order, and returns all answers.
  std::vector<absl::StatusOr<std::string>> Meet(const std::vector<v1::ExchangeRendezvousRequest>& requests) {
    std::vector<absl::StatusOr<std::string>> answers(requests.size());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < requests.size(); ++i) {
      threads.emplace_back(
          [&, i] { answers[i] = rendezvous_.Exchange(requests[i], [this] { return gone_.load(); }); });
    }
    for (std::thread& thread : threads) thread.join();
    return answers;
  }

  Rendezvous rendezvous_;
  std::atomic<bool> gone_{false};
};

TEST_F(RendezvousTest, AllGetThePayloadOfRankZero) {
  for (int launch = 0; launch < 2; ++launch) {  // started again, they meet again
    for (const auto& answer : Meet({Of(3, 2, 2), Of(1, 2, 2), Of(0, 2, 2), Of(2, 2, 2)})) {
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_EQ(*answer, "the id");
    }
  }
}

TEST_F(RendezvousTest, RunsDoNotMeetEachOther) {
  auto other = Of(1, 2, 1, 100);
  other.set_run("text_only");
  const auto answers = Meet({Of(0, 2, 1, 100), other});
  EXPECT_EQ(answers[0].status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(answers[1].status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(RendezvousTest, MissingRanksAreNamed) {
  const auto answers = Meet({Of(0, 4, 1, 200), Of(2, 4, 1, 5000)});
  EXPECT_EQ(answers[0].status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(services::ReasonOf(answers[0].status()), RANKS_MISSING);
  EXPECT_THAT(std::string(answers[0].status().message()), HasSubstr("2 of 4 ranks have not come: 1, 3"));
  // The first gave up before.
  EXPECT_THAT(std::string(answers[1].status().message()), HasSubstr("3 of 4 ranks have not come: 0, 1, 3"));
}

TEST_F(RendezvousTest, DifferencesAreRefusedAndBothSidesNamed) {
  const auto expect = [&](v1::ExchangeRendezvousRequest other, const std::string& message) {
    const auto answers = Meet({Of(0, 2, 2), other});
    for (const auto& answer : answers) {
      EXPECT_EQ(answer.status().code(), absl::StatusCode::kFailedPrecondition) << answer.status();
      EXPECT_EQ(services::ReasonOf(answer.status()), RANKS_DIFFER);
      EXPECT_THAT(std::string(answer.status().message()), HasSubstr(message));
    }
  };
  auto other = Of(1, 2, 2);
  other.set_binary_sha256("b2");
  expect(other, "binary_sha256 b");
  expect(other, "b2");
  other = Of(1, 2, 2);
  other.set_manifest_sha256("m2");
  expect(other, "manifest_sha256 m");
  expect(Of(1, 4, 1), "data_ranks x expert_ranks");
  other = Of(1, 2, 2);
  other.set_transport("shared_memory");
  expect(other, "transport");
}

TEST_F(RendezvousTest, SameRankTwiceTheLaterStays) {
  std::atomic<int> aborted{0};
  // Whichever comes second stays; the other is told so and comes as rank 0.
  const auto come = [&] {
    const auto answer = rendezvous_.Exchange(Of(1, 2, 1), [] { return false; });
    if (answer.ok()) return;
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kAborted) << answer.status();
    ++aborted;
    EXPECT_TRUE(rendezvous_.Exchange(Of(0, 2, 1), [] { return false; }).ok());
  };
  std::thread first(come), second(come);
  first.join();
  second.join();
  EXPECT_EQ(aborted, 1);
}

TEST_F(RendezvousTest, WhoHangsUpIsTakenOut) {
  gone_ = true;
  EXPECT_EQ(Meet({Of(0, 2, 1)})[0].status().code(), absl::StatusCode::kCancelled);
  gone_ = false;
  const auto answers = Meet({Of(1, 2, 1, 100)});
  EXPECT_THAT(std::string(answers[0].status().message()), HasSubstr("1 of 2 ranks have not come: 0"));
}

TEST_F(RendezvousTest, StopEndsTheWaiting) {
  std::thread stopper([&] { rendezvous_.Stop(); });
  EXPECT_EQ(Meet({Of(0, 2, 1)})[0].status().code(), absl::StatusCode::kUnavailable);
  stopper.join();
  EXPECT_EQ(Meet({Of(0, 2, 1)})[0].status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(RendezvousTest, TooManyWaitersAreRefused) {
  std::vector<v1::ExchangeRendezvousRequest> requests;
  for (int i = 0; i < Rendezvous::kWaitingMax + 1; ++i) {
    requests.push_back(Of(1, 2, 1, 1500));
    requests.back().set_job_uid("uid" + std::to_string(i));
  }
  int refused = 0;
  for (const auto& answer : Meet(requests)) {
    refused += answer.status().code() == absl::StatusCode::kResourceExhausted ? 1 : 0;
  }
  EXPECT_EQ(refused, 1);
}

}  // namespace
}  // namespace retort::jobs
