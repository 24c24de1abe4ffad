#include "student/device/device.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

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
    EXPECT_NE(choice.reason.find(kNoLibrary), std::string::npos) << choice.reason;
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

TEST(DeviceTest, ALibraryThatDoesNotLoadIsRefused) {
  const std::string path = testing::TempDir() + "not_a_library_" + std::to_string(getpid()) + ".so";
  std::ofstream(path) << "text";
  const DeviceChoice choice = ChooseDevice("cuda", path);
  EXPECT_FALSE(choice.ok);
  EXPECT_NE(choice.reason.find("does not load"), std::string::npos) << choice.reason;
  std::filesystem::remove(path);
}

TEST(DeviceTest, ALibraryOfAnotherBuildIsRefused) {
  const DeviceChoice choice = ChooseDevice("cuda", OTHER_CUDA_LIBRARY);
  EXPECT_FALSE(choice.ok);
  EXPECT_NE(choice.reason.find("version 999999"), std::string::npos) << choice.reason;
  EXPECT_EQ(ChooseDevice("auto", OTHER_CUDA_LIBRARY).device, "cpu");
}

// The product's library over a driver of the test's own, found and opened as a program does it.
TEST(DeviceTest, ADeviceThatIsThereIsTaken) {
  const DeviceChoice choice = ChooseDevice("auto", CUDA_ON_CPU_LIBRARY);
  ASSERT_TRUE(choice.ok);
  EXPECT_EQ(choice.device, "cuda:0") << choice.reason;
  EXPECT_EQ(ChooseDevice("cuda:0", CUDA_ON_CPU_LIBRARY).device, "cuda:0");
  const DeviceChoice second = ChooseDevice("cuda:1", CUDA_ON_CPU_LIBRARY);
  EXPECT_FALSE(second.ok);
  EXPECT_NE(second.reason.find("saw 'cuda:1', wanted a number below 1"), std::string::npos) << second.reason;

  std::string problem;
  for (const bool bf16 : {false, true}) {
    const auto backend = OpenDevice(choice, {.bf16 = bf16}, &problem);
    ASSERT_NE(backend, nullptr) << problem;
    EXPECT_EQ(backend->description().kind, "cuda");
    EXPECT_EQ(backend->description().pci_bus_id, "0000:01:00.0");
    EXPECT_EQ(backend->description().compute, bf16 ? "bf16" : "fp32");
    EXPECT_GT(backend->description().memory_bytes, 0);
    EXPECT_FALSE(backend->host_memory());
    EXPECT_EQ(backend->Allocate(std::int64_t{1} << 50), nullptr);
    EXPECT_NE(backend->failure().find("1073741824 MiB of device memory do not fit"), std::string::npos)
        << backend->failure();
  }
}

TEST(DeviceTest, TheCpuRefusesBf16) {
  ThreadPool pool(1);
  std::string problem;
  const DeviceChoice choice = ChooseDevice("cpu", kNoLibrary);
  EXPECT_NE(OpenDevice(choice, {.pool = &pool}, &problem), nullptr);
  EXPECT_EQ(OpenDevice(choice, {.pool = &pool, .bf16 = true}, &problem), nullptr);
  EXPECT_NE(problem.find("bf16"), std::string::npos) << problem;
}

}  // namespace
}  // namespace retort::student
