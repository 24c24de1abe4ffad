// Jobs that are trained by several processes, and where these meet.
#include <fstream>
#include <thread>

#include "tests/services/jobs/service_fixture.h"

namespace retort::jobs {
namespace {

// Waits in the middle of training until the file `go` is there; says in `ranks` which rank it is and with
// which flags.
constexpr char kWaitingTrainer[] = R"sh(
here=$(dirname "$0")
echo "$RETORT_RANK of $RETORT_WORLD_SIZE: $*" >> "$here/ranks"
echo '{"event":"started","parameters":1000,"active_parameters":400,"resumed_step":0}'
while [ ! -e "$here/go" ]; do sleep 0.02; done
)sh";

class RanksTest : public JobsServiceFixture {
 protected:
  RanksTest() {
    trainer_ = folder_.Script("trainer", std::string(kWaitingTrainer) + kFakeTrainer);
    Start();
  }

  static v1::CreateJobRequest TwoRanks() {
    v1::CreateJobRequest request = ExampleRequest();
    request.mutable_spec()->mutable_training()->set_batch_tokens(2 *
                                                                 request.spec().training().sequence_length());
    request.mutable_spec()->mutable_training()->set_data_ranks(2);
    return request;
  }

  static v1::ExchangeRendezvousRequest Rendezvous(const v1::Job& job, int rank) {
    v1::ExchangeRendezvousRequest request;
    request.set_job(job.name());
    request.set_job_uid(job.uid());
    request.set_run("logits");
    request.set_rank(rank);
    request.set_data_ranks(2);
    request.set_expert_ranks(1);
    request.set_binary_sha256(std::string(64, 'a'));
    request.set_manifest_sha256(std::string(64, 'b'));
    request.set_transport("shared_memory");
    if (rank == 0) request.set_payload("/name");
    request.mutable_patience()->set_seconds(20);
    return request;
  }

  auto Meet(const v1::ExchangeRendezvousRequest& request) {
    return Call(&v1::JobsService::StubInterface::ExchangeRendezvous, request);
  }
  void Go() { std::ofstream(folder_.path() / "go") << "go"; }
};

TEST_F(RanksTest, RanksAreStartedTogetherAndMeet) {
  ASSERT_TRUE(Create(TwoRanks()).ok());
  const v1::Job training = Await([](const v1::Job& job) { return job.progress().student_parameters() > 0; });
  std::thread other([&] {
    const auto met = Meet(Rendezvous(training, 1));
    ASSERT_TRUE(met.ok()) << met.status();
    EXPECT_EQ(met->payload(), "/name");
  });
  const auto met = Meet(Rendezvous(training, 0));
  EXPECT_TRUE(met.ok()) << met.status();
  other.join();

  v1::ExchangeRendezvousRequest stranger = Rendezvous(training, 0);
  stranger.set_job_uid("6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10");
  EXPECT_EQ(Meet(stranger).status().code(), absl::StatusCode::kNotFound);
  stranger = Rendezvous(training, 0);
  stranger.set_job("projects/p/jobs/nobody");
  EXPECT_EQ(Meet(stranger).status().code(), absl::StatusCode::kNotFound);
  stranger.set_job("nobody");
  EXPECT_EQ(Meet(stranger).status().code(), absl::StatusCode::kInvalidArgument);

  Go();
  const v1::Job ended = Await();
  ASSERT_EQ(ended.state(), v1::Job::STATE_SUCCEEDED) << ended.state_message();
  EXPECT_EQ(ended.progress().steps_done(), 4);
  const auto late = Meet(Rendezvous(training, 0));
  EXPECT_EQ(late.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(services::ReasonOf(late.status()), JOB_STATE);

  std::ifstream file(folder_.path() / "ranks");
  std::string said(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(said.find("0 of 2:"), std::string::npos) << said;
  EXPECT_NE(said.find("1 of 2:"), std::string::npos) << said;
  EXPECT_NE(said.find("--data-ranks 2 --expert-ranks 1"), std::string::npos) << said;
}

TEST_F(RanksTest, OneProcessHasNoFlagsOfRanks) {
  Go();
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  EXPECT_EQ(Await().state(), v1::Job::STATE_SUCCEEDED);
  std::ifstream file(folder_.path() / "ranks");
  std::string said(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(said.find("--data-ranks"), std::string::npos) << said;
}

}  // namespace
}  // namespace retort::jobs
