#include "services/gateway/connect_error.h"

#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "services/edge/status.h"
#include "services/gateway/metadata.h"

namespace retort::services::gateway {
namespace {

using nlohmann::json;

// The table "Error Codes" of the Connect protocol, row by row.
TEST(ConnectErrorTest, EveryCodeHasItsNameAndHttpStatus) {
  const std::tuple<grpc::StatusCode, const char*, int> table[] = {
      {grpc::StatusCode::CANCELLED, "canceled", 499},
      {grpc::StatusCode::UNKNOWN, "unknown", 500},
      {grpc::StatusCode::INVALID_ARGUMENT, "invalid_argument", 400},
      {grpc::StatusCode::DEADLINE_EXCEEDED, "deadline_exceeded", 504},
      {grpc::StatusCode::NOT_FOUND, "not_found", 404},
      {grpc::StatusCode::ALREADY_EXISTS, "already_exists", 409},
      {grpc::StatusCode::PERMISSION_DENIED, "permission_denied", 403},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, "resource_exhausted", 429},
      {grpc::StatusCode::FAILED_PRECONDITION, "failed_precondition", 400},
      {grpc::StatusCode::ABORTED, "aborted", 409},
      {grpc::StatusCode::OUT_OF_RANGE, "out_of_range", 400},
      {grpc::StatusCode::UNIMPLEMENTED, "unimplemented", 501},
      {grpc::StatusCode::INTERNAL, "internal", 500},
      {grpc::StatusCode::UNAVAILABLE, "unavailable", 503},
      {grpc::StatusCode::DATA_LOSS, "data_loss", 500},
      {grpc::StatusCode::UNAUTHENTICATED, "unauthenticated", 401},
  };
  for (const auto& [code, name, http] : table) {
    EXPECT_EQ(ConnectCode(code), name);
    EXPECT_EQ(HttpStatusOf(code), http) << name;
  }
  for (const int other : {0, 17, -1, 1000}) {
    EXPECT_EQ(ConnectCode(other), "unknown");
    EXPECT_EQ(HttpStatusOf(other), 500);
  }
}

TEST(ConnectErrorTest, DetailsHaveTypeValueAndWhatTheySay) {
  const auto status =
      ToGrpcStatus(WithReason(absl::FailedPreconditionError("no"), POLICY_DENIED, {{"rule", "a/b"}}));
  const json error = json::parse(ErrorJson(status));
  EXPECT_EQ(error["code"], "failed_precondition");
  EXPECT_EQ(error["message"], "no");
  ASSERT_EQ(error["details"].size(), 1u);
  const json& detail = error["details"][0];
  EXPECT_EQ(detail["type"], "google.rpc.ErrorInfo");
  EXPECT_EQ(detail["debug"]["reason"], "POLICY_DENIED");
  google::rpc::ErrorInfo info;
  const std::string value = detail["value"];
  EXPECT_EQ(value.find('='), std::string::npos);
  ASSERT_TRUE(info.ParseFromString(*DecodeBase64(value)));
  EXPECT_EQ(info.metadata().at("rule"), "a/b");
}

TEST(ConnectErrorTest, ADetailOfAnUnknownTypeHasNoDebug) {
  google::rpc::Status rich;
  rich.set_code(5);
  auto* any = rich.add_details();
  any->set_type_url("type.googleapis.com/no.such.Type");
  any->set_value("\1");
  const json error = json::parse(ErrorJson({grpc::StatusCode::NOT_FOUND, "", rich.SerializeAsString()}));
  EXPECT_EQ(error.dump(), R"({"code":"not_found","details":[{"type":"no.such.Type","value":"AQ"}]})");
}

TEST(ConnectErrorTest, DetailsThatAreNoneAreLeftOut) {
  EXPECT_EQ(ErrorJson({grpc::StatusCode::INTERNAL, "m", "\xff\xff\xff"}),
            R"({"code":"internal","message":"m"})");
}

TEST(ConnectErrorTest, AMessageIsAlwaysUtf8) {
  const json error = json::parse(ErrorJson({grpc::StatusCode::UNKNOWN,
                                            "a\xff"
                                            "b"}));
  EXPECT_EQ(error["message"],
            "a\xef\xbf\xbd"
            "b");
}

TEST(ConnectErrorTest, TheEndOfAStream) {
  EXPECT_EQ(EndStreamJson(grpc::Status::OK, {}), "{}");
  EXPECT_EQ(EndStreamJson(grpc::Status::OK, {{"x-a", "1"}, {"x-a", "2"}}),
            R"({"metadata":{"x-a":["1","2"]}})");
  EXPECT_EQ(EndStreamJson({grpc::StatusCode::UNAVAILABLE, "later"}, {{"x-b", "3"}}),
            R"({"error":{"code":"unavailable","message":"later"},"metadata":{"x-b":["3"]}})");
}

}  // namespace
}  // namespace retort::services::gateway
