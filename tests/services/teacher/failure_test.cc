#include "services/teacher/failure.h"

#include <gtest/gtest.h>

#include <utility>

#include "services/edge/status.h"

namespace retort::services {
namespace {

TEST(FailureTest, EveryCodeHasItsReason) {
  using enum absl::StatusCode;
  const std::pair<absl::StatusCode, ErrorReason> rows[] = {
      {kUnauthenticated, TEACHER_UNAUTHORISED},
      {kResourceExhausted, TEACHER_RATE_LIMITED},
      {kDeadlineExceeded, TEACHER_TIMEOUT},
      {kUnavailable, TEACHER_UNAVAILABLE},
      {kInvalidArgument, TEACHER_REJECTED},
      {absl::StatusCode::kUnknown, TEACHER_BROKEN_ANSWER},
      {kFailedPrecondition, TEACHER_NOT_READY},
      {kCancelled, retort::CANCELLED},
      {kInternal, retort::INTERNAL}};
  for (const auto& [code, reason] : rows) {
    const absl::Status named = NameFailure(absl::Status(code, "why"), "t1");
    EXPECT_EQ(named.code(), code);
    EXPECT_EQ(ReasonOf(named), reason) << named;
    EXPECT_EQ(named.message(), "teacher t1: why");
    EXPECT_EQ(MetadataOf(named).at("teacher"), "t1");
  }
  EXPECT_TRUE(NameFailure(absl::OkStatus(), "t1").ok());
}

}  // namespace
}  // namespace retort::services
