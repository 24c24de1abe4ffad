#include "services/gateway/connect_call.h"

#include <gtest/gtest.h>

#include "retort/jobs/v1/jobs.pb.h"
#include "services/gateway/envelope.h"
#include "services/gateway/gzip.h"

namespace retort::services::gateway {
namespace {

using absl::StatusCode;

constexpr char kService[] = "/retort.jobs.v1.JobsService/";

class ConnectCallTest : public testing::Test {
 protected:
  static std::variant<CallPlan, Refusal> Read(const std::string& method, const std::string& target,
                                              Headers headers) {
    static const MethodTable table = *MethodTable::Make({"retort.jobs.v1.JobsService"});
    RequestHead head;
    head.method = method;
    head.target = target;
    head.headers = std::move(headers);
    return ReadCall(head, table);
  }
  static CallPlan Plan(const std::string& method, const std::string& target, Headers headers) {
    auto read = Read(method, kService + target, std::move(headers));
    const auto* refusal = std::get_if<Refusal>(&read);
    EXPECT_EQ(refusal, nullptr) << target << ": " << refusal->http_status << refusal->text << refusal->error;
    return refusal == nullptr ? std::get<CallPlan>(read) : CallPlan();
  }
  static Refusal Refused(const std::string& method, const std::string& target, Headers headers) {
    auto read = Read(method, target, std::move(headers));
    EXPECT_TRUE(std::holds_alternative<Refusal>(read)) << target;
    return std::holds_alternative<Refusal>(read) ? std::get<Refusal>(read) : Refusal();
  }
  static int HttpStatus(const std::string& method, const std::string& target, Headers headers) {
    return Refused(method, kService + target, std::move(headers)).http_status;
  }
  static StatusCode Code(const std::string& method, const std::string& target, Headers headers) {
    return Refused(method, kService + target, std::move(headers)).error.code();
  }
};

const Headers kJson = {{"content-type", "application/json"}};
const Headers kJsonStream = {{"content-type", "application/connect+json"}};

Headers With(Headers headers, const std::string& name, const std::string& value) {
  headers.emplace_back(name, value);
  return headers;
}

TEST_F(ConnectCallTest, TheContentTypeSaysHow) {
  const CallPlan json = Plan("POST", "CreateJob", kJson);
  EXPECT_EQ(
      json.method,
      jobs::v1::Job::descriptor()->file()->FindServiceByName("JobsService")->FindMethodByName("CreateJob"));
  EXPECT_EQ(json.codec, Codec::kJson);
  EXPECT_FALSE(json.streaming);
  EXPECT_EQ(Plan("POST", "CreateJob", {{"content-type", "application/proto"}}).codec, Codec::kProto);
  EXPECT_EQ(Plan("POST", "CreateJob", {{"content-type", "Application/JSON; charset=UTF-8"}}).codec,
            Codec::kJson);
  EXPECT_TRUE(Plan("POST", "WatchJob", kJsonStream).streaming);
  EXPECT_EQ(Plan("POST", "WatchJob", {{"content-type", "application/connect+proto"}}).codec, Codec::kProto);
}

TEST_F(ConnectCallTest, StatusesOfHttp) {
  EXPECT_EQ(Refused("POST", "/no.such.Service/Method", kJson).http_status, 404);
  EXPECT_EQ(Refused("POST", "/", kJson).http_status, 404);
  EXPECT_EQ(Refused("POST", "/prefix/retort.jobs.v1.JobsService/GetJob", kJson).http_status, 404);
  EXPECT_EQ(HttpStatus("POST", "GetJob/", kJson), 404);
  EXPECT_EQ(HttpStatus("POST", "Get%4aob", kJson), 404);
  EXPECT_EQ(HttpStatus("DELETE", "GetJob", kJson), 405);
  EXPECT_EQ(HttpStatus("GET", "CreateJob?encoding=json&message=%7B%7D", {}), 405);  // it has side effects
  EXPECT_EQ(HttpStatus("GET", "WatchJob?encoding=json&message=%7B%7D", {}), 405);   // it streams
  EXPECT_EQ(HttpStatus("HEAD", "GetJob?encoding=json&message=%7B%7D", {}), 405);
  for (const char* type :
       {"", "text/plain", "application/foo", "application/x-www-form-urlencoded", "application/grpc",
        "application/connect+json", "application/json; charset=utf-16", "application/"}) {
    EXPECT_EQ(HttpStatus("POST", "GetJob", {{"content-type", type}}), 415) << type;
  }
  EXPECT_EQ(HttpStatus("POST", "GetJob", {}), 415);
  EXPECT_EQ(HttpStatus("POST", "GetJob", With(kJson, "content-type", "application/proto")), 415);
  EXPECT_EQ(HttpStatus("POST", "WatchJob", kJson), 415);
  EXPECT_EQ(HttpStatus("GET", "GetJob?encoding=xml&message=%7B%7D", {}), 415);
  EXPECT_EQ(HttpStatus("GET", "GetJob?message=%7B%7D", {}), 415);
  EXPECT_EQ(ValueOf(Refused("DELETE", std::string(kService) + "GetJob", {}).headers, "allow"), "GET, POST");
  EXPECT_EQ(ValueOf(Refused("PUT", std::string(kService) + "CreateJob", {}).headers, "allow"), "POST");
  EXPECT_EQ(ValueOf(Refused("POST", std::string(kService) + "WatchJob", {}).headers, "accept-post"),
            "application/connect+json, application/connect+proto");
}

TEST_F(ConnectCallTest, TimeoutsAreOneToTenDigits) {
  EXPECT_FALSE(Plan("POST", "GetJob", kJson).timeout.has_value());
  EXPECT_EQ(Plan("POST", "GetJob", With(kJson, "connect-timeout-ms", "0")).timeout->count(), 0);
  EXPECT_EQ(Plan("POST", "GetJob", With(kJson, "connect-timeout-ms", "9999999999")).timeout->count(),
            9999999999);
  for (const char* text : {"", "-1", "1.5", "+1", "10000000000", "1s", " 1", "0x1"}) {
    EXPECT_EQ(Code("POST", "GetJob", With(kJson, "connect-timeout-ms", text)), StatusCode::kInvalidArgument)
        << text;
  }
}

TEST_F(ConnectCallTest, TheVersionIsOneOrLeftOut) {
  Plan("POST", "GetJob", With(kJson, "connect-protocol-version", "1"));
  EXPECT_EQ(Code("POST", "GetJob", With(kJson, "connect-protocol-version", "2")),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(Code("POST", "GetJob", With(kJson, "connect-protocol-version", "")),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(Code("GET", "GetJob?connect=v2&encoding=json&message=%7B%7D", {}), StatusCode::kInvalidArgument);
}

TEST_F(ConnectCallTest, CompressionIsGzipOrNone) {
  const CallPlan plain = Plan("POST", "GetJob", kJson);
  EXPECT_FALSE(plain.request_gzip || plain.response_gzip);
  const CallPlan both = Plan("POST", "GetJob", With(kJson, "content-encoding", "gzip"));
  EXPECT_TRUE(both.request_gzip && both.response_gzip);  // what it sends it takes
  EXPECT_TRUE(
      Plan("POST", "GetJob", With(kJson, "accept-encoding", "br, gzip;q=0.5, identity")).response_gzip);
  EXPECT_FALSE(Plan("POST", "GetJob", With(kJson, "accept-encoding", "identity, gzip")).response_gzip);
  EXPECT_FALSE(Plan("POST", "GetJob", With(kJson, "accept-encoding", "gzip;q=0")).response_gzip);
  EXPECT_FALSE(Plan("POST", "GetJob", With(kJson, "accept-encoding", "br")).response_gzip);
  EXPECT_TRUE(Plan("POST", "WatchJob", With(kJsonStream, "connect-accept-encoding", "gzip")).response_gzip);
  EXPECT_FALSE(Plan("POST", "WatchJob", With(kJsonStream, "accept-encoding", "gzip")).response_gzip);
  const Refusal unknown =
      Refused("POST", std::string(kService) + "GetJob", With(kJson, "content-encoding", "zstd"));
  EXPECT_EQ(unknown.error.code(), StatusCode::kUnimplemented);
  EXPECT_NE(unknown.error.message().find("gzip"), std::string::npos);  // the supported ones are listed
  const Refusal stream = Refused("POST", std::string(kService) + "WatchJob",
                                 With(kJsonStream, "connect-content-encoding", "br"));
  EXPECT_EQ(stream.error.code(), StatusCode::kUnimplemented);
  EXPECT_TRUE(stream.streaming);  // told as the end of a stream
}

TEST_F(ConnectCallTest, GetCarriesTheMessageInTheQuery) {
  const CallPlan plan =
      Plan("GET", "GetJob?connect=v1&encoding=json&message=%7B%22name%22%3A%22n%22%7D&utm=1", {});
  EXPECT_TRUE(plan.get);
  jobs::v1::GetJobRequest want;
  want.set_name("n");
  EXPECT_EQ(*RequestOf(plan, "", 100), want.SerializeAsString());
  EXPECT_EQ(*RequestOf(Plan("GET", "GetJob?encoding=proto&base64=1&message=CgFu", {}), "", 100),
            want.SerializeAsString());
  EXPECT_EQ(Code("GET", "GetJob?encoding=json", {}), StatusCode::kInvalidArgument);
  EXPECT_EQ(Code("GET", "GetJob?encoding=json&message=%", {}), StatusCode::kInvalidArgument);
  EXPECT_EQ(Code("GET", "GetJob?encoding=json&message=*&base64=1", {}), StatusCode::kInvalidArgument);
  EXPECT_EQ(Code("GET", "GetJob?encoding=json&message=&compression=br", {}), StatusCode::kUnimplemented);
}

TEST_F(ConnectCallTest, AGetMayBeCompressed) {
  std::string message;
  for (const unsigned char c : Gzip(R"({"name":"n"})")) {
    char digits[4];
    snprintf(digits, sizeof(digits), "%%%02x", c);
    message += digits;
  }
  const auto request =
      RequestOf(Plan("GET", "GetJob?encoding=json&compression=gzip&message=" + message, {}), "", 100);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(*request, "\n\1n");
}

TEST_F(ConnectCallTest, BodiesAreBoundedBeforeAndAfterDecompression) {
  const CallPlan plan = Plan("POST", "GetJob", With(kJson, "content-encoding", "gzip"));
  EXPECT_EQ(*RequestOf(plan, Gzip(R"({"name":"n"})"), 100), "\n\1n");
  EXPECT_EQ(RequestOf(plan, Gzip(std::string(101, ' ')), 100).status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(RequestOf(plan, "{}", 100).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(RequestOf(Plan("POST", "GetJob", kJson), std::string(101, ' '), 100).status().code(),
            StatusCode::kResourceExhausted);
  // Nothing is not decompressed (specification, "Unary-Request"): no message of protobuf is the empty one.
  EXPECT_EQ(*RequestOf(
                Plan("POST", "GetJob", {{"content-type", "application/proto"}, {"content-encoding", "gzip"}}),
                "", 100),
            "");
}

TEST_F(ConnectCallTest, AStreamHoldsOneEnvelope) {
  const CallPlan plan = Plan("POST", "WatchJob", With(kJsonStream, "connect-content-encoding", "gzip"));
  EXPECT_EQ(*RequestOf(plan, MakeEnvelope(0, R"({"name":"n"})"), 100), "\n\1n");
  EXPECT_EQ(*RequestOf(plan, MakeEnvelope(kCompressedFlag, Gzip(R"({"name":"n"})")), 100), "\n\1n");
  const CallPlan plain = Plan("POST", "WatchJob", kJsonStream);
  EXPECT_EQ(RequestOf(plain, MakeEnvelope(kCompressedFlag, Gzip("{}")), 100).status().code(),
            StatusCode::kInternal);
  EXPECT_EQ(RequestOf(plain, "", 100).status().code(), StatusCode::kUnimplemented);
  EXPECT_EQ(RequestOf(plain, "{}", 100).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(ConnectCallTest, EveryMethodThatIsLinkedIsServed) {
  const auto table = MethodTable::Make({"retort.jobs.v1.JobsService"});
  ASSERT_TRUE(table.ok());
  const auto* service = jobs::v1::Job::descriptor()->file()->FindServiceByName("JobsService");
  EXPECT_EQ(table->size(), static_cast<size_t>(service->method_count()));
  EXPECT_EQ(MethodTable::Make({"no.such.Service"}).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace retort::services::gateway
