#include "teacher/http_client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "tests/teacher/fake_endpoint.h"

namespace retort::teacher {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

absl::StatusOr<HttpResponse> Ask(const std::string& url, HttpClientOptions options = {},
                                 const CallLimits& limits = {}) {
  HttpClient client(options);
  HttpRequest request;
  request.url = url;
  request.body = "{}";
  return client.Post(request, limits);
}

TEST(EndpointUrlTest, TakesUrlsApart) {
  const auto url = ParseEndpointUrl("HTTPS://Api.Example.com:8443/v1//");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->Origin(), "https://api.example.com:8443");
  EXPECT_EQ(url->path, "/v1");
  EXPECT_FALSE(url->IsLoopback());
  const auto bare = ParseEndpointUrl("http://[::1]");
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_EQ(bare->Origin(), "http://[::1]");
  EXPECT_EQ(bare->path, "");
  EXPECT_TRUE(bare->IsLoopback());
  EXPECT_TRUE(ParseEndpointUrl("http://127.1.2.3:80")->IsLoopback());
  EXPECT_TRUE(ParseEndpointUrl("http://localhost")->IsLoopback());
  EXPECT_FALSE(ParseEndpointUrl("http://127.example.org")->IsLoopback());
}

TEST(EndpointUrlTest, RefusesOtherUrls) {
  for (const char* bad :
       {"", "api.example.com", "ftp://example.com", "file:///etc/passwd", "http://", "http:///v1",
        "http://u:p@example.com", "http://example.com?key=1", "http://example.com/#x", "http://example.com:0",
        "http://example.com:65536", "http://example.com:", "http://example.com:8a", "http://exa mple.com",
        "http://example.com/\n", "http://example.com\\@x", "http://[::1", "http://::1",
        "http://ex%61mple.com"}) {
    EXPECT_EQ(ParseEndpointUrl(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(ParseEndpointUrl("http://user:secret@example.com").status().message().find("secret"),
            std::string::npos);
}

TEST(HttpClientTest, SendsExactBytesAndReturnsExactBytes) {
  FakeEndpoint endpoint([](int) {
    return CannedAnswer{200, std::string("a\0b\r\n\xFF", 6), {{"X-Thing", " spaced "}}};
  });
  HttpClient client({});
  HttpRequest request;
  const std::string body("{\"text\":\"\\u0000\"}");
  request.url = endpoint.url() + "/v1/chat/completions";
  request.headers = {{"Idempotency-Key", "abc"}};
  request.bearer = "sk-key";
  request.body = body;
  const auto response = client.Post(request, {});
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, std::string("a\0b\r\n\xFF", 6));
  EXPECT_EQ(response->Header("x-thing"), "spaced");
  EXPECT_EQ(response->Header("x-other"), std::nullopt);
  const auto seen = endpoint.requests();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].path, "/v1/chat/completions");
  EXPECT_EQ(seen[0].body, body);
  EXPECT_EQ(seen[0].headers.at("authorization"), "Bearer sk-key");
  EXPECT_EQ(seen[0].headers.at("idempotency-key"), "abc");
  EXPECT_EQ(seen[0].headers.at("content-type"), "application/json");
  EXPECT_EQ(seen[0].headers.count("expect"), 0u);
}

TEST(HttpClientTest, AnyStatusIsAResponse) {
  FakeEndpoint endpoint([](int n) {
    return CannedAnswer{n == 0 ? 503 : 302, "", {{"Location", "http://127.0.0.1:1/"}}};
  });
  EXPECT_EQ(Ask(endpoint.url())->status, 503);
  EXPECT_EQ(Ask(endpoint.url())->status, 302);  // not followed
  EXPECT_EQ(endpoint.requests().size(), 2u);
}

TEST(HttpClientTest, IgnoresProxiesOfTheEnvironment) {
  FakeEndpoint endpoint([](int) { return CannedAnswer{200, "{}", {}}; });
  setenv("http_proxy", ("http://127.0.0.1:" + std::to_string(ClosedPort())).c_str(), 1);
  setenv("ALL_PROXY", ("http://127.0.0.1:" + std::to_string(ClosedPort())).c_str(), 1);
  const auto direct = Ask(endpoint.url());
  unsetenv("http_proxy");
  unsetenv("ALL_PROXY");
  EXPECT_TRUE(direct.ok()) << direct.status();
}

TEST(HttpClientTest, UsesTheProxyThatIsNamed) {
  FakeEndpoint proxy([](int) { return CannedAnswer{200, "proxied", {}}; });
  HttpClientOptions options;
  options.proxy = proxy.url();
  const auto response = Ask("http://teacher.invalid/v1", options);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->body, "proxied");
}

TEST(HttpClientTest, CannotConnect) {
  EXPECT_EQ(Ask("http://127.0.0.1:" + std::to_string(ClosedPort())).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(HttpClientTest, ConnectionClosedWithoutAByte) {
  RawEndpoint endpoint({});
  EXPECT_EQ(Ask(endpoint.url()).status().code(), absl::StatusCode::kUnavailable);
}

TEST(HttpClientTest, ConnectionClosedHalfway) {
  RawEndpoint in_headers({"HTTP/1.1 200 OK\r\nContent-Le"});
  EXPECT_EQ(Ask(in_headers.url()).status().code(), absl::StatusCode::kUnavailable);
  RawEndpoint in_body({"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"choices\":"});
  EXPECT_EQ(Ask(in_body.url()).status().code(), absl::StatusCode::kUnavailable);
  RawEndpoint in_chunk({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"cho"});
  EXPECT_EQ(Ask(in_chunk.url()).status().code(), absl::StatusCode::kUnavailable);
}

TEST(HttpClientTest, AnswerThatIsNotHttp) {
  RawEndpoint endpoint({"SSH-2.0-OpenSSH_9.2\r\n\r\n"});
  EXPECT_EQ(Ask(endpoint.url()).status().code(), absl::StatusCode::kUnknown);
}

TEST(HttpClientTest, SlowDripEndsAtTheTimeout) {
  std::vector<std::string> drops = {"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"};
  drops.resize(1000, "x");
  RawEndpoint endpoint(drops, milliseconds(5));
  HttpClientOptions options;
  options.timeout = milliseconds(40);
  EXPECT_EQ(Ask(endpoint.url(), options).status().code(), absl::StatusCode::kDeadlineExceeded);
  CallLimits limits;
  limits.deadline = steady_clock::now() + milliseconds(40);
  EXPECT_EQ(Ask(endpoint.url(), {}, limits).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(HttpClientTest, PassedDeadlineSendsNothing) {
  RawEndpoint endpoint({});
  CallLimits limits;
  limits.deadline = steady_clock::now() - milliseconds(1);
  EXPECT_EQ(Ask(endpoint.url(), {}, limits).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(endpoint.connections(), 0);
}

TEST(HttpClientTest, CancelledWhileWaiting) {
  RawEndpoint endpoint({"never"}, std::chrono::minutes(5));
  std::atomic<int> looks{0};
  CallLimits limits;
  limits.cancelled = [&looks] { return ++looks > 2; };
  const auto start = steady_clock::now();
  EXPECT_EQ(Ask(endpoint.url(), {}, limits).status().code(), absl::StatusCode::kCancelled);
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(HttpClientTest, HugeBodyEndsAtTheBound) {
  HttpClientOptions options;
  options.response_bytes_max = 100'000;
  for (const size_t bytes : {100'000, 100'001}) {
    FakeEndpoint endpoint([bytes](int) { return CannedAnswer{200, std::string(bytes, 'x'), {}}; });
    const auto response = Ask(endpoint.url(), options);
    EXPECT_EQ(response.status().code(),
              bytes == 100'000 ? absl::StatusCode::kOk : absl::StatusCode::kUnknown);
  }
  RawEndpoint chunked({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" +
                       std::string(0x20000, 'x') + "\r\n0\r\n\r\n"});
  EXPECT_EQ(Ask(chunked.url(), options).status().code(), absl::StatusCode::kUnknown);
}

TEST(HttpClientTest, HugeHeadersEndAtTheBound) {
  std::string headers = "HTTP/1.1 200 OK\r\n";
  for (int i = 0; i < 80; ++i) headers += "X-Filler: " + std::string(1000, 'x') + "\r\n";
  RawEndpoint endpoint({headers + "Content-Length: 2\r\n\r\n{}"});
  EXPECT_EQ(Ask(endpoint.url()).status().code(), absl::StatusCode::kUnknown);
}

TEST(HttpClientTest, RefusesHeadersWithLineBreaks) {
  HttpClient client({});
  HttpRequest request;
  request.url = "http://127.0.0.1:1";
  request.headers = {{"X-A", "1\r\nX-B: 2"}};
  EXPECT_EQ(client.Post(request, {}).status().code(), absl::StatusCode::kInvalidArgument);
  request.headers.clear();
  request.bearer = "a\nb";
  EXPECT_EQ(client.Post(request, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(HttpClientTest, ManyThreadsShareOneClient) {
  FakeEndpoint endpoint([](int) { return CannedAnswer{200, "{}", {}}; });
  HttpClient client({});
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 10; ++j) {
        HttpRequest request;
        request.url = endpoint.url();
        request.body = "{}";
        good += client.Post(request, {}).ok() ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, 80);
  EXPECT_EQ(endpoint.requests().size(), 80u);
}

}  // namespace
}  // namespace retort::teacher
