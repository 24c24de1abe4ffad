#include "services/train/device.h"

#include <gtest/gtest.h>

namespace retort::train {
namespace {

TEST(TrainingDeviceTest, TheProcessorIsTakenAndSaid) {
  std::string said;
  const auto log = [&said](std::string_view line) { said += std::string(line) + "\n"; };
  for (const char* device : {"cpu", "auto"}) {
    said.clear();
    const auto opened = OpenTrainingDevice({.device = device, .library = "/nonexistent/library.so"}, log);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(opened->backend, nullptr);
    EXPECT_EQ(opened->choice.device, "cpu");
    EXPECT_EQ(said.rfind("cpu: ", 0), 0u) << said;
  }
  EXPECT_NE(said.find("no CUDA device"), std::string::npos) << said;
}

TEST(TrainingDeviceTest, CudaIsRefusedWithTheReason) {
  const auto opened = OpenTrainingDevice({.device = "cuda", .library = "/nonexistent/library.so"}, {});
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(opened.status().message().find("no CUDA library"), std::string::npos) << opened.status();
}

TEST(TrainingDeviceTest, WhatThereIsNotIsRefusedByName) {
  EXPECT_EQ(OpenTrainingDevice({.device = "tpu"}, {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(OpenTrainingDevice({.device = "cpu", .compute = "fp16"}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(OpenTrainingDevice({.device = "cpu", .compute = "bf16"}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::train
