#include "student/device/device.h"

#include <gtest/gtest.h>

namespace retort::student {
namespace {

constexpr char kNoLibrary[] = "/nonexistent/libretort_cuda.so";

TEST(DeviceTest, CpuIsTakenAsAsked) {
  const DeviceChoice choice = ChooseDevice("cpu", kNoLibrary);
  EXPECT_TRUE(choice.ok);
  EXPECT_EQ(choice.device, "cpu");
}

TEST(DeviceTest, AutoSaysWhyItTookTheCpu) {
  const DeviceChoice choice = ChooseDevice("auto", kNoLibrary);
  EXPECT_TRUE(choice.ok);
  EXPECT_EQ(choice.device, "cpu");
  EXPECT_NE(choice.reason.find("no CUDA"), std::string::npos) << choice.reason;
}

TEST(DeviceTest, CudaIsRefusedWithTheReason) {
  for (const char* request : {"cuda", "cuda:0", "cuda:15"}) {
    const DeviceChoice choice = ChooseDevice(request, kNoLibrary);
    EXPECT_FALSE(choice.ok);
    EXPECT_NE(choice.reason.find("no CUDA device"), std::string::npos) << choice.reason;
  }
}

TEST(DeviceTest, OtherNamesAreRefused) {
  for (const char* request : {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:99999", "CPU"}) {
    const DeviceChoice choice = ChooseDevice(request, kNoLibrary);
    EXPECT_FALSE(choice.ok);
    EXPECT_NE(choice.reason.find("wanted auto, cpu"), std::string::npos) << request;
  }
}

TEST(DeviceTest, TheLibraryOfThisBuildAnswers) {
  int count = -1;
  const std::string seen = DescribeCudaDevices(DefaultCudaLibrary(), &count);
  EXPECT_GE(count, 0);
  EXPECT_EQ(count == 0, seen.find("no CUDA device") != std::string::npos) << seen;
}

}  // namespace
}  // namespace retort::student
