#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "tests/cuda_on_cpu/runtime.h"

using retort::cuda_on_cpu::Capture;
using retort::cuda_on_cpu::DeviceError;
using retort::cuda_on_cpu::Failed;
using retort::cuda_on_cpu::Point;
using retort::cuda_on_cpu::StateOf;
using retort::cuda_on_cpu::StreamState;
using retort::cuda_on_cpu::TheRuntime;

struct CUevent_st {
  Point recorded;  // no stream: never recorded
  std::shared_ptr<std::chrono::steady_clock::time_point> time;
  bool timed = true;
  std::shared_ptr<Capture> capture;  // the last record was into this graph
  std::vector<std::size_t> capture_tail;
};

namespace retort::cuda_on_cpu {
namespace {

std::shared_ptr<StreamState> NullStream(int device) {
  Runtime& runtime = TheRuntime();
  std::shared_ptr<StreamState>& state = runtime.null_streams[device];
  if (state == nullptr) {
    state = std::make_shared<StreamState>();
    state->device = device;
    state->is_null = true;
    runtime.streams.push_back(state);
  }
  return state;
}

// One operation of the stream, or of one that it waits for. False: nothing could move.
bool Step(StreamState* stream) {
  if (stream->done == stream->queued) return false;
  for (const Point& point : stream->pending.front().after) {
    if (point.stream->done < point.number) return Step(point.stream.get());
  }
  if (!stream->pending.front().progress()) return false;
  stream->pending.pop_front();
  ++stream->done;
  return true;
}

bool StepAnyOther(const StreamState* stream) {
  const std::vector<std::shared_ptr<StreamState>> streams = TheRuntime().streams;
  return std::ranges::any_of(streams,
                             [&](const auto& other) { return other.get() != stream && Step(other.get()); });
}

[[noreturn]] void ReportHang() {
  std::fprintf(stderr,
               "cuda_on_cpu: a device would wait for ever: the host waits for a stream whose next operation "
               "needs a process that "
               "does not come (look at ncclCommGetAsyncError while polling, and call ncclCommAbort)\n");
  std::abort();
}

// The null stream and the blocking streams of a device wait for each other.
std::vector<Point> NullStreamOrder(const StreamState& stream) {
  std::vector<Point> after;
  if (!stream.is_null && !stream.waits_for_null) return after;
  for (const std::shared_ptr<StreamState>& other : TheRuntime().streams) {
    if (other.get() == &stream || other->device != stream.device || other->done == other->queued) continue;
    if (stream.is_null ? other->waits_for_null : other->is_null) after.push_back({other, other->queued});
  }
  return after;
}

cudaError_t EnqueueAfter(const std::shared_ptr<StreamState>& stream, std::function<bool()> progress,
                         std::vector<Point> after) {
  for (Point& point : NullStreamOrder(*stream)) after.push_back(std::move(point));
  ++stream->queued;
  stream->pending.push_back({std::move(progress), std::move(after)});
  if (TheRuntime().order == StreamOrder::kEager) {
    const DeviceMemory::Access access(&TheRuntime().memory);
    RunUntil({stream, stream->queued});
  }
  return cudaSuccess;
}

std::function<bool()> AtOnce(std::function<void()> run) {
  return [run = std::move(run)] {
    run();
    return true;
  };
}

}  // namespace

std::shared_ptr<StreamState> StateOf(cudaStream_t stream) {
  if (stream == nullptr) return NullStream(CurrentDevice());
  for (const std::shared_ptr<StreamState>& state : TheRuntime().streams) {
    if (state == stream->state) return state;
  }
  return nullptr;
}

void RunUntil(const Point& point) {
  auto moved = std::chrono::steady_clock::now();
  while (point.stream->done < point.number) {
    if (Step(point.stream.get())) {
      moved = std::chrono::steady_clock::now();
      continue;
    }
    if (StepAnyOther(point.stream.get())) continue;
    if (std::chrono::steady_clock::now() - moved > TheRuntime().hang_limit) ReportHang();
    TheRuntime().lock.unlock();  // held by the caller; other threads may bring what is awaited
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    TheRuntime().lock.lock();
  }
}

void RunAll(int device) {
  Runtime& runtime = TheRuntime();
  const DeviceMemory::Access access(&runtime.memory);
  // The youngest stream first: nothing but declared order protects an older one.
  const std::vector<std::shared_ptr<StreamState>> streams(runtime.streams.rbegin(), runtime.streams.rend());
  for (const std::shared_ptr<StreamState>& stream : streams) {
    if (stream->device == device) RunUntil({stream, stream->queued});
  }
}

void CountHostWait(bool hidden) {
  Runtime& runtime = TheRuntime();
  ++(hidden ? runtime.waits.hidden : runtime.waits.asked);
  if (runtime.order != StreamOrder::kShuffled) return;
  const DeviceMemory::Access access(&runtime.memory);
  std::vector<std::shared_ptr<StreamState>> streams = runtime.streams;
  std::shuffle(streams.begin(), streams.end(), runtime.random);
  for (const std::shared_ptr<StreamState>& stream : streams) {
    const std::uint64_t waiting = stream->queued - stream->done;
    for (std::uint64_t steps = runtime.random() % (waiting + 1); steps > 0 && Step(stream.get());) --steps;
  }
}

cudaError_t Enqueue(cudaStream_t stream, std::function<void()> run) {
  return EnqueueWaiting(stream, AtOnce(std::move(run)));
}

cudaError_t EnqueueWaiting(cudaStream_t handle, std::function<bool()> progress) {
  const std::shared_ptr<StreamState> stream = StateOf(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture != nullptr) {
    Capture& capture = *stream->capture;
    if (!capture.valid) return cudaErrorStreamCaptureInvalidated;
    capture.nodes.push_back({std::move(progress), stream->capture_tail});
    stream->capture_tail = {capture.nodes.size() - 1};
    return cudaSuccess;
  }
  if (stream->is_null && !TheRuntime().captures.empty()) {
    for (const std::shared_ptr<Capture>& capture : TheRuntime().captures) capture->valid = false;
    return cudaErrorStreamCaptureImplicit;
  }
  return EnqueueAfter(stream, std::move(progress), {});
}

}  // namespace retort::cuda_on_cpu

namespace {

cudaError_t MakeStream(cudaStream_t* stream, unsigned int flags) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (stream == nullptr || flags > cudaStreamNonBlocking) return Failed(cudaErrorInvalidValue);
  auto state = std::make_shared<StreamState>();
  state->device = retort::cuda_on_cpu::CurrentDevice();
  state->waits_for_null = flags == cudaStreamDefault;
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  TheRuntime().streams.push_back(state);
  *stream = new CUstream_st{state};
  return cudaSuccess;
}

// Waits on the host for a point in a stream.
void WaitFor(const Point& point) {
  retort::cuda_on_cpu::CountHostWait(false);
  const retort::cuda_on_cpu::DeviceMemory::Access access(&TheRuntime().memory);
  retort::cuda_on_cpu::RunUntil(point);
}

// A poll: not ready the first time, and each one lets the awaited work advance by an operation.
cudaError_t Poll(const Point& point) {
  if (point.stream == nullptr || point.stream->done >= point.number) return cudaSuccess;
  const retort::cuda_on_cpu::DeviceMemory::Access access(&TheRuntime().memory);
  retort::cuda_on_cpu::Step(point.stream.get());
  return cudaErrorNotReady;  // not an error to be remembered
}

}  // namespace

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return MakeStream(stream, cudaStreamDefault);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  return MakeStream(stream, flags);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int flags, int /*priority*/) {
  return MakeStream(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const std::shared_ptr<StreamState> state = StateOf(stream);
  if (stream == nullptr || state == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  if (state->capture != nullptr) state->capture->valid = false;
  {
    const retort::cuda_on_cpu::DeviceMemory::Access access(&TheRuntime().memory);
    retort::cuda_on_cpu::RunUntil({state, state->queued});  // a device finishes what it was given
  }
  std::erase(TheRuntime().streams, state);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const std::shared_ptr<StreamState> state = StateOf(stream);
  if (state == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  if (state->capture != nullptr) {
    state->capture->valid = false;
    return Failed(cudaErrorStreamCaptureUnsupported);
  }
  if (const cudaError_t error = retort::cuda_on_cpu::RefuseDuringCapture(); error != cudaSuccess)
    return Failed(error);
  WaitFor({state, state->queued});
  if (!state->is_null) return cudaSuccess;
  for (const Point& point : retort::cuda_on_cpu::NullStreamOrder(*state)) WaitFor(point);
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const std::shared_ptr<StreamState> state = StateOf(stream);
  if (state == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  if (state->capture != nullptr) {
    state->capture->valid = false;
    return Failed(cudaErrorStreamCaptureUnsupported);
  }
  if (const cudaError_t error = retort::cuda_on_cpu::RefuseDuringCapture(); error != cudaSuccess)
    return Failed(error);
  return Poll({state, state->queued});
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (event == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  if (flags != 0) return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const std::shared_ptr<StreamState> state = StateOf(stream);
  if (state == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  if (event->capture != nullptr) {
    if (!event->capture->open) return Failed(cudaErrorCapturedEvent);
    if (state->capture == nullptr) {  // the stream joins the capture
      state->capture = event->capture;
      state->capture_tail = event->capture_tail;
      event->capture->joined.push_back(state);
      return cudaSuccess;
    }
    if (state->capture != event->capture) return Failed(cudaErrorStreamCaptureMerge);
    for (const std::size_t node : event->capture_tail) {
      if (std::ranges::find(state->capture_tail, node) == state->capture_tail.end())
        state->capture_tail.push_back(node);
    }
    return cudaSuccess;
  }
  if (state->capture != nullptr) {
    state->capture->valid = false;
    return Failed(cudaErrorStreamCaptureIsolation);
  }
  if (event->recorded.stream == nullptr) return cudaSuccess;  // never recorded: nothing to wait for
  return Failed(retort::cuda_on_cpu::EnqueueAfter(state, [] { return true; }, {event->recorded}));
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* user_data) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (function == nullptr) return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  return Failed(retort::cuda_on_cpu::Enqueue(stream, [function, user_data] { function(user_data); }));
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (event == nullptr || (flags & ~(cudaEventBlockingSync | cudaEventDisableTiming)) != 0) {
    return Failed(cudaErrorInvalidValue);
  }
  *event = new CUevent_st;
  (*event)->timed = (flags & cudaEventDisableTiming) == 0;
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  ++TheRuntime().events;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  --TheRuntime().events;
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (event == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const std::shared_ptr<StreamState> state = StateOf(stream);
  if (state == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  if (state->capture != nullptr) {
    event->capture = state->capture;
    event->capture_tail = state->capture_tail;
    return cudaSuccess;
  }
  event->capture = nullptr;
  event->time = std::make_shared<std::chrono::steady_clock::time_point>();
  const cudaError_t error = retort::cuda_on_cpu::Enqueue(
      stream, [time = event->time] { *time = std::chrono::steady_clock::now(); });
  event->recorded = {state, state->queued};
  return Failed(error);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (event == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  if (event->capture != nullptr) return Failed(cudaErrorCapturedEvent);
  if (const cudaError_t error = retort::cuda_on_cpu::RefuseDuringCapture(); error != cudaSuccess)
    return Failed(error);
  if (event->recorded.stream != nullptr) WaitFor(event->recorded);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (event == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  if (event->capture != nullptr) return Failed(cudaErrorCapturedEvent);
  if (const cudaError_t error = retort::cuda_on_cpu::RefuseDuringCapture(); error != cudaSuccess)
    return Failed(error);
  return Poll(event->recorded);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (milliseconds == nullptr) return Failed(cudaErrorInvalidValue);
  if (start == nullptr || end == nullptr || !start->timed || !end->timed) {
    return Failed(cudaErrorInvalidResourceHandle);
  }
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  for (const cudaEvent_t event : {start, end}) {
    if (event->recorded.stream == nullptr) return Failed(cudaErrorInvalidResourceHandle);
    if (event->recorded.stream->done < event->recorded.number) return cudaErrorNotReady;
  }
  *milliseconds = std::chrono::duration<float, std::milli>(*end->time - *start->time).count();
  return cudaSuccess;
}

}  // extern "C"
