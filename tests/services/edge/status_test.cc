#include "services/edge/status.h"

#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace retort::services {
namespace {

int ErrorInfos(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  int count = 0;
  for (const auto& any : details.details()) count += any.Is<google::rpc::ErrorInfo>() ? 1 : 0;
  return count;
}

TEST(StatusTest, OkStaysOk) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
  EXPECT_TRUE(WithReason(absl::OkStatus(), POLICY_DENIED).ok());
}

TEST(StatusTest, ReasonSurvivesAHop) {
  const absl::Status sent =
      WithReason(absl::FailedPreconditionError("rule r1 denies"), POLICY_DENIED, {{"rule", "r1"}});
  const absl::Status received = FromGrpcStatus(ToGrpcStatus(sent));
  EXPECT_EQ(received.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(received.message(), "rule r1 denies");
  EXPECT_EQ(ReasonOf(received), POLICY_DENIED);
  EXPECT_EQ(MetadataOf(received).at("rule"), "r1");
  EXPECT_EQ(ErrorInfos(ToGrpcStatus(received)), 1);
}

TEST(StatusTest, TimeToComeBackSurvivesAHop) {
  const auto limited = WithReason(absl::ResourceExhaustedError("too many"), LIMIT_EXCEEDED);
  EXPECT_EQ(RetryAfterOf(limited), std::nullopt);
  const auto there = FromGrpcStatus(ToGrpcStatus(WithRetryAfter(limited, std::chrono::milliseconds(12'345))));
  EXPECT_EQ(RetryAfterOf(there), std::chrono::milliseconds(12'345));
  EXPECT_EQ(ReasonOf(there), LIMIT_EXCEEDED);
  EXPECT_EQ(RetryAfterOf(WithRetryAfter(limited, std::chrono::hours(25))), std::nullopt)
      << "no peer means that";
  EXPECT_EQ(RetryAfterOf(WithRetryAfter(limited, std::chrono::milliseconds(-1))), std::nullopt);
  EXPECT_TRUE(WithRetryAfter(absl::OkStatus(), std::chrono::seconds(1)).ok());
}

TEST(StatusTest, EveryErrorHasOneErrorInfo) {
  for (int code = 1; code <= 16; ++code) {
    const auto status = ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "x"));
    EXPECT_EQ(static_cast<int>(status.error_code()), code);
    EXPECT_EQ(ErrorInfos(status), 1) << code;
    EXPECT_NE(ReasonOf(FromGrpcStatus(status)), ERROR_REASON_UNSPECIFIED) << code;
  }
}

TEST(StatusTest, LaterReasonReplacesEarlier) {
  const absl::Status status = WithReason(WithReason(absl::NotFoundError("x"), NOT_FOUND), JOB_STATE);
  EXPECT_EQ(ReasonOf(status), JOB_STATE);
  EXPECT_EQ(ErrorInfos(ToGrpcStatus(status)), 1);
}

TEST(StatusTest, InvalidFieldNamesFieldSeenAndWanted) {
  const absl::Status status = InvalidField("sampling.top_p", "1.5", "above 0, at most 1");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "sampling.top_p: saw '1.5', wanted above 0, at most 1");
  EXPECT_EQ(ReasonOf(status), INVALID_FIELD);
}

TEST(StatusTest, InvalidFieldCutsLongValues) {
  EXPECT_LT(InvalidField("f", std::string(10'000, 'x'), "short").message().size(), 200u);
}

TEST(StatusTest, ForeignStatusWithoutDetailsIsRead) {
  const absl::Status status =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone", "not a proto \xff"));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_UNSPECIFIED);
}

}  // namespace
}  // namespace retort::services
