#include <cmath>
#include <cstring>

#include "tests/cuda_on_cpu/on_device.h"
#include "tests/cuda_on_cpu/rig.h"
#include "tests/cuda_on_cpu/test_kernels.h"

namespace retort::cuda_on_cpu {
namespace {

TEST(Memory, NewMemoryIsNotANumber) {
  const OnDevice<float> data(3);
  for (const float value : data.Read()) EXPECT_TRUE(std::isnan(value));
}

TEST(Memory, AllocationsAreCountedAndBounded) {
  SetDeviceMemory(1 << 20);
  std::size_t free_bytes = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
  EXPECT_EQ(total, std::size_t{1} << 20);
  void* large = nullptr;
  void* small = nullptr;
  EXPECT_EQ(cudaMalloc(&large, 900'000), cudaSuccess);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large) % 256, 0u);
  EXPECT_EQ(cudaMalloc(&small, 200'000), cudaErrorMemoryAllocation);
  EXPECT_EQ(small, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(CountObjects().device_allocations, 1u);
  EXPECT_EQ(CountObjects().device_bytes, 900'000u);
  EXPECT_EQ(Describe(CountObjects()).substr(0, 37), "1 device allocations (900000 bytes), ");
  EXPECT_EQ(cudaFree(large), cudaSuccess);
  EXPECT_EQ(cudaFree(large), cudaErrorInvalidValue) << "twice";
  EXPECT_EQ(cudaMalloc(&small, 0), cudaSuccess);
  EXPECT_EQ(small, nullptr);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
  EXPECT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
  EXPECT_EQ(free_bytes, total);
  SetDeviceMemory(std::size_t{4} << 30);
  cudaGetLastError();
}

TEST(Memory, FreedMemoryIsUsedAgain) {
  std::vector<void*> pointers(8);
  for (int round = 0; round < 3; ++round) {
    for (void*& pointer : pointers) ASSERT_EQ(cudaMalloc(&pointer, 1000), cudaSuccess);
    for (void* pointer : pointers) ASSERT_EQ(cudaFree(pointer), cudaSuccess);
  }
  void* whole = nullptr;
  ASSERT_EQ(cudaMalloc(&whole, 8 * 1280 - 256), cudaSuccess);  // the eight, joined
  EXPECT_LE(whole, pointers[0]);
  EXPECT_EQ(cudaFree(whole), cudaSuccess);
}

TEST(Memory, CopiesAreCheckedForDirectionAndRange) {
  const OnDevice<int> a(16), b(16);
  std::vector<int> host(16);
  const std::size_t bytes = 64;
  EXPECT_EQ(cudaMemcpy(a.get(), host.data(), bytes, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host.data(), a.get(), bytes, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(a.get(), host.data(), bytes, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(a.get(), host.data(), bytes + 1, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(a.get(), b.get() + 1, bytes, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(a.get(), nullptr, bytes, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(a.get(), host.data(), bytes, static_cast<cudaMemcpyKind>(5)),
            cudaErrorInvalidMemcpyDirection);
  EXPECT_EQ(cudaMemcpy(a.get(), nullptr, 0, cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(a.get(), host.data(), bytes, cudaMemcpyDefault), cudaSuccess);
  EXPECT_EQ(cudaMemset(a.get(), 0, bytes + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(host.data(), 0, bytes), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(a.get(), 1, bytes), cudaSuccess);
  EXPECT_EQ(a.Read()[3], 0x01010101);
  cudaGetLastError();
}

TEST(Memory, RowsOfDifferentPitchAreCopied) {
  const OnDevice<int> source(std::vector<int>{1, 2, 3, 4, 5, 6});
  OnDevice<int> target(std::vector<int>(8, 0));
  EXPECT_EQ(cudaMemcpy2DAsync(target.get(), 16, source.get(), 12, 8, 2, cudaMemcpyDeviceToDevice),
            cudaSuccess);
  EXPECT_EQ(target.Read(), (std::vector<int>{1, 2, 0, 0, 4, 5, 0, 0}));
  EXPECT_EQ(cudaMemcpy2DAsync(target.get(), 16, source.get(), 12, 16, 2, cudaMemcpyDeviceToDevice),
            cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST(Memory, PointersAreKnown) {
  const OnDevice<int> device(4);
  int* pinned = nullptr;
  int host = 0;
  ASSERT_EQ(cudaHostAlloc(&pinned, 64, cudaHostAllocPortable), cudaSuccess);
  cudaPointerAttributes attributes;
  EXPECT_EQ(cudaPointerGetAttributes(&attributes, device.get() + 3), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeDevice);
  EXPECT_EQ(cudaPointerGetAttributes(&attributes, pinned), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeHost);
  EXPECT_EQ(cudaPointerGetAttributes(&attributes, &host), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeUnregistered);
  EXPECT_EQ(cudaHostRegister(&host, sizeof(host), cudaHostRegisterDefault), cudaSuccess);
  EXPECT_EQ(cudaHostRegister(&host, sizeof(host), cudaHostRegisterDefault),
            cudaErrorHostMemoryAlreadyRegistered);
  EXPECT_EQ(cudaHostUnregister(&host), cudaSuccess);
  EXPECT_EQ(cudaHostUnregister(&host), cudaErrorHostMemoryNotRegistered);
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(pinned), cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST(MemoryDeathTest, TheHostCannotTouchDeviceMemory) {
  const OnDevice<int> data(std::vector<int>(16, 1));
  EXPECT_DEATH(
      {
        volatile int* pointer = data.get();
        std::exit(*pointer);
      },
      "");
}

TEST(MemoryDeathTest, AHostPointerGivenToAKernelIsReported) {
  const OnDevice<int> data(4);
  std::vector<int> host(4);
  EXPECT_DEATH(FillIndex(host.data(), 4, {}),
               "kernel FillIndexKernel: argument 0 is .*no memory of a device");
  EXPECT_DEATH(AddOne(host.data(), data.get(), 4, {}), "kernel AddOneKernel: argument 0");
  int* freed = nullptr;
  ASSERT_EQ(cudaMalloc(&freed, 16), cudaSuccess);
  ASSERT_EQ(cudaFree(freed), cudaSuccess);
  EXPECT_DEATH(FillIndex(freed, 4, {}), "freed, or beyond an allocation");
}

class Devices : public testing::Test {
 protected:
  void TearDown() override {
    SetDevices(1);
    cudaSetDevice(0);
    cudaGetLastError();
  }
};

TEST_F(Devices, NoneAndNoDriverAreDifferentErrors) {
  int count = 7;
  SetDevices(0);
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  EXPECT_EQ(count, 0);
  EXPECT_STREQ(cudaGetErrorName(cudaErrorNoDevice), "cudaErrorNoDevice");
  SetDevices(kNoDriver);
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
  int version = 1;
  EXPECT_EQ(cudaDriverGetVersion(&version), cudaSuccess);
  EXPECT_EQ(version, 0);
  void* pointer = nullptr;
  EXPECT_EQ(cudaMalloc(&pointer, 4), cudaErrorInsufficientDriver);
}

TEST_F(Devices, SeveralHaveMemoryOfTheirOwn) {
  SetDevices(2);
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
  cudaDeviceProp properties;
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 1), cudaSuccess);
  EXPECT_STREQ(properties.name, "CUDA on CPU 1");
  void* pointer = nullptr;
  ASSERT_EQ(cudaMalloc(&pointer, 1 << 20), cudaSuccess);
  std::size_t free_bytes = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
  EXPECT_LT(free_bytes, total);
  EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
  EXPECT_EQ(free_bytes, total);
  EXPECT_EQ(cudaFree(pointer), cudaSuccess);
}

TEST_F(Devices, ALostDeviceFailsEveryCall) {
  const OnDevice<int> data(4);
  FailDevice(cudaErrorECCUncorrectable);
  FillIndex(data.get(), 4, {});
  EXPECT_EQ(cudaGetLastError(), cudaErrorECCUncorrectable);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorECCUncorrectable);
  EXPECT_STREQ(cudaGetErrorString(cudaErrorECCUncorrectable), "uncorrectable ECC error encountered");
  FailDevice(cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}

}  // namespace
}  // namespace retort::cuda_on_cpu
