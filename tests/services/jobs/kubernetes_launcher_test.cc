#include "services/jobs/kubernetes_launcher.h"

#include <algorithm>

#include "tests/services/jobs/launch_fixture.h"

namespace retort::jobs {
namespace {

using kubernetes::StandInApi;
using Lines = std::vector<std::string>;

using KubernetesLauncherTest = LaunchFixture;

TEST_F(KubernetesLauncherTest, FollowsAJobToItsSuccess) {
  Trainer(
      "echo '{\"rank\":'$JOB_COMPLETION_INDEX',\"of\":'$RETORT_WORLD_SIZE'}'; echo \"$*\" >&2; echo "
      "'{\"last\":1}'\n");
  const auto end = Run(ALaunch());
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well);
  EXPECT_EQ(end->description, "exit code 0");
  EXPECT_EQ(said().lines, (Lines{"{\"rank\":0,\"of\":1}", "{\"last\":1}"}));
  EXPECT_EQ(ReadAll(RunFolder() / "train.log"), "--flag value\n");  // what is no event is for people
  EXPECT_EQ(cluster_.Names("Job"), Lines{JobNamed(1)});
  EXPECT_EQ(cluster_.Find("Job", JobNamed(1))["metadata"]["annotations"]["retort.dev/spec-sha256"],
            said().promise);

  KubernetesLauncher launcher(options_);
  ASSERT_EQ(launcher.Clear(kUid, "logits", nullptr), absl::OkStatus());
  EXPECT_EQ(cluster_.Names("Job"), Lines{});
  EXPECT_EQ(cluster_.Names("Pod"), Lines{});
  EXPECT_EQ(launcher.Clear(kUid, "text_only", nullptr), absl::OkStatus());  // nothing is there
}

TEST_F(KubernetesLauncherTest, StartsAPodForEachRankAndHearsTheFirst) {
  options_.pod.device_resource = "nvidia.com/gpu";
  Trainer("echo '{\"rank\":'$JOB_COMPLETION_INDEX'}'\n");
  const auto end = Run(ALaunch(1, 3));
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well) << end->description;
  EXPECT_EQ(said().lines, Lines{"{\"rank\":0}"});
  EXPECT_EQ(cluster_.Names("Pod").size(), 3u);
}

TEST_F(KubernetesLauncherTest, SaysHowARankEndedIll) {
  options_.pod.device_resource = "nvidia.com/gpu";
  Trainer("if [ $JOB_COMPLETION_INDEX = 2 ]; then echo 'no memory left' >&2; exit 1; fi; exec sleep 60\n");
  const auto end = Run(ALaunch(1, 3));
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_FALSE(end->well);
  EXPECT_FALSE(end->stopped);
  EXPECT_NE(end->description.find("rank 2: exit code 1 (Error): no memory left"), std::string::npos)
      << end->description;
}

TEST_F(KubernetesLauncherTest, TheNextLaunchIsAnotherJobOnceTheLastHasGone) {
  Trainer("echo '{}'; trap 'exit 3' TERM; " + Until("go"));
  auto first = RunAside(ALaunch(1));
  ASSERT_TRUE(EventuallyLines(1));
  order_ = LaunchOrder::kLeave;  // and the record of it is lost, say by a restored backup
  ASSERT_TRUE(first.get()->left);
  order_ = LaunchOrder::kGoOn;
  Make("go");
  const auto end = Run(ALaunch(2));
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well) << end->description;
  EXPECT_EQ(cluster_.created(), 2);
  EXPECT_EQ(cluster_.Names("Job"), Lines{JobNamed(2)});
  EXPECT_EQ(cluster_.alive_at_once_max(), 1);
}

TEST_F(KubernetesLauncherTest, StopLetsTheTrainerWriteItsCheckpoint) {
  Trainer(
      "trap 'echo \"{\\\"checkpoint\\\":1}\"; exit 3' TERM; echo '{\"ready\":1}'; while :; do sleep 0.02; "
      "done\n");
  auto running = RunAside(ALaunch());
  ASSERT_TRUE(EventuallyLines(1));
  order_ = LaunchOrder::kStop;
  const auto end = running.get();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_FALSE(end->well);
  EXPECT_TRUE(end->stopped);
  EXPECT_EQ(said().lines, (Lines{"{\"ready\":1}", "{\"checkpoint\":1}"}));
  EXPECT_EQ(cluster_.Names("Job"), Lines{});
  EXPECT_EQ(cluster_.Names("Pod"), Lines{});
}

TEST_F(KubernetesLauncherTest, TakesUpWhereAnEarlierProcessLeft) {
  Trainer("for i in 1 2 3; do echo '{\"line\":'$i'}'; done\n" + Until("go") + "echo '{\"line\":4}'\n");
  auto first = RunAside(ALaunch());
  ASSERT_TRUE(EventuallyLines(3));
  order_ = LaunchOrder::kLeaveNow;
  ASSERT_TRUE(first.get()->left);
  const Said before = said();

  order_ = LaunchOrder::kGoOn;
  TrainerLaunch again = ALaunch();
  again.promise = before.promise;
  again.position = before.position;
  options_.pod.image =
      "registry.example/retort:2";  // an upgrade in between; the launch under way is the promised one
  Make("go");
  const auto end = Run(again);
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well);
  EXPECT_EQ(said().replayed, (Lines{"{\"line\":1}", "{\"line\":2}", "{\"line\":3}"}));
  EXPECT_EQ(said().lines.back(), "{\"line\":4}");
  EXPECT_EQ(said().lines.size(), 4u);
  EXPECT_EQ(cluster_.created(), 1);
}

TEST_F(KubernetesLauncherTest, RefusesAJobThatIsNotOurs) {
  Trainer("exec sleep 60\n");
  TrainerLaunch launch = ALaunch();
  auto other = RunAside(launch);
  ASSERT_TRUE(Eventually([&] { return cluster_.created() == 1; }));
  order_ = LaunchOrder::kLeave;
  ASSERT_TRUE(other.get()->left);
  order_ = LaunchOrder::kGoOn;
  launch.arguments = {"--something", "else"};
  const auto end = Run(launch);
  EXPECT_EQ(end.status().code(), absl::StatusCode::kAlreadyExists) << end.status();
  EXPECT_NE(end.status().message().find("retort.dev/spec-sha256"), std::string::npos) << end.status();
  EXPECT_EQ(cluster_.created(), 1);
}

TEST_F(KubernetesLauncherTest, TwoLaunchersMakeOneJob) {
  Trainer("echo '{\"a\":1}'; echo '{\"b\":2}'\n");
  auto first = RunAside(ALaunch()), second = RunAside(ALaunch());
  EXPECT_TRUE(first.get()->well);
  EXPECT_TRUE(second.get()->well);
  EXPECT_EQ(cluster_.created(), 1);
}

TEST_F(KubernetesLauncherTest, ALostAnswerMakesNoSecondJob) {
  Trainer("echo '{\"a\":1}'\n");
  api_.Inject("create jobs", {.times = 1, .kind = StandInApi::Fault::Kind::kLostAnswer});
  const auto end = Run(ALaunch());
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well);
  EXPECT_EQ(cluster_.created(), 1);
}

TEST_F(KubernetesLauncherTest, WaitsAsLongAsTheServerAsks) {
  Trainer("echo '{\"a\":1}'\n");
  api_.Inject("create jobs", {.times = 1, .status = 429, .body = "{}", .retry_after = 2});
  api_.Inject("list jobs", {.times = 2, .status = 503, .body = "not even JSON"});
  const auto begun = std::chrono::steady_clock::now();
  const auto end = Run(ALaunch());
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2));
  EXPECT_EQ(api_.requests("create jobs"), 2);
  EXPECT_TRUE(EventuallyWaits("HTTP 429"));
}

TEST_F(KubernetesLauncherTest, RefusalsOfTheRoleAreNamed) {
  Trainer("echo '{\"a\":1}'\n" + Until("go"));
  const std::set<std::string> all = {"create jobs", "list jobs",  "watch jobs",
                                     "list pods",   "watch pods", "get pods/log"};
  for (const char* lacking :
       {"create jobs", "list jobs", "watch jobs", "list pods", "watch pods", "get pods/log"}) {
    std::set<std::string> some = all;
    some.erase(lacking);
    api_.Allow(some);
    const auto end = Run(ALaunch());
    ASSERT_EQ(end.status().code(), absl::StatusCode::kPermissionDenied) << lacking << ": " << end.status();
    const std::string verb = std::string(lacking).substr(0, std::string(lacking).find(' '));
    EXPECT_NE(end.status().message().find("cannot " + verb), std::string::npos) << end.status();
  }
  api_.Allow(all);
  Make("go");
  EXPECT_TRUE(Run(ALaunch())->well);
}

TEST_F(KubernetesLauncherTest, DroppedWatchesAndForgottenVersionsLoseNothing) {
  Trainer("for i in 1 2 3 4 5 6; do echo '{\"line\":'$i'}'; " + Until("$i") + "done\n");
  auto running = RunAside(ALaunch());
  Lines wanted;
  for (int i = 1; i <= 6; ++i) {
    wanted.push_back("{\"line\":" + std::to_string(i) + "}");
    ASSERT_TRUE(EventuallyLines(static_cast<size_t>(i)));
    api_.DropStreams();              // watches in the middle of an object, the log in the middle of a line
    if (i == 2) cluster_.Compact();  // and what they stood at is forgotten
    cluster_.Touch(JobNamed(1));
    Make(std::to_string(i));
  }
  const auto end = running.get();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well);
  EXPECT_EQ(said().lines, wanted);
  EXPECT_EQ(said().replayed, Lines{});
  EXPECT_EQ(cluster_.created(), 1);
}

TEST_F(KubernetesLauncherTest, AnApiServerThatRestartsIsWaitedFor) {
  Trainer("echo '{\"a\":1}'; " + Until("go") + "echo '{\"b\":2}'\n");
  auto running = RunAside(ALaunch());
  ASSERT_TRUE(EventuallyLines(1));
  api_.Stop();
  EXPECT_TRUE(EventuallyWaits("away: https://127.0.0.1"));
  Make("go");
  api_.Start();
  const auto end = running.get();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well);
  EXPECT_EQ(said().lines, (Lines{"{\"a\":1}", "{\"b\":2}"}));
  EXPECT_EQ(said().waiting.back(), "");
  EXPECT_EQ(cluster_.created(), 1);
}

TEST_F(KubernetesLauncherTest, ATokenThatIsReplacedIsReadAgain) {
  Trainer("echo '{\"a\":1}'; " + Until("go"));
  auto running = RunAside(ALaunch());
  ASSERT_TRUE(EventuallyLines(1));
  api_.ReplaceToken("second-token");
  api_.DropStreams();
  cluster_.Touch(JobNamed(1));
  Make("go");
  EXPECT_TRUE(running.get()->well);
}

TEST_F(KubernetesLauncherTest, SaysWhyTheSchedulerWaits) {
  Trainer("echo '{\"a\":1}'\n");
  cluster_.Hold("0/3 nodes are available: 3 Insufficient nvidia.com/gpu");
  auto running = RunAside(ALaunch());
  EXPECT_TRUE(
      EventuallyWaits("rank 0 of 1: Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu"));
  cluster_.Release();
  EXPECT_TRUE(running.get()->well);
}

TEST_F(KubernetesLauncherTest, WaitsInAQueueOfKueueAndGoesOnAfterItWasPutOut) {
  options_.pod.queue = "gpus";
  Trainer("trap 'exit 3' TERM; echo '{\"pod\":1}'\n" + Until("go"));
  cluster_.SayOfWorkloads(
      "couldn't assign flavors: insufficient unused quota for nvidia.com/gpu, 8 more needed");
  auto running = RunAside(ALaunch());
  ASSERT_TRUE(EventuallyWaits(
      "held by Kueue in queue gpus: no quota is reserved (Pending): couldn't assign flavors"));
  EXPECT_EQ(cluster_.Names("Pod"), Lines{});
  EXPECT_EQ(cluster_.Find("Job", JobNamed(1))["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], "gpus");
  cluster_.Suspend(JobNamed(1), false);
  ASSERT_TRUE(EventuallyLines(1));
  cluster_.Suspend(JobNamed(1), true);
  ASSERT_TRUE(Eventually([&] { return cluster_.Names("Pod").empty(); }));
  Make("go");
  cluster_.Suspend(JobNamed(1), false);
  const auto end = running.get();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well) << end->description;
  EXPECT_EQ(said().lines, (Lines{"{\"pod\":1}", "{\"pod\":1}"}));  // of two pods
  EXPECT_EQ(cluster_.created(), 1);
}

TEST_F(KubernetesLauncherTest, AJobThatSomebodyRemovesIsAnIllEnd) {
  Trainer("trap 'exit 3' TERM; echo '{\"a\":1}'; while :; do sleep 0.02; done\n");
  auto running = RunAside(ALaunch());
  ASSERT_TRUE(EventuallyLines(1));
  cluster_.RemoveJob(JobNamed(1));
  const auto end = running.get();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_FALSE(end->well);
  EXPECT_NE(end->description.find("removed by somebody"), std::string::npos) << end->description;
}

TEST_F(KubernetesLauncherTest, HostileAnswersAreBounded) {
  Trainer("echo '{\"a\":1}'\n");
  const std::string huge = "{\"kind\":\"JobList\",\"x\":\"" + std::string(20 << 20, 'x') + "\"}";
  for (const std::string& body :
       {std::string("{\"kind\":\"JobList\""), std::string("[]"), std::string("{\"kind\":7}"), huge,
        std::string("{\"kind\":\"JobList\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[{\"metadata\":"
                    "7}]}")}) {
    api_.Inject("list jobs", {.times = 1, .body = body});
    const auto end = Run(ALaunch());
    ASSERT_TRUE(end.ok()) << end.status();
    EXPECT_TRUE(end->well);
  }
  // Jobs where pods are wanted.
  api_.Inject("list pods", {.times = 1, .body = cluster_.List("Job", "").body.dump()});
  EXPECT_TRUE(Run(ALaunch())->well);
  api_.Inject("watch jobs", {.times = 1, .kind = StandInApi::Fault::Kind::kEndless});
  api_.Inject("watch pods", {.times = 1, .body = "{\"type\":\"ADDED\",\"object\":{}}\nnonsense\n"});
  ASSERT_EQ(KubernetesLauncher(options_).Clear(kUid, "logits", nullptr), absl::OkStatus());
  const auto end = Run(ALaunch(2));
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_TRUE(end->well);
  api_.Inject("list jobs", {.times = 1, .kind = StandInApi::Fault::Kind::kEndless});
  EXPECT_TRUE(Run(ALaunch(2))->well);
  EXPECT_EQ(cluster_.created(), 2);
}

TEST_F(KubernetesLauncherTest, AnUntrustedServerGetsNoTokenAndIsWaitedFor) {
  Trainer("echo '{\"a\":1}'\n");
  TestFolder other;
  kubernetes::StandInCluster empty;
  kubernetes::StandInApi stranger(empty, other.path());
  options_.server.authorities_file = stranger.server().authorities_file;
  auto running = RunAside(ALaunch());
  EXPECT_TRUE(EventuallyWaits("away: "));
  EXPECT_EQ(api_.requests("list jobs"), 0);
  order_ = LaunchOrder::kLeave;
  EXPECT_TRUE(running.get()->left);
}

TEST_F(KubernetesLauncherTest, ChecksThatTheRunFoldersAreOnTheVolume) {
  const std::filesystem::path runs = folder_.path() / "jobs/runs";
  EXPECT_EQ(KubernetesLauncher(options_).Check(runs), absl::OkStatus());
  const auto outside = KubernetesLauncher(options_).Check("/elsewhere/runs");
  EXPECT_EQ(outside.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(outside.message().find("/elsewhere/runs"), std::string::npos) << outside;

  options_.own_pod = "retort-jobs-0";
  const auto absent = KubernetesLauncher(options_).Check(runs);
  EXPECT_EQ(absent.code(), absl::StatusCode::kFailedPrecondition) << absent;
  auto pod = kubernetes::StandInCluster::Json::parse(R"({
    "metadata": {"name": "retort-jobs-0", "ownerReferences": [
      {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "retort-jobs", "uid": "u-7", "controller": true}]},
    "spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "other"}}],
             "containers": [{"name": "retortd", "volumeMounts": [{"name": "data"}]}]}})");
  pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] = folder_.path().string();
  cluster_.Put("Pod", pod);
  const auto wrong = KubernetesLauncher(options_).Check(runs);
  EXPECT_EQ(wrong.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(wrong.message().find("claim other at " + folder_.path().string()), std::string::npos) << wrong;
  pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = "runs";
  cluster_.Put("Pod", pod);

  Trainer("echo '{\"a\":1}'\n");
  KubernetesLauncher owned(options_);
  ASSERT_EQ(owned.Check(runs), absl::OkStatus());
  ASSERT_TRUE(owned.Run(ALaunch())->well);
  EXPECT_EQ(cluster_.Find("Job", JobNamed(1))["metadata"]["ownerReferences"][0]["uid"], "u-7");
}

}  // namespace
}  // namespace retort::jobs
