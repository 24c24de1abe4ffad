#include <functional>
#include <thread>

#include "tests/cuda_on_cpu/on_device.h"
#include "tests/cuda_on_cpu/rig.h"
#include "tests/cuda_on_cpu/test_kernels.h"

namespace retort::cuda_on_cpu {
namespace {

constexpr int kSize = 200;

class Streams : public testing::Test {
 protected:
  void SetUp() override {
    for (cudaStream_t* stream : {&first_, &second_}) {
      ASSERT_EQ(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), cudaSuccess);
    }
    ASSERT_EQ(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), cudaSuccess);
    ASSERT_EQ(cudaMallocHost(&pinned_, kSize * sizeof(int)), cudaSuccess);
  }
  void TearDown() override {
    SetStreamOrder(StreamOrder::kLate);
    cudaStreamDestroy(first_);
    cudaStreamDestroy(second_);
    cudaEventDestroy(event_);
    cudaFreeHost(pinned_);
    EXPECT_EQ(Describe(CountObjects()), Describe(Objects{}));
  }

  cudaStream_t first_ = nullptr, second_ = nullptr;
  cudaEvent_t event_ = nullptr;
  int* pinned_ = nullptr;
};

bool IsCounted(const int* values, int from) {
  for (int i = 0; i < kSize; ++i) {
    if (values[i] != i + from) return false;
  }
  return true;
}

TEST_F(Streams, WorkIsDoneWhenSomethingWaitsForIt) {
  const OnDevice<int> data(kSize);
  FillIndex(data.get(), kSize, {first_});
  EXPECT_EQ(cudaMemcpyAsync(pinned_, data.get(), kSize * sizeof(int), cudaMemcpyDeviceToHost, first_),
            cudaSuccess);
  EXPECT_EQ(pinned_[0], -1) << "the host reads too early";
  EXPECT_EQ(cudaStreamQuery(first_), cudaErrorNotReady);
  EXPECT_EQ(cudaStreamSynchronize(first_), cudaSuccess);
  EXPECT_EQ(cudaStreamQuery(first_), cudaSuccess);
  EXPECT_TRUE(IsCounted(pinned_, 0));
}

TEST_F(Streams, PollingComesToAnEnd) {
  const OnDevice<int> data(kSize);
  for (int i = 0; i < 3; ++i) FillIndex(data.get(), kSize, {first_});
  EXPECT_EQ(cudaEventRecord(event_, first_), cudaSuccess);
  int polls = 0;
  while (cudaEventQuery(event_) == cudaErrorNotReady) ++polls;
  EXPECT_EQ(polls, 4);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "not ready is no error";
}

TEST_F(Streams, AnEventOrdersTwoStreams) {
  for (const StreamOrder order : {StreamOrder::kLate, StreamOrder::kEager, StreamOrder::kShuffled}) {
    SetStreamOrder(order, 5);
    const OnDevice<int> a(kSize);
    OnDevice<int> b(kSize);
    FillIndex(a.get(), kSize, {first_});
    EXPECT_EQ(cudaEventRecord(event_, first_), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(second_, event_), cudaSuccess);
    AddOne(a.get(), b.get(), kSize, {second_});
    EXPECT_EQ(cudaStreamSynchronize(second_), cudaSuccess);
    EXPECT_TRUE(IsCounted(b.Read().data(), 1));
  }
}

// Planted fault: the event is missing.
TEST_F(Streams, AMissingEventShowsAsWrongData) {
  const OnDevice<int> a(kSize);
  OnDevice<int> b(kSize);
  FillIndex(a.get(), kSize, {first_});
  AddOne(a.get(), b.get(), kSize, {second_});
  EXPECT_EQ(cudaStreamSynchronize(second_), cudaSuccess);
  EXPECT_FALSE(IsCounted(b.Read().data(), 1)) << "late streams hide a missing dependency";
  SetStreamOrder(StreamOrder::kEager);
  FillIndex(a.get(), kSize, {first_});
  AddOne(a.get(), b.get(), kSize, {second_});
  EXPECT_TRUE(IsCounted(b.Read().data(), 1)) << "eager ones do hide it";
}

// Planted fault: the reader of a buffer is not waited for before it is written again.
TEST_F(Streams, AMissingEventBeforeAnOverwriteShowsToo) {
  OnDevice<int> a(std::vector<int>(kSize, 7));
  OnDevice<int> b(kSize);
  AddOne(a.get(), b.get(), kSize, {first_});
  FillIndex(a.get(), kSize, {second_});
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);  // the youngest stream first
  EXPECT_NE(b.Read()[0], 8);
}

// Planted fault: the host changes a pinned source before the copy is done.
TEST_F(Streams, APinnedSourceIsReadLate) {
  OnDevice<int> data(kSize);
  std::fill_n(pinned_, kSize, 1);
  EXPECT_EQ(cudaMemcpyAsync(data.get(), pinned_, kSize * sizeof(int), cudaMemcpyHostToDevice, first_),
            cudaSuccess);
  std::fill_n(pinned_, kSize, 2);
  EXPECT_EQ(cudaStreamSynchronize(first_), cudaSuccess);
  EXPECT_EQ(data.Read()[0], 2);
  const std::vector<int> pageable(kSize, 3);
  const HostWaits before = CountHostWaits();
  EXPECT_EQ(cudaMemcpyAsync(data.get(), pageable.data(), kSize * sizeof(int), cudaMemcpyHostToDevice, first_),
            cudaSuccess);
  EXPECT_EQ(CountHostWaits().hidden, before.hidden + 1) << "a copy from pageable memory waits by itself";
  EXPECT_EQ(cudaStreamSynchronize(first_), cudaSuccess);
  EXPECT_EQ(data.Read()[0], 3);
}

TEST_F(Streams, TheNullStreamOrdersBlockingStreams) {
  cudaStream_t blocking = nullptr;
  ASSERT_EQ(cudaStreamCreate(&blocking), cudaSuccess);
  const OnDevice<int> a(kSize);
  OnDevice<int> b(kSize);
  FillIndex(a.get(), kSize, {blocking});
  AddOne(a.get(), b.get(), kSize, {nullptr});
  EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);
  EXPECT_TRUE(IsCounted(b.Read().data(), 1));
  EXPECT_EQ(cudaStreamDestroy(blocking), cudaSuccess);
}

TEST_F(Streams, ShuffledOrdersDifferAndEndTheSame) {
  int wrong = 0;
  for (std::uint64_t seed = 0; seed < 16; ++seed) {
    SetStreamOrder(StreamOrder::kShuffled, seed);
    const OnDevice<int> a(kSize);
    OnDevice<int> b(kSize);
    FillIndex(a.get(), kSize, {first_});
    AddOne(a.get(), b.get(), kSize, {second_});  // no event: sometimes right, sometimes wrong
    EXPECT_EQ(cudaStreamSynchronize(second_), cudaSuccess);
    wrong += IsCounted(b.Read().data(), 1) ? 0 : 1;
  }
  EXPECT_GT(wrong, 0);
  EXPECT_LT(wrong, 16);
}

TEST_F(Streams, HostFunctionsRunInOrder) {
  std::vector<int> seen;
  struct Note {
    std::vector<int>* seen;
    int number;
  } one{&seen, 1}, two{&seen, 2};
  const auto note = [](void* data) {
    static_cast<Note*>(data)->seen->push_back(static_cast<Note*>(data)->number);
  };
  EXPECT_EQ(cudaLaunchHostFunc(first_, note, &one), cudaSuccess);
  EXPECT_EQ(cudaLaunchHostFunc(first_, note, &two), cudaSuccess);
  EXPECT_TRUE(seen.empty());
  EXPECT_EQ(cudaStreamSynchronize(first_), cudaSuccess);
  EXPECT_EQ(seen, (std::vector<int>{1, 2}));
}

TEST_F(Streams, TimedEventsMeasure) {
  cudaEvent_t start, end;
  ASSERT_EQ(cudaEventCreate(&start), cudaSuccess);
  ASSERT_EQ(cudaEventCreate(&end), cudaSuccess);
  float ms = -1.0f;
  EXPECT_EQ(cudaEventElapsedTime(&ms, start, end), cudaErrorInvalidResourceHandle) << "never recorded";
  cudaGetLastError();
  EXPECT_EQ(cudaEventRecord(start, first_), cudaSuccess);
  EXPECT_EQ(cudaEventRecord(end, first_), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&ms, start, end), cudaErrorNotReady);
  EXPECT_EQ(cudaEventSynchronize(end), cudaSuccess);
  EXPECT_EQ(cudaEventElapsedTime(&ms, start, end), cudaSuccess);
  EXPECT_GE(ms, 0.0f);
  EXPECT_EQ(cudaEventElapsedTime(&ms, start, event_), cudaErrorInvalidResourceHandle)
      << "made without timing";
  cudaGetLastError();
  cudaEventDestroy(start);
  cudaEventDestroy(end);
}

TEST_F(Streams, AGraphRunsAgainAndAgain) {
  const OnDevice<int> a(std::vector<int>(kSize, 0));
  const OnDevice<int> b(kSize);
  OnDevice<int> c(kSize);
  cudaEvent_t joined;
  ASSERT_EQ(cudaEventCreateWithFlags(&joined, cudaEventDisableTiming), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(first_, cudaStreamCaptureModeGlobal), cudaSuccess);
  FillIndex(a.get(), kSize, {first_});
  EXPECT_EQ(cudaEventRecord(event_, first_), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(second_, event_), cudaSuccess);
  AddOne(a.get(), b.get(), kSize, {second_});
  EXPECT_EQ(cudaEventRecord(joined, second_), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(first_, joined), cudaSuccess);
  AddOne(b.get(), c.get(), kSize, {first_});
  cudaStreamCaptureStatus status;
  EXPECT_EQ(cudaStreamIsCapturing(second_, &status), cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(first_, &graph), cudaSuccess);
  std::size_t nodes = 0;
  EXPECT_EQ(cudaGraphGetNodes(graph, nullptr, &nodes), cudaSuccess);
  EXPECT_EQ(nodes, 3u);
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  EXPECT_EQ(a.Read()[1], 0) << "nothing ran while it was recorded";
  for (int i = 0; i < 2; ++i) {
    c.Write(std::vector<int>(kSize, 0));
    EXPECT_EQ(cudaGraphLaunch(executable, first_), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(first_), cudaSuccess);
    EXPECT_TRUE(IsCounted(c.Read().data(), 2));
  }
  EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  cudaEventDestroy(joined);
}

TEST_F(Streams, WhatACaptureForbidsInvalidatesIt) {
  cudaGraph_t graph = nullptr;
  const auto begin = [&] {
    ASSERT_EQ(cudaStreamBeginCapture(first_, cudaStreamCaptureModeGlobal), cudaSuccess);
  };
  begin();
  EXPECT_EQ(cudaStreamSynchronize(first_), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamEndCapture(first_, &graph), cudaErrorStreamCaptureInvalidated);
  begin();
  int* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamEndCapture(first_, &graph), cudaErrorStreamCaptureInvalidated);
  begin();
  EXPECT_EQ(cudaStreamEndCapture(second_, &graph), cudaErrorIllegalState);
  EXPECT_EQ(cudaEventRecord(event_, first_), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(event_), cudaErrorCapturedEvent);
  EXPECT_EQ(cudaStreamWaitEvent(second_, event_), cudaSuccess);
  EXPECT_EQ(cudaLaunchHostFunc(
                second_, [](void*) {}, nullptr),
            cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(second_, &graph), cudaErrorStreamCaptureUnmatched);
  EXPECT_EQ(cudaStreamEndCapture(first_, &graph), cudaErrorStreamCaptureInvalidated);
  begin();
  EXPECT_EQ(cudaEventRecord(event_, first_), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(second_, event_), cudaSuccess);
  EXPECT_EQ(cudaLaunchHostFunc(
                second_, [](void*) {}, nullptr),
            cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(first_, &graph), cudaErrorStreamCaptureUnjoined);
  EXPECT_EQ(graph, nullptr);
  EXPECT_EQ(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal), cudaErrorStreamCaptureUnsupported);
  cudaGetLastError();
}

// What waits or allocates is forbidden to every thread by a global capture, and to the capturing one alone by
// a thread-local one.
TEST_F(Streams, ACaptureBindsTheThreadsOfItsMode) {
  cudaGraph_t graph = nullptr;
  const auto elsewhere = [&](auto call) {
    cudaError_t error = cudaSuccess;
    std::thread([&] { error = call(); }).join();
    return error;
  };
  const auto query = [&] { return cudaEventQuery(event_); };
  EXPECT_EQ(cudaEventRecord(event_, second_), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(second_), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(first_, cudaStreamCaptureModeGlobal), cudaSuccess);
  EXPECT_EQ(elsewhere(query), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamEndCapture(first_, &graph), cudaErrorStreamCaptureInvalidated);
  ASSERT_EQ(cudaStreamBeginCapture(first_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(elsewhere(query), cudaSuccess);
  EXPECT_EQ(elsewhere([&] { return cudaStreamEndCapture(first_, &graph); }),
            cudaErrorStreamCaptureWrongThread);
  EXPECT_EQ(cudaStreamEndCapture(first_, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  for (const auto& call : {std::function<cudaError_t()>(query),
                           std::function<cudaError_t()>([&] { return cudaEventSynchronize(event_); }),
                           std::function<cudaError_t()>([&] { return cudaStreamQuery(second_); }),
                           std::function<cudaError_t()>([&] { return cudaStreamSynchronize(second_); }),
                           std::function<cudaError_t()>([&] { return cudaDeviceSynchronize(); }),
                           std::function<cudaError_t()>([&] { return cudaFreeHost(pinned_); })}) {
    ASSERT_EQ(cudaStreamBeginCapture(first_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    EXPECT_EQ(call(), cudaErrorStreamCaptureUnsupported);
    EXPECT_EQ(cudaStreamEndCapture(first_, &graph), cudaErrorStreamCaptureInvalidated);
  }
  ASSERT_EQ(cudaStreamBeginCapture(first_, cudaStreamCaptureModeRelaxed), cudaSuccess);
  EXPECT_EQ(query(), cudaSuccess);
  EXPECT_EQ(cudaStreamQuery(first_), cudaErrorStreamCaptureUnsupported) << "of the captured stream, never";
  EXPECT_EQ(cudaStreamEndCapture(first_, &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(cudaStreamBeginCapture(first_, static_cast<cudaStreamCaptureMode>(3)), cudaErrorInvalidValue);
  EXPECT_EQ(graph, nullptr);
  cudaGetLastError();
}

TEST_F(Streams, ThreadsOfTheHostMayUseStreamsOfTheirOwn) {
  OnDevice<int> a(kSize), b(kSize);
  const auto work = [](int* data, cudaStream_t stream) {
    for (int i = 0; i < 20; ++i) {
      FillIndex(data, kSize, {stream});
      EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    }
  };
  std::thread one(work, a.get(), first_), two(work, b.get(), second_);
  one.join();
  two.join();
  EXPECT_TRUE(IsCounted(a.Read().data(), 0) && IsCounted(b.Read().data(), 0));
}

}  // namespace
}  // namespace retort::cuda_on_cpu
