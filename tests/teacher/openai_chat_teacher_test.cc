#include "teacher/openai_chat_teacher.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tests/teacher/fake_endpoint.h"

namespace retort::teacher {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr char kGood[] =
    R"({"id":"r1","model":"other-model","choices":[{"finish_reason":"stop","message":{"content":"Hello."}}],)"
    R"("usage":{"prompt_tokens":3,"completion_tokens":2}})";

// Time that passes only in sleeps, and no chance.
struct FakeTime {
  steady_clock::time_point now = steady_clock::now();
  std::vector<milliseconds> sleeps;

  RetryEnvironment Environment() {
    RetryEnvironment environment;
    environment.now = [this] { return now; };
    environment.wall_now = [] {
      return std::chrono::system_clock::time_point(std::chrono::seconds(784111777));
    };
    environment.chance = [] { return 0.5; };
    environment.sleep = [this](milliseconds wait, const CallLimits& limits) -> absl::Status {
      if (limits.cancelled && limits.cancelled()) return absl::CancelledError("cancelled");
      sleeps.push_back(wait);
      return absl::OkStatus();
    };
    return environment;
  }
};

ApiKey TestKey() {
  setenv("RETORT_TEACHER_TEST_KEY", "sk-verysecret", 1);
  auto key = ApiKey::FromEnvironment("RETORT_TEACHER_TEST_KEY");
  unsetenv("RETORT_TEACHER_TEST_KEY");
  return *std::move(key);
}

CompletionRequest Question() {
  CompletionRequest request;
  request.messages = {{"user", "Say hello."}};
  request.sampling.max_tokens = 8;
  request.request_id = "0f6d9c3a-0000-8000-8000-000000000001";
  return request;
}

class OpenAiChatTeacherTest : public testing::Test {
 protected:
  absl::StatusOr<Completion> Ask(const std::string& base, const CallLimits& limits = {}) {
    OpenAiChatOptions options;
    options.base_url = base + "/v1/";
    options.model = "asked-model";
    options.http.timeout = milliseconds(2000);
    options.http.response_bytes_max = 1 << 20;
    auto teacher = OpenAiChatTeacher::Create(options, TestKey(), time_.Environment());
    if (!teacher.ok()) return teacher.status();
    return (*teacher)->Complete(Question(), limits);
  }
  FakeTime time_;
};

TEST_F(OpenAiChatTeacherTest, AsksAndReturnsTheEvidence) {
  FakeEndpoint endpoint([](int) { return CannedAnswer{200, kGood, {}}; });
  const auto answer = Ask(endpoint.url());
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->text, "Hello.");
  EXPECT_EQ(answer->model_answered, "other-model");  // recorded, although another was asked for
  EXPECT_EQ(answer->http_status, 200);
  EXPECT_EQ(answer->transport_retries, 0);
  EXPECT_EQ(answer->raw_response, kGood);
  const auto seen = endpoint.requests();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].path, "/v1/chat/completions");
  EXPECT_EQ(answer->raw_request, seen[0].body);
  EXPECT_EQ(answer->raw_request.find("verysecret"), std::string::npos);
  EXPECT_EQ(seen[0].headers.at("authorization"), "Bearer sk-verysecret");
  EXPECT_EQ(seen[0].headers.at("idempotency-key"), "0f6d9c3a-0000-8000-8000-000000000001");
}

TEST_F(OpenAiChatTeacherTest, RetriesTransientStatuses) {
  FakeEndpoint endpoint([](int n) {
    const int statuses[] = {500, 503, 409, 504};
    return n < 4 ? CannedAnswer{statuses[n], "", {}} : CannedAnswer{200, kGood, {}};
  });
  const auto answer = Ask(endpoint.url());
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->transport_retries, 4);
  EXPECT_EQ(time_.sleeps, (std::vector<milliseconds>{milliseconds(250), milliseconds(2000),
                                                     milliseconds(1000), milliseconds(2000)}));
  const auto seen = endpoint.requests();
  for (const auto& request : seen)
    EXPECT_EQ(request.headers.at("idempotency-key"), seen[0].headers.at("idempotency-key"));
}

TEST_F(OpenAiChatTeacherTest, ReadsRetryAfterOfTheLatestAnswer) {
  FakeEndpoint endpoint([](int n) {
    switch (n) {
      case 0:
        return CannedAnswer{429, "", {{"Retry-After", "7"}}};
      case 1:
        return CannedAnswer{429, "", {{"Retry-After", "1.5"}}};
      case 2:
        return CannedAnswer{429, "", {{"Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"}}};
      case 3:
        return CannedAnswer{429, "", {{"retry-after-ms", "12345"}, {"Retry-After", "99"}}};
      default:
        return CannedAnswer{200, kGood, {}};
    }
  });
  EXPECT_TRUE(Ask(endpoint.url()).ok());
  EXPECT_EQ(time_.sleeps, (std::vector<milliseconds>{milliseconds(7000), milliseconds(1500),
                                                     milliseconds(60'000), milliseconds(12'345)}));
}

TEST_F(OpenAiChatTeacherTest, GivesUpAfterTheLastAttempt) {
  FakeEndpoint limited([](int) {
    return CannedAnswer{429, R"({"error":{"code":"rate_limit_exceeded"}})", {}};
  });
  EXPECT_EQ(Ask(limited.url()).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(limited.requests().size(), 5u);
  FakeEndpoint broken([](int) { return CannedAnswer{500, "", {}}; });
  EXPECT_EQ(Ask(broken.url()).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(broken.requests().size(), 5u);
}

TEST_F(OpenAiChatTeacherTest, NeverRepeatsWhatCannotSucceed) {
  const std::pair<CannedAnswer, absl::StatusCode> rows[] = {
      {{400, "", {}}, absl::StatusCode::kInvalidArgument},
      {{401, "", {}}, absl::StatusCode::kUnauthenticated},
      {{402, "", {}}, absl::StatusCode::kResourceExhausted},
      {{403, "", {}}, absl::StatusCode::kUnauthenticated},
      {{429, R"({"error":{"code":"insufficient_quota"}})", {{"Retry-After", "1"}}},
       absl::StatusCode::kResourceExhausted},
      {{302, "", {{"Location", "http://127.0.0.1:1/"}}}, absl::StatusCode::kFailedPrecondition},
      {{200, "{\"choices\":", {}}, absl::StatusCode::kUnknown},
      {{200, "", {}}, absl::StatusCode::kUnknown},
      {{200, R"({"error":"bare"})", {}}, absl::StatusCode::kUnknown},
      {{200, std::string((1 << 20) + 1, ' '), {}}, absl::StatusCode::kUnknown},
  };
  for (const auto& [canned, code] : rows) {
    FakeEndpoint endpoint([&canned = canned](int) { return canned; });
    const auto answer = Ask(endpoint.url());
    EXPECT_EQ(answer.status().code(), code) << canned.status << canned.body.substr(0, 60);
    EXPECT_EQ(endpoint.requests().size(), 1u) << canned.status << canned.body.substr(0, 60);
    EXPECT_EQ(answer.status().message().find("verysecret"), std::string::npos);
  }
}

TEST_F(OpenAiChatTeacherTest, RetriesAnErrorObjectUnderStatus200) {
  FakeEndpoint endpoint([](int n) {
    return n == 0 ? CannedAnswer{200, R"({"error":{"type":"server_error"}})", {{"Retry-After", "3"}}}
                  : CannedAnswer{200, kGood, {}};
  });
  EXPECT_EQ(Ask(endpoint.url())->transport_retries, 1);
  EXPECT_EQ(time_.sleeps, std::vector<milliseconds>{milliseconds(3000)});
}

TEST_F(OpenAiChatTeacherTest, RetriesBrokenConnections) {
  RawEndpoint endpoint({"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"});
  EXPECT_EQ(Ask(endpoint.url()).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(endpoint.connections(), 5);
  EXPECT_EQ(Ask("http://127.0.0.1:" + std::to_string(ClosedPort())).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(OpenAiChatTeacherTest, TimeoutIsRetriedThenDeadlineExceeded) {
  RawEndpoint endpoint({"late"}, milliseconds(30));
  OpenAiChatOptions options;
  options.base_url = endpoint.url();
  options.model = "m";
  options.http.timeout = milliseconds(10);
  options.retry.attempts_max = 2;
  auto teacher = OpenAiChatTeacher::Create(options, std::nullopt, time_.Environment());
  ASSERT_TRUE(teacher.ok()) << teacher.status();
  EXPECT_EQ((*teacher)->Complete(Question(), {}).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(time_.sleeps.size(), 1u);
}

TEST_F(OpenAiChatTeacherTest, LongRetryAfterEndsTheCall) {
  FakeEndpoint endpoint([](int) { return CannedAnswer{429, "", {{"Retry-After", "86400"}}}; });
  const auto answer = Ask(endpoint.url());
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(endpoint.requests().size(), 1u);
  EXPECT_NE(answer.status().message().find("asks to wait 86400 s"), std::string::npos) << answer.status();
}

TEST_F(OpenAiChatTeacherTest, CancelledBetweenAttempts) {
  std::atomic<bool> cancelled{false};
  FakeEndpoint endpoint([&cancelled](int) {
    cancelled = true;
    return CannedAnswer{500, "", {}};
  });
  CallLimits limits;
  limits.cancelled = [&cancelled] { return cancelled.load(); };
  EXPECT_EQ(Ask(endpoint.url(), limits).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(OpenAiChatTeacherTest, RefusesBeforeSending) {
  FakeEndpoint endpoint([](int) { return CannedAnswer{200, kGood, {}}; });
  OpenAiChatOptions options;
  options.base_url = endpoint.url();
  options.model = "m";
  options.top_logprobs_max = 20;
  auto teacher = OpenAiChatTeacher::Create(options, std::nullopt, time_.Environment());
  ASSERT_TRUE(teacher.ok()) << teacher.status();
  CompletionRequest request = Question();
  request.sampling.top_logprobs = 21;
  EXPECT_EQ((*teacher)->Complete(request, {}).status().code(), absl::StatusCode::kInvalidArgument);
  request = Question();
  request.messages.clear();
  EXPECT_EQ((*teacher)->Complete(request, {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(endpoint.requests().empty());
  EXPECT_EQ((*teacher)->identity().endpoint, endpoint.url());
  EXPECT_EQ((*teacher)->identity().top_logprobs_max, 20);
}

TEST_F(OpenAiChatTeacherTest, CreateChecksItsOptions) {
  const auto code = [](auto change, bool with_key) {
    OpenAiChatOptions options;
    options.base_url = "https://example.com/v1";
    options.model = "m";
    change(options);
    std::optional<ApiKey> key;
    if (with_key) key = TestKey();
    return OpenAiChatTeacher::Create(options, std::move(key)).status().code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](OpenAiChatOptions&) {}, true), absl::StatusCode::kOk);
  EXPECT_EQ(code([](OpenAiChatOptions& o) { o.base_url = "http://example.com"; }, true), kInvalid);
  EXPECT_EQ(code([](OpenAiChatOptions& o) { o.base_url = "http://example.com"; }, false),
            absl::StatusCode::kOk);
  EXPECT_EQ(code([](OpenAiChatOptions& o) { o.base_url = "example.com"; }, false), kInvalid);
  EXPECT_EQ(code([](OpenAiChatOptions& o) { o.model = ""; }, false), kInvalid);
  EXPECT_EQ(code([](OpenAiChatOptions& o) { o.model = "m\xFF"; }, false), kInvalid);
  EXPECT_EQ(code([](OpenAiChatOptions& o) { o.top_logprobs_max = 65; }, false), kInvalid);
  EXPECT_EQ(code([](OpenAiChatOptions& o) { o.retry.attempts_max = 0; }, false), kInvalid);
}

// Certificates are made once per test run, as no test may depend on a date in a checked-in file.
class TlsTest : public OpenAiChatTeacherTest {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("teacher_tls_test." + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test "
        "-addext subjectAltName=IP:127.0.0.1 -keyout " +
        Key() + " -out " + Certificate() + " 2>/dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string Certificate() const { return folder_ / "cert.pem"; }
  std::string Key() const { return folder_ / "key.pem"; }

  absl::StatusOr<HttpResponse> Post(const std::string& url, const std::string& authorities) {
    HttpClientOptions options;
    options.authorities_file = authorities;
    HttpClient client(options);
    HttpRequest request;
    request.url = url;
    return client.Post(request, {});
  }
  std::filesystem::path folder_;
};

TEST_F(TlsTest, VerifiesTheCertificate) {
  FakeEndpoint endpoint([](int) { return CannedAnswer{200, kGood, {}}; }, Certificate(), Key());
  EXPECT_TRUE(Post(endpoint.url(), Certificate()).ok()) << Post(endpoint.url(), Certificate()).status();
  EXPECT_EQ(Post(endpoint.url(), "").status().code(),
            absl::StatusCode::kFailedPrecondition);  // unknown authority
  std::string other_name = endpoint.url();
  other_name.replace(other_name.find("127.0.0.1"), 9, "localhost");
  EXPECT_EQ(Post(other_name, Certificate()).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Post(endpoint.url(), folder_ / "missing.pem").status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Ask(endpoint.url()).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(time_.sleeps.empty());  // waiting does not make it trusted
  EXPECT_EQ(endpoint.requests().size(), 1u);
}

}  // namespace
}  // namespace retort::teacher
