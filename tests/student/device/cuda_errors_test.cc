// What the CUDA backend says when the driver refuses.
#include <gtest/gtest.h>

#include "student/device/cuda/cuda_backend.h"
#include "tests/cuda_on_cpu/rig.h"

namespace retort::student {
namespace {

std::string WhyNot(int ordinal) {
  std::string problem;
  EXPECT_EQ(OpenCudaBackend(ordinal, Element::kF32, &problem), nullptr);
  return problem;
}

TEST(CudaErrorsTest, NoDriverAndNoDeviceAreTold) {
  cuda_on_cpu::SetDevices(cuda_on_cpu::kNoDriver);
  EXPECT_NE(WhyNot(0).find("(35)"), std::string::npos) << WhyNot(0);
  EXPECT_EQ(WhyNot(0).find("no CUDA device: "), 0u) << WhyNot(0);
  cuda_on_cpu::SetDevices(0);
  EXPECT_NE(WhyNot(0).find("(100)"), std::string::npos) << WhyNot(0);
  EXPECT_EQ(WhyNot(0).find("no CUDA device: "), 0u) << WhyNot(0);
  cuda_on_cpu::SetDevices(1);
}

TEST(CudaErrorsTest, ADriverThatIsTooOldIsToldWithBothReleases) {
  cuda_on_cpu::SetDriver(12040);
  const std::string problem = WhyNot(0);
  cuda_on_cpu::SetDriver(13000);
  EXPECT_EQ(problem, "no CUDA device: the driver supports CUDA 12.4, wanted 13.0 or newer (35)");
}

TEST(CudaErrorsTest, ANumberThatIsNotThereIsTold) {
  EXPECT_NE(WhyNot(3).find("no device cuda:3"), std::string::npos) << WhyNot(3);
}

TEST(CudaErrorsTest, TooLittleMemoryForCublasIsToldWithNumbers) {
  cuda_on_cpu::SetDeviceMemory(std::size_t{16} << 20);
  const std::string problem = WhyNot(0);
  cuda_on_cpu::SetDeviceMemory(std::size_t{4} << 30);
  EXPECT_NE(problem.find("32 MiB for cuBLAS do not fit, 16 MiB of 16 MiB are free"), std::string::npos)
      << problem;
}

TEST(CudaErrorsTest, TheFirstFailureStaysAndOperatorsRest) {
  std::string problem;
  const auto backend = OpenCudaBackend(0, Element::kF32, &problem);
  ASSERT_NE(backend, nullptr) << problem;
  void* const memory = backend->Allocate(64);
  cuda_on_cpu::FailDevice(719);  // cudaErrorLaunchFailure
  backend->Zero(memory, 64);
  const std::string first = backend->failure();
  EXPECT_NE(first.find("(719)"), std::string::npos) << first;
  cuda_on_cpu::FailDevice(0);
  const std::uint64_t launches = cuda_on_cpu::CountLaunches();
  backend->CopyColumns(Values(static_cast<float*>(memory)), 1, Values(static_cast<float*>(memory)), 1, 1, 1);
  std::int32_t offsets[2] = {5, 5};
  backend->ReadOffsets(static_cast<std::int32_t*>(memory), offsets);
  EXPECT_EQ(offsets[0], 0);
  EXPECT_EQ(backend->Finish(), first);
  EXPECT_EQ(backend->Allocate(1), nullptr);
  EXPECT_EQ(cuda_on_cpu::CountLaunches(), launches);
  backend->Free(memory);
}

}  // namespace
}  // namespace retort::student
