#include "services/kubernetes/api_client.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "services/kubernetes/api_error.h"
#include "services/kubernetes/objects.h"
#include "tests/services/jobs/test_folder.h"
#include "tests/services/kubernetes/stand_in_api.h"

namespace retort::kubernetes {
namespace {

constexpr char kJobs[] = "/apis/batch/v1/namespaces/training/jobs";

class ApiClientTest : public testing::Test {
 protected:
  ApiClientTest() : api_(cluster_, folder_.path()), client_(api_.server(), transfers_) {}
  absl::StatusOr<std::string> List(const char* path = kJobs) {
    return client_.Call("list jobs", "GET", path, {{"labelSelector", "a=b,c=d"}}, "", nullptr);
  }
  static std::string AJob(const std::string& name) {
    return R"({"kind":"Job","metadata":{"name":")" + name +
           R"("},"spec":{"completions":0,"template":{"spec":{"containers":[{"image":"i"}]}}}})";
  }

  jobs::TestFolder folder_;
  StandInCluster cluster_;
  StandInApi api_;
  Transfers transfers_;
  ApiClient client_;
};

TEST_F(ApiClientTest, CreatesAndDeletesUnderPreconditions) {
  const auto made = client_.Call("create jobs", "POST", kJobs, {}, AJob("one"), nullptr);
  ASSERT_TRUE(made.ok()) << made.status();
  const auto job = ParseObject(*made);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(client_.Call("create jobs", "POST", kJobs, {}, AJob("one"), nullptr).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(client_.Call("create jobs", "POST", kJobs, {}, "{}", nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto remove = [&](const std::string& uid) {
    return client_
        .Call("delete jobs", "DELETE", std::string(kJobs) + "/one", {},
              R"({"propagationPolicy":"Foreground","preconditions":{"uid":")" + uid + "\"}}", nullptr)
        .status();
  };
  EXPECT_EQ(remove("another").code(), absl::StatusCode::kAborted);
  EXPECT_EQ(remove(job->uid), absl::OkStatus());
}

TEST_F(ApiClientTest, SaysWhatIsRefusedAndWhy) {
  const auto elsewhere = List("/apis/batch/v1/namespaces/kube-system/jobs");
  EXPECT_EQ(elsewhere.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_NE(
      elsewhere.status().message().find("cannot list resource \"jobs\" in the namespace \"kube-system\""),
      std::string::npos)
      << elsewhere.status();
  EXPECT_EQ(List("/nothing").status().code(), absl::StatusCode::kNotFound);
  std::ofstream(folder_.path() / "token") << "stale\n";
  EXPECT_EQ(List().status().code(), absl::StatusCode::kUnauthenticated);
  api_.ReplaceToken("fresh");  // by the kubelet; the next call has it
  EXPECT_TRUE(List().ok());
  std::filesystem::remove(folder_.path() / "token");
  EXPECT_EQ(List().status().code(), absl::StatusCode::kFailedPrecondition);
  std::ofstream(folder_.path() / "token") << "two\nlines";
  EXPECT_EQ(List().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ApiClientTest, BoundsAnswers) {
  api_.Inject("list jobs", {.times = 1, .body = std::string(17 << 20, 'x')});
  EXPECT_EQ(List().status().code(), absl::StatusCode::kResourceExhausted);
  api_.Inject("list jobs", {.times = 1, .kind = StandInApi::Fault::Kind::kEndless});
  EXPECT_EQ(List().status().code(), absl::StatusCode::kResourceExhausted);
  api_.Inject("list jobs", {.times = 1, .kind = StandInApi::Fault::Kind::kLostAnswer});
  EXPECT_EQ(List().status().code(), absl::StatusCode::kUnavailable);
  api_.Inject("list jobs", {.times = 1, .status = 503, .body = "{}", .retry_after = 11});
  EXPECT_EQ(RetryAfter(List().status()), std::chrono::seconds(11));
}

TEST_F(ApiClientTest, TrustsOneAuthorityAlone) {
  jobs::TestFolder other;
  StandInCluster empty;
  StandInApi stranger(empty, other.path());
  ApiServer server = api_.server();
  server.authorities_file = stranger.server().authorities_file;
  Transfers transfers;
  ApiClient client(server, transfers);
  const auto refused = client.Call("list jobs", "GET", kJobs, {}, "", nullptr);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition) << refused.status();
  EXPECT_EQ(api_.requests("list jobs"), 0);
  server.authorities_file = "/nowhere/ca.crt";
  ApiClient blind(server, transfers);
  EXPECT_EQ(blind.Call("list jobs", "GET", kJobs, {}, "", nullptr).status().code(),
            absl::StatusCode::kFailedPrecondition);
  server = api_.server();
  server.url.replace(0, 5, "http");
  ApiClient plain(server, transfers);
  EXPECT_EQ(plain.Call("list jobs", "GET", kJobs, {}, "", nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  api_.Stop();
  EXPECT_EQ(List().status().code(), absl::StatusCode::kUnavailable);
}

TEST(ServerOfThisPodTest, IsWhereTheKubeletSays) {
  jobs::TestFolder folder;
  std::map<std::string, std::string> variables;
  const auto environment = [&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
  EXPECT_EQ(ServerOfThisPod(environment, folder.path().string()).status().code(),
            absl::StatusCode::kFailedPrecondition);
  variables = {{"KUBERNETES_SERVICE_HOST", "fd00::1"}, {"KUBERNETES_SERVICE_PORT", "443"}};
  EXPECT_EQ(ServerOfThisPod(environment, folder.path().string()).status().code(),
            absl::StatusCode::kFailedPrecondition);  // no token
  std::ofstream(folder.path() / "token") << "t\n";
  const auto server = ServerOfThisPod(environment, folder.path().string());
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(server->url, "https://[fd00::1]:443");
  EXPECT_EQ(server->token_file, (folder.path() / "token").string());
}

TEST(UrlEscapeTest, KeepsWhatIsUnreserved) {
  EXPECT_EQ(UrlEscape("a-b._~1"), "a-b._~1");
  EXPECT_EQ(UrlEscape("a=b,c/d \xC3"), "a%3Db%2Cc%2Fd%20%C3");
}

}  // namespace
}  // namespace retort::kubernetes
