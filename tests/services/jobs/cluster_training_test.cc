// Jobs whose runs are trained by pods of a stand-in cluster.
#include <fstream>
#include <thread>

#include "services/jobs/kubernetes_launcher.h"
#include "tests/services/jobs/service_fixture.h"
#include "tests/services/kubernetes/stand_in_api.h"

namespace retort::jobs {
namespace {

class ClusterTrainingTest : public JobsServiceFixture {
 protected:
  ClusterTrainingTest() : api_(cluster_, folder_.path()) {}
  ~ClusterTrainingTest() override { Kill(); }

  void Configure(JobsServiceOptions& options) override {
    KubernetesOptions kubernetes;
    kubernetes.server = api_.server();
    kubernetes.name_space = kubernetes::StandInApi::kNamespace;
    kubernetes.pod.image = "registry.example/retort:1";
    kubernetes.pod.program = trainer_;
    kubernetes.pod.claim = "runs";
    kubernetes.pod.claim_mount_path = folder_.path().string();
    kubernetes.pod.run_as_user = kubernetes.pod.run_as_group = 65532;
    kubernetes.pod.queue = queue_;
    options.launched = options.trainer;
    options.launcher = std::make_unique<KubernetesLauncher>(std::move(kubernetes));
  }

  // A trainer that says it has begun and two steps, then waits for Make("go").
  void WaitingTrainer() {
    const std::string go = (folder_.path() / "go").string();
    trainer_ = folder_.Script(
        "trainer",
        "trap 'exit 3' TERM\n"
        "echo '{\"event\":\"started\",\"parameters\":1000,\"active_parameters\":400,\"resumed_step\":0}'\n"
        "echo "
        "'{\"event\":\"step\",\"step\":1,\"steps\":4,\"loss\":2.5,\"tokens\":128,\"tokens_per_second\":1}'\n"
        "echo "
        "'{\"event\":\"report\",\"step\":1,\"steps\":4,\"loss\":2.5,\"seconds\":1,\"tokens_per_second\":1,"
        "\"phases\":{\"data\":0,\"forward\":0,\"backward\":0,\"optimizer\":0,\"communication\":0,"
        "\"checkpoint\":0},"
        "\"flops_per_second\":1,\"resident_bytes\":1,\"expert_load\":[],\"energy_source\":\"none\"}'\n"
        "while [ ! -e '" +
            go + "' ]; do sleep 0.02; done\n" + kFakeTrainer);
  }
  void Go() { std::ofstream(folder_.path() / "go") << "x"; }

  static bool HasSteps(const v1::Job& job) { return job.progress().steps_done() > 0; }

  kubernetes::StandInCluster cluster_;
  kubernetes::StandInApi api_;
  std::string queue_;
};

TEST_F(ClusterTrainingTest, AJobIsTrainedAndNothingIsLeft) {
  Start();
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(job.progress().steps_done(), 4);
  EXPECT_EQ(job.progress().training_tokens(), 4 * 128);
  EXPECT_EQ(cluster_.created(), 1);
  EXPECT_TRUE(cluster_.Names("Job").empty());
}

TEST_F(ClusterTrainingTest, AKilledServerFindsItsRunAndCountsNothingTwice) {
  WaitingTrainer();
  Start();
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  ASSERT_EQ(Await(HasSteps).progress().training_tokens(), 128);
  Kill();
  EXPECT_EQ(cluster_.Names("Pod").size(), 1u);
  Start();
  Go();
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(job.progress().training_tokens(), 5 * 128);  // one step, and after it four of the fake trainer
  EXPECT_EQ(cluster_.created(), 1);
  EXPECT_EQ(cluster_.alive_at_once_max(), 1);
}

TEST_F(ClusterTrainingTest, ALaunchThatFailsIsRepeatedAsAnotherJob) {
  const std::string marker = (folder_.path() / "second").string();
  trainer_ = folder_.Script("trainer", "if [ ! -e '" + marker + "' ]; then touch '" + marker +
                                           "'; echo 'out of luck' >&2; exit 1; fi\n" + kFakeTrainer);
  Start();
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  ASSERT_EQ(job.state(), v1::Job::STATE_SUCCEEDED) << job.state_message();
  EXPECT_EQ(cluster_.created(), 2);
  EXPECT_TRUE(cluster_.Names("Job").empty());
}

TEST_F(ClusterTrainingTest, ARunThatAlwaysFailsFailsTheJob) {
  trainer_ = folder_.Script("trainer", "exit 1\n");
  Start();
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_EQ(job.state_reason(), "TRAINING_FAILED");
  EXPECT_NE(job.state_message().find("exit code 1 (Error)"), std::string::npos) << job.state_message();
  EXPECT_EQ(cluster_.created(), 3);  // patience.failed_launches_max
  EXPECT_TRUE(cluster_.Names("Job").empty());
}

TEST_F(ClusterTrainingTest, WaitsInAQueueSaysSoAndCanBeCancelled) {
  queue_ = "gpus";
  cluster_.SayOfWorkloads("8 more GPUs needed");
  Start();
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job waiting = Await([](const v1::Job& job) { return job.state_reason() == "TRAINING_WAITS"; });
  EXPECT_EQ(waiting.state(), v1::Job::STATE_TRAINING);
  EXPECT_NE(waiting.state_message().find("8 more GPUs needed"), std::string::npos) << waiting.state_message();
  v1::CancelJobRequest cancel;
  cancel.set_name("projects/p/jobs/example");
  ASSERT_TRUE(Call(&v1::JobsService::StubInterface::CancelJob, cancel).ok());
  EXPECT_EQ(Await().state(), v1::Job::STATE_CANCELLED);
  EXPECT_TRUE(cluster_.Names("Job").empty());
}

TEST_F(ClusterTrainingTest, ACancellationOutlivesTheServerAndTheClustersAbsence) {
  WaitingTrainer();
  Start();
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  ASSERT_TRUE(HasSteps(Await(HasSteps)));
  api_.Stop();
  v1::CancelJobRequest cancel;
  cancel.set_name("projects/p/jobs/example");
  ASSERT_TRUE(Call(&v1::JobsService::StubInterface::CancelJob, cancel).ok());
  Kill();
  EXPECT_EQ(cluster_.Names("Pod").size(), 1u);
  api_.Start();
  Start();
  EXPECT_EQ(Await().state(), v1::Job::STATE_CANCELLED);
  EXPECT_TRUE(cluster_.Names("Pod").empty());
  EXPECT_TRUE(cluster_.Names("Job").empty());
}

TEST_F(ClusterTrainingTest, ARoleThatLacksAVerbIsNamedOnTheJob) {
  api_.Allow({"list jobs", "watch jobs", "list pods", "watch pods", "get pods/log", "delete jobs"});
  Start();
  ASSERT_TRUE(Create(ExampleRequest()).ok());
  const v1::Job job = Await();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_NE(job.state_message().find("cannot create resource \"jobs\""), std::string::npos)
      << job.state_message();
}

}  // namespace
}  // namespace retort::jobs
