#include "services/gateway/gateway.h"

#include <nlohmann/json.hpp>

#include "services/edge/status.h"
#include "services/gateway/envelope.h"
#include "services/gateway/gzip.h"
#include "services/identity/forwarded_identity.h"
#include "services/identity/peer.h"
#include "services/telemetry/call_telemetry.h"
#include "services/telemetry/metrics.h"
#include "tests/services/gateway/gateway_fixture.h"

namespace retort::services::gateway {
namespace {

using nlohmann::json;

constexpr char kJson[] = "application/json";
constexpr char kJsonStream[] = "application/connect+json";

class GatewayTest : public GatewayFixture {};

// The messages of a stream, the last of which ends it.
std::vector<std::pair<int, std::string>> Envelopes(std::string_view body) {
  std::vector<std::pair<int, std::string>> found;
  while (body.size() >= kEnvelopeHeadBytes) {
    size_t length = 0;
    for (size_t i = 1; i < kEnvelopeHeadBytes; ++i) length = length << 8 | static_cast<uint8_t>(body[i]);
    found.emplace_back(body[0], body.substr(kEnvelopeHeadBytes, length));
    body.remove_prefix(kEnvelopeHeadBytes + found.back().second.size());
  }
  EXPECT_TRUE(body.empty());
  return found;
}

TEST_F(GatewayTest, AnswersAUnaryCallInTheFormItCameIn) {
  Serve();
  const HttpResponse json = Ask(Post(port(), kGetJob, kJson, kName));
  EXPECT_EQ(json.status, 200);
  EXPECT_EQ(json.header("content-type"), kJson);
  EXPECT_EQ(json.header("cache-control"), "no-store");
  EXPECT_EQ(json.body, kName);
  const HttpResponse proto = Ask(Post(port(), kGetJob, "application/proto", "\n\x11projects/p/jobs/j"));
  EXPECT_EQ(proto.status, 200);
  EXPECT_EQ(proto.header("content-type"), "application/proto");
  EXPECT_EQ(proto.body, "\n\x11projects/p/jobs/j");
}

TEST_F(GatewayTest, AnswersAGetOfAMethodWithoutSideEffects) {
  Serve();
  const HttpResponse got = Ask(
      Get(port(), std::string(kGetJob) +
                      "?connect=v1&encoding=json&message=%7B%22name%22%3A%22projects%2Fp%2Fjobs%2Fj%22%7D"));
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.body, kName);
  EXPECT_EQ(Ask(Get(port(), std::string(kCreateJob) + "?encoding=json&message=%7B%7D")).status, 405);
}

TEST_F(GatewayTest, CompressesBothWays) {
  Serve();
  const HttpResponse response =
      Ask(Post(port(), kGetJob, kJson, Gzip(kName), "Content-Encoding: gzip\r\nAccept-Encoding: gzip\r\n"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.header("content-encoding"), "gzip");
  EXPECT_EQ(*Gunzip(response.body, 1000), kName);
}

TEST_F(GatewayTest, RefusesAnUnknownField) {
  Serve();
  const HttpResponse response = Ask(Post(port(), kGetJob, kJson, R"({"nmae":"projects/p/jobs/j"})"));
  EXPECT_EQ(response.status, 400);
  const json error = json::parse(response.body);
  EXPECT_EQ(error["code"], "invalid_argument");
  EXPECT_NE(error["message"].get<std::string>().find("nmae"), std::string::npos);
  EXPECT_EQ(error["details"][0]["type"], "google.rpc.ErrorInfo");
  EXPECT_EQ(jobs_.calls, 0);
}

TEST_F(GatewayTest, ErrorsOfTheServiceKeepCodeMessageAndReason) {
  jobs_.get = [](auto&, const auto&, auto&) {
    return ToGrpcStatus(WithReason(absl::NotFoundError("no such job"), NOT_FOUND, {{"name", "j"}}));
  };
  Serve();
  const HttpResponse response = Ask(Post(port(), kGetJob, "application/proto", "\n\x11projects/p/jobs/j"));
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.header("content-type"), kJson);  // also of a call in protobuf
  const json error = json::parse(response.body);
  EXPECT_EQ(error["code"], "not_found");
  EXPECT_EQ(error["message"], "no such job");
  EXPECT_EQ(error["details"][0]["debug"]["reason"], "NOT_FOUND");
  EXPECT_EQ(response.header("trailer-grpc-status-details-bin"), "");
}

TEST_F(GatewayTest, MetadataGoBothWays) {
  std::multimap<std::string, std::string> seen;
  jobs_.get = [&seen](grpc::ServerContext& context, const auto&, auto&) {
    for (const auto& [name, value] : context.client_metadata())
      seen.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
    context.AddInitialMetadata("x-answer", "yes");
    context.AddTrailingMetadata("x-cost", "7");
    context.AddTrailingMetadata("x-raw-bin", std::string("\0\1", 2));
    return grpc::Status::OK;
  };
  Serve();
  const HttpResponse response = Ask(Post(
      port(), kGetJob, kJson, kName, "X-Question: a\r\nX-Question: b\r\nX-Raw-Bin: AAE=\r\nCookie: c\r\n"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.header("x-answer"), "yes");
  EXPECT_EQ(response.header("trailer-x-cost"), "7");
  EXPECT_EQ(response.header("trailer-x-raw-bin"), "AAE");
  EXPECT_EQ(seen.count("x-question"), 2u);
  EXPECT_EQ(seen.find("x-raw-bin")->second, std::string("\0\1", 2));
  EXPECT_EQ(seen.count("cookie"), 0u);
}

// Who calls.

TEST_F(GatewayTest, TheServiceSeesTheCallerOfTheGateway) {
  jobs_.get = [](grpc::ServerContext& context, const auto&, auto& job) {
    job.set_name(CallerOf(context));
    return grpc::Status::OK;
  };
  Serve();
  EXPECT_EQ(json::parse(Ask(Post(port(), kGetJob, kJson, kName)).body)["name"], kClient);
}

TEST_F(GatewayTest, AnHttpClientCannotSayWhoItIs) {
  jobs_.get = [](grpc::ServerContext& context, const auto&, auto& job) {
    job.set_name(CallerOf(context));
    EXPECT_EQ(context.client_metadata().count(kForwardedIdentityHeader), 1u);
    EXPECT_EQ(context.client_metadata().count(kForwardedSecretHeader), 1u);
    return grpc::Status::OK;
  };
  Serve();
  const HttpResponse response =
      Ask(Post(port(), kGetJob, kJson, kName,
               "Retort-Forwarded-Identity: spiffe://dev.retort.invalid/server\r\nRETORT-FORWARDED-SECRET: " +
                   ForwardedSecret() + "\r\n"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(json::parse(response.body)["name"], kClient);
}

TEST_F(GatewayTest, ANetworkPeerWithTheRightSecretGainsNothing) {
  std::string caller;
  jobs_.get = [&caller](grpc::ServerContext& context, const auto&, auto&) {
    caller = CallerOf(context);
    return grpc::Status::OK;
  };
  const auto channel = ConnectTo("127.0.0.1:" + std::to_string(server_->port()), Paths("client"));
  ASSERT_TRUE(channel.ok()) << channel.status();
  grpc::ClientContext context;
  SetDeadline(context, std::chrono::seconds(10));
  context.AddMetadata(kForwardedIdentityHeader, "spiffe://dev.retort.invalid/server");
  context.AddMetadata(kForwardedSecretHeader, ForwardedSecret());
  jobs::v1::GetJobRequest request;
  request.set_name("projects/p/jobs/j");
  jobs::v1::Job job;
  const auto status = jobs::v1::JobsService::NewStub(*channel)->GetJob(&context, request, &job);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(caller, kClient);
}

TEST_F(GatewayTest, InProcessWithoutTheSecretNobodyCalls) {
  const auto stub = jobs::v1::JobsService::NewStub(server_->InProcessChannel());
  for (const std::string& secret : {std::string(), std::string(64, '0'), ForwardedSecret() + "0"}) {
    grpc::ClientContext context;
    context.AddMetadata(kForwardedIdentityHeader, kClient);
    if (!secret.empty()) context.AddMetadata(kForwardedSecretHeader, secret);
    jobs::v1::GetJobRequest request;
    request.set_name("projects/p/jobs/j");
    jobs::v1::Job job;
    EXPECT_EQ(stub->GetJob(&context, request, &job).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  }
  EXPECT_EQ(jobs_.calls, 0);
}

TEST_F(GatewayTest, AStrangerIsRefusedBeforeTheBodyIsRead) {
  options_.own_identity = "spiffe://dev.retort.invalid/stranger";
  Serve();
  HttpPeer peer(port());
  // All of the head and nothing of the body.
  peer.Send("POST " + std::string(kGetJob) + " HTTP/1.1\r\nHost: localhost:" + std::to_string(port()) +
            "\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n");
  const HttpResponse response = peer.Read();
  EXPECT_EQ(response.status, 403);
  EXPECT_EQ(json::parse(response.body)["code"], "permission_denied");
  // A stream is told so in its own form, and what exists is not told at all.
  const HttpResponse stream = Ask(Post(port(), kWatchJob, kJsonStream, MakeEnvelope(0, kName)));
  EXPECT_EQ(stream.status, 200);
  EXPECT_EQ(json::parse(Envelopes(stream.body).at(0).second)["error"]["code"], "permission_denied");
  EXPECT_EQ(Ask(Post(port(), "/no.such/Method", kJson, "{}")).status, 403);
  EXPECT_EQ(jobs_.calls, 0);
}

TEST_F(GatewayTest, TheGuardDecidesAboutTheProjectToo) {
  access_->Write("trust_domain: dev.retort.invalid\ngrants:\n  - {identity: " + std::string(kClient) +
                 ", roles: [viewer], projects: [other]}\n");
  ASSERT_EQ(access_->file().Refresh(), absl::OkStatus());
  Serve();
  const HttpResponse response = Ask(Post(port(), kGetJob, kJson, kName));
  EXPECT_EQ(response.status, 403);
  EXPECT_EQ(json::parse(response.body)["details"][0]["debug"]["reason"], "PERMISSION_DENIED");
  EXPECT_EQ(jobs_.calls, 0);
}

TEST_F(GatewayTest, ItsCallsAreCountedAsAnyOther) {
  Metrics metrics({.version = "1", .commit = "c"});
  auto server = EdgeServer::Start(
      {.listen = "127.0.0.1:0",
       .tls = Paths("server"),
       .access = access_->guard(),
       .telemetry = MakeCallTelemetry({.metrics = &metrics, .methods = MethodsOf({kJobs})})},
      {{&jobs_, kJobs}});
  ASSERT_TRUE(server.ok()) << server.status();
  options_.channel = (*server)->InProcessChannel();
  Serve();
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJson, kName)).status, 200);
  gateway_.reset();  // after which the call has ended on every side
  options_.channel.reset();
  (*server)->Drain(std::chrono::seconds(10));
  const std::string wanted =
      std::string("retort_rpc_server_call_duration_seconds_count{grpc_code=\"OK\",grpc_method=\"") + kGetJob +
      "\"} 1";
  EXPECT_NE(metrics.Text().find(wanted), std::string::npos) << metrics.Text();
}

// HTTP.

TEST_F(GatewayTest, RefusesWhatIsNotOfTheProtocol) {
  Serve();
  EXPECT_EQ(Ask(Post(port(), "/no.such.Service/Method", kJson, "{}")).status, 404);
  EXPECT_EQ(Ask(Post(port(), kGetJob, "text/plain", kName)).status, 415);
  EXPECT_EQ(Ask("DELETE " + std::string(kGetJob) + " HTTP/1.1\r\nHost: localhost:" + std::to_string(port()) +
                "\r\n\r\n")
                .status,
            405);
  EXPECT_EQ(Ask("GET / HTTP/1.0\r\n\r\n").status, 505);
  EXPECT_EQ(Ask("GET / HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(Ask("\r\n\x16\x03\x01 nonsense\r\n\r\n").status, 400);
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJson, kName, "Expect: magic\r\n")).status, 417);
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJson, kName, "Content-Encoding: br\r\n")).status, 501);
  EXPECT_EQ(jobs_.calls, 0);
}

TEST_F(GatewayTest, AConnectionServesOneRequestAfterAnother) {
  Serve();
  HttpPeer peer(port());
  const std::string one = Post(port(), kGetJob, kJson, kName);
  // Pipelined, and among them refusals that leave the connection usable.
  peer.Send(one + Post(port(), "/no.such/Method", kJson, "") + one + Get(port(), "/") + one);
  for (const int status : {200, 404, 200, 404, 200}) EXPECT_EQ(peer.Read().status, status);
  peer.Send(Post(port(), kGetJob, kJson, kName, "Connection: close\r\n"));
  EXPECT_EQ(peer.Read().header("connection"), "close");
  EXPECT_TRUE(peer.IsClosed());
}

TEST_F(GatewayTest, SaysContinueToAClientThatWaits) {
  Serve();
  HttpPeer peer(port());
  const std::string request = Post(port(), kGetJob, kJson, kName, "Expect: 100-continue\r\n");
  peer.Send(request.substr(0, request.size() - strlen(kName)));
  EXPECT_EQ(peer.Read().status, 100);
  peer.Send(kName);
  EXPECT_EQ(peer.Read().body, kName);
}

TEST_F(GatewayTest, OnlyThisMachinesNamesAreServedWithoutTls) {
  Serve();
  const std::string request = Post(port(), kGetJob, kJson, kName);
  std::string rebound = request;
  rebound.replace(rebound.find("localhost"), 9, "evil.example");
  EXPECT_EQ(Ask(rebound).status, 403);
  EXPECT_EQ(Ask(request).status, 200);
  EXPECT_EQ(jobs_.calls, 1);
}

TEST_F(GatewayTest, PagesCallOnlyFromListedOrigins) {
  options_.origins = {"https://console.example"};
  Serve();
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJson, kName, "Origin: https://evil.example\r\n")).status, 403);
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJson, kName, "Origin: null\r\n")).status, 403);
  EXPECT_EQ(jobs_.calls, 0);
  const HttpResponse allowed =
      Ask(Post(port(), kGetJob, kJson, kName, "Origin: https://console.example\r\n"));
  EXPECT_EQ(allowed.status, 200);
  EXPECT_EQ(allowed.header("access-control-allow-origin"), "https://console.example");
  const std::string preflight = "OPTIONS " + std::string(kGetJob) +
                                " HTTP/1.1\r\nHost: localhost:" + std::to_string(port()) +
                                "\r\nAccess-Control-Request-Method: POST\r\nOrigin: ";
  const HttpResponse asked = Ask(preflight + "https://console.example\r\n\r\n");
  EXPECT_EQ(asked.status, 204);
  EXPECT_NE(asked.header("access-control-allow-headers").find("Connect-Timeout-Ms"), std::string::npos);
  EXPECT_EQ(Ask(preflight + "https://evil.example\r\n\r\n").status, 403);
}

// Streams.

TEST_F(GatewayTest, AStreamEndsWithItsStatusAndTrailers) {
  jobs_.watch = [](grpc::ServerContext& context, auto& writer) {
    context.AddInitialMetadata("x-began", "yes");
    context.AddTrailingMetadata("x-cost", "7");
    for (const char* event : {"one", "two"}) {
      jobs::v1::WatchJobResponse response;
      response.set_event(event);
      writer.Write(response);
    }
    return ToGrpcStatus(absl::OutOfRangeError("too old"));
  };
  Serve();
  const HttpResponse response = Ask(Post(port(), kWatchJob, kJsonStream, MakeEnvelope(0, kName)));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.header("content-type"), kJsonStream);
  EXPECT_EQ(response.header("x-began"), "yes");
  EXPECT_EQ(response.header("x-accel-buffering"), "no");
  const auto envelopes = Envelopes(response.body);
  ASSERT_EQ(envelopes.size(), 3u);
  EXPECT_EQ(envelopes[0], (std::pair<int, std::string>(0, R"({"event":"one"})")));
  EXPECT_EQ(envelopes[1], (std::pair<int, std::string>(0, R"({"event":"two"})")));
  EXPECT_EQ(envelopes[2].first, kEndStreamFlag);
  const json end = json::parse(envelopes[2].second);
  EXPECT_EQ(end["error"]["code"], "out_of_range");
  EXPECT_EQ(end["metadata"]["x-cost"], json::array({"7"}));
}

TEST_F(GatewayTest, AStreamAlwaysBeginsWithItsHead) {
  jobs_.watch = [](grpc::ServerContext& context, auto& writer) {
    context.AddInitialMetadata("x-began", "yes");
    jobs::v1::WatchJobResponse response;
    response.set_event("one");
    writer.Write(response);
    return grpc::Status::OK;
  };
  Serve();
  // Metadata and message come together, and on different threads: often enough to see them in either order.
  HttpPeer peer(port());
  const std::string request = Post(port(), kWatchJob, kJsonStream, MakeEnvelope(0, kName));
  for (int i = 0; i < 2000; ++i) {
    peer.Send(request);
    const HttpResponse response = peer.Read();
    ASSERT_EQ(response.status, 200) << i;
    ASSERT_EQ(response.header("x-began"), "yes") << i;
    ASSERT_EQ(response.body, MakeEnvelope(0, R"({"event":"one"})") + MakeEnvelope(kEndStreamFlag, "{}")) << i;
  }
}

TEST_F(GatewayTest, AStreamIsCompressedMessageByMessage) {
  jobs_.watch = [](auto&, auto& writer) {
    jobs::v1::WatchJobResponse response;
    response.set_event("one");
    writer.Write(response);
    return grpc::Status::OK;
  };
  Serve();
  const HttpResponse response =
      Ask(Post(port(), kWatchJob, "application/connect+proto",
               MakeEnvelope(kCompressedFlag, Gzip("\n\x11projects/p/jobs/j")),
               "Connect-Content-Encoding: gzip\r\nConnect-Accept-Encoding: gzip\r\n"));
  EXPECT_EQ(response.header("connect-content-encoding"), "gzip");
  const auto envelopes = Envelopes(response.body);
  ASSERT_EQ(envelopes.size(), 2u);
  EXPECT_EQ(envelopes[0].first, kCompressedFlag);
  EXPECT_EQ(*Gunzip(envelopes[0].second, 100), "\x1a\3one");
  EXPECT_EQ(envelopes[1].second, "{}");
}

TEST_F(GatewayTest, ErrorsOfARequestForAStreamEndIt) {
  Serve();
  for (const auto& [body, code] : {std::pair<std::string, std::string>{"", "unimplemented"},
                                   {MakeEnvelope(0, kName) + MakeEnvelope(0, kName), "unimplemented"},
                                   {MakeEnvelope(0, "{"), "invalid_argument"},
                                   {MakeEnvelope(kCompressedFlag, "x"), "internal"}}) {
    const HttpResponse response = Ask(Post(port(), kWatchJob, kJsonStream, body));
    EXPECT_EQ(response.status, 200);
    const auto envelopes = Envelopes(response.body);
    ASSERT_EQ(envelopes.size(), 1u) << code;
    EXPECT_EQ(envelopes[0].first, kEndStreamFlag);
    EXPECT_EQ(json::parse(envelopes[0].second)["error"]["code"], code);
  }
  EXPECT_EQ(jobs_.calls, 0);
}

TEST_F(GatewayTest, StartNamesWhatCannotBe) {
  const auto code = [this](const std::function<void(GatewayOptions&)>& change) {
    GatewayOptions options = options_;
    change(options);
    return Gateway::Start(std::move(options)).status().code();
  };
  EXPECT_EQ(code([](auto& o) { o.listen = "0.0.0.0:0"; }),
            absl::StatusCode::kInvalidArgument);  // without TLS
  EXPECT_EQ(code([](auto& o) { o.listen = "nowhere"; }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](auto& o) { o.origins = {"*"}; }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](auto& o) { o.own_identity = ""; }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](auto& o) { o.services = {"no.such.Service"}; }), absl::StatusCode::kNotFound);
  EXPECT_EQ(code([](auto& o) { o.access = nullptr; }), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code([](auto& o) { o.tls = TlsPaths{"/none", "/none", "/none"}; }), absl::StatusCode::kNotFound);
  Serve();
  EXPECT_EQ(code([this](auto& o) { o.listen = "127.0.0.1:" + std::to_string(port()); }),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace retort::services::gateway
