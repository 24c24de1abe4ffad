// Pieces of work that come again, as graphs of the rig of tests/cuda_on_cpu.
#include "student/device/cuda/segments.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "tests/cuda_on_cpu/on_device.h"
#include "tests/cuda_on_cpu/rig.h"
#include "tests/cuda_on_cpu/test_kernels.h"

namespace retort::student {
namespace {

using cuda_on_cpu::AddNumber;
using cuda_on_cpu::AddNumbers;
using cuda_on_cpu::CountGraphLaunches;
using cuda_on_cpu::CountLaunches;
using cuda_on_cpu::CountObjects;
using cuda_on_cpu::OnDevice;

constexpr int kSize = 70;

class SegmentsTest : public ::testing::Test {
 protected:
  SegmentsTest() {
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    EXPECT_EQ(cudaMalloc(&workspace_, kCublasWorkspaceBytes), cudaSuccess);
    matmul_ = std::make_unique<CudaMatmul>();
    EXPECT_EQ(matmul_->Open(stream_, workspace_), CUBLAS_STATUS_SUCCESS);
    segments_ = std::make_unique<Segments>(stream_, *matmul_);
  }
  ~SegmentsTest() override {
    segments_.reset();
    matmul_.reset();
    cudaFree(workspace_);
    cudaStreamDestroy(stream_);
    EXPECT_EQ(cuda_on_cpu::Describe(CountObjects()), cuda_on_cpu::Describe(before_));
  }

  Stream kept() { return {stream_, &segments_->list()}; }
  // b = a + number by way of a copy, so that the piece has more than one command.
  void Keep(const OnDevice<int>& a, const OnDevice<int>& b, int number) {
    segments_->list().BeginOperation("copy");
    segments_->list().AddCopy(a.get(), kSize * 4, b.get());
    segments_->list().BeginOperation("AddNumber");
    AddNumber(b.get(), b.get(), kSize, number, kept());
  }
  std::vector<int> Read(const OnDevice<int>& a) {
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    return a.Read();
  }

  const cuda_on_cpu::Objects before_ = CountObjects();
  cudaStream_t stream_ = nullptr;
  void* workspace_ = nullptr;
  std::unique_ptr<CudaMatmul> matmul_;
  std::unique_ptr<Segments> segments_;
};

std::vector<int> Counted(int from) {
  std::vector<int> values(kSize);
  std::iota(values.begin(), values.end(), from);
  return values;
}

TEST_F(SegmentsTest, TheThirdTimeIsALaunchOfAGraph) {
  OnDevice<int> a(kSize), b(kSize);
  const std::uint64_t launches = CountLaunches(), graphs = CountGraphLaunches();
  const std::uint64_t wanted_launches[] = {1, 2, 2, 2}, wanted_graphs[] = {0, 1, 2, 3};
  for (int time = 0; time < 4; ++time) {
    a.Write(Counted(10 * time));  // other data each time
    Keep(a, b, 3);
    EXPECT_TRUE(segments_->Flush().ok());
    EXPECT_EQ(Read(b), Counted(10 * time + 3));
    EXPECT_EQ(CountLaunches() - launches, wanted_launches[time]) << time;
    EXPECT_EQ(CountGraphLaunches() - graphs, wanted_graphs[time]) << time;
  }
}

// Planted fault: a graph that is launched with the number of the step that it was captured in.
TEST_F(SegmentsTest, AnotherNumberIsAnotherPiece) {
  const OnDevice<int> a(Counted(0)), b(kSize);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t stale = nullptr;
  ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  AddNumber(a.get(), b.get(), kSize, 0, {stream_});
  ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&stale, graph, 0), cudaSuccess);
  for (int step = 0; step < 3; ++step) {
    EXPECT_EQ(cudaGraphLaunch(stale, stream_), cudaSuccess);
    EXPECT_EQ(Read(b), Counted(0)) << "the number that was captured, whatever the step's is";
    Keep(a, b, step);
    EXPECT_TRUE(segments_->Flush().ok());
    EXPECT_EQ(Read(b), Counted(step));
  }
  const std::uint64_t graphs = CountGraphLaunches();
  for (int step = 0; step < 3; ++step) {  // all three are known by now
    Keep(a, b, step);
    EXPECT_TRUE(segments_->Flush().ok());
    EXPECT_EQ(Read(b), Counted(step));
  }
  EXPECT_EQ(CountGraphLaunches() - graphs, 3u);
  cudaGraphExecDestroy(stale);
  cudaGraphDestroy(graph);
}

TEST_F(SegmentsTest, AddressesAndOrderAreAnotherPieceToo) {
  const OnDevice<int> a(Counted(0)), b(Counted(100)), c(kSize), d(kSize);
  for (int time = 0; time < 3; ++time) {
    Keep(a, c, 1);
    Keep(b, c, 2);
    EXPECT_TRUE(segments_->Flush().ok());
    EXPECT_EQ(Read(c), Counted(102));
    Keep(b, c, 2);
    Keep(a, c, 1);
    EXPECT_TRUE(segments_->Flush().ok());
    EXPECT_EQ(Read(c), Counted(1));
    Keep(b, d, 2);
    Keep(a, c, 1);
    EXPECT_TRUE(segments_->Flush().ok());
    EXPECT_EQ(Read(d), Counted(102));
  }
}

TEST_F(SegmentsTest, WhatLiesBetweenMembersIsNotCompared) {
  const OnDevice<int> a(Counted(0)), b(kSize);
  const std::uint64_t graphs = CountGraphLaunches();
  for (const unsigned char garbage : {0x00, 0xff, 0xa5}) {
    alignas(cuda_on_cpu::TwoNumbers) unsigned char memory[sizeof(cuda_on_cpu::TwoNumbers)];
    std::memset(memory, garbage, sizeof(memory));
    auto& number = *reinterpret_cast<cuda_on_cpu::TwoNumbers*>(memory);
    number.small = -1;
    number.large = 5;
    AddNumbers(a.get(), b.get(), kSize, number, kept());
    AddNumbers(b.get(), b.get(), kSize, number, kept());
    EXPECT_TRUE(segments_->Flush().ok());
    EXPECT_EQ(Read(b), Counted(8));
  }
  EXPECT_EQ(CountGraphLaunches() - graphs, 2u);
}

TEST_F(SegmentsTest, ProductsAreCapturedToo) {
  OnDevice<float> a(std::vector<float>{1, 2, 3, 4}), b(std::vector<float>{1, 0, 0, 2}), c(4);
  for (int time = 1; time <= 3; ++time) {
    a.Write({1.0f * static_cast<float>(time), 2, 3, 4});
    segments_->AddProduct({a.get(), b.get(), c.get(), 2, 2, 2, 2, 2, 2});
    segments_->AddProduct({a.get(), b.get(), c.get(), 2, 2, 2, 2, 2, 2, false, false, true});
    segments_->AddProduct({a.get(), b.get(), c.get(), 2, 2, 2, 0, 2, 2});  // nothing to do
    EXPECT_TRUE(segments_->Flush().ok());
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    EXPECT_EQ(c.Read(), (std::vector<float>{2.0f * static_cast<float>(time), 8, 6, 16}));
  }
  Product refused = {a.get(), b.get(), c.get(), 2, 2, 1, 2, 2, 2};  // rows of c would overlap
  segments_->list().BeginOperation("MatMul");
  segments_->AddProduct(refused);
  const CommandResult result = segments_->Flush();
  EXPECT_EQ(result.cublas, CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_STREQ(result.operation, "MatMul");
}

TEST_F(SegmentsTest, TheLeastRecentlySeenMakesRoom) {
  const OnDevice<int> a(Counted(0)), b(kSize);
  const auto again = [&](int number) {
    const std::uint64_t graphs = CountGraphLaunches();
    Keep(a, b, number);
    EXPECT_TRUE(segments_->Flush().ok());
    return CountGraphLaunches() - graphs;
  };
  again(0), again(1);
  for (int number = 2; number < static_cast<int>(Segments::kPiecesMost); ++number) again(number);
  EXPECT_EQ(again(0), 1u);
  again(-1);                // makes 1 go
  EXPECT_EQ(again(1), 0u);  // makes 2 go
  EXPECT_EQ(again(0), 1u);
  EXPECT_EQ(CountObjects().graphs, 1u);
  Read(b);
  segments_->Clear();
  EXPECT_EQ(CountObjects().graphs, 0u);
  EXPECT_EQ(again(0), 0u);
  Read(b);
}

// Planted fault: work that a capture forbids.
TEST_F(SegmentsTest, ARefusedCaptureIsSaid) {
  const OnDevice<int> a(Counted(0)), b(kSize);
  const auto keep = [&] {
    Keep(a, b, 1);
    segments_->list().BeginOperation("waits");
    segments_->list().Add([](const std::byte*, cudaStream_t stream,
                             void*) -> CommandResult { return {cudaStreamSynchronize(stream)}; },
                          std::uint64_t{0});
  };
  keep();
  EXPECT_TRUE(segments_->Flush().ok());  // outside of a capture it may
  keep();
  const CommandResult result = segments_->Flush();
  EXPECT_EQ(result.error, cudaErrorStreamCaptureUnsupported);
  EXPECT_STREQ(result.operation, "waits");
  cudaGetLastError();
  EXPECT_EQ(CountObjects().graphs, 0u);
  Keep(a, b, 2);  // the stream is well
  EXPECT_TRUE(segments_->Flush().ok());
  EXPECT_EQ(Read(b), Counted(2));
}

// Planted fault: work that goes to a stream of its own would be in no graph.
TEST_F(SegmentsTest, WorkThatGoesElsewhereIsFound) {
  const OnDevice<int> a(Counted(0)), b(kSize);
  struct Elsewhere {
    int* memory;
    cudaStream_t stream;
  } elsewhere = {b.get(), nullptr};
  ASSERT_EQ(cudaStreamCreateWithFlags(&elsewhere.stream, cudaStreamNonBlocking), cudaSuccess);
  const auto keep = [&] {
    Keep(a, b, 1);
    segments_->list().Add(
        [](const std::byte* arguments, cudaStream_t, void*) -> CommandResult {
          Elsewhere given;
          std::memcpy(&given, arguments, sizeof(given));
          cuda_on_cpu::FillIndex(given.memory, kSize, {given.stream});
          return {};
        },
        elsewhere);
  };
  keep();
  EXPECT_TRUE(segments_->Flush().ok());
  keep();
  const CommandResult result = segments_->Flush();
  EXPECT_EQ(result.error, cudaErrorStreamCaptureUnjoined);
  EXPECT_STREQ(result.operation, "a captured graph");
  Read(b);
  EXPECT_EQ(cudaStreamDestroy(elsewhere.stream), cudaSuccess);
}

}  // namespace
}  // namespace retort::student
