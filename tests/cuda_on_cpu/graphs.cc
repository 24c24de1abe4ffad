// Graphs: what a stream was given between Begin and EndCapture, to be run again and again. A launch runs the
// nodes in an order that only their dependencies fix, the youngest that is ready first.
#include <algorithm>
#include <optional>

#include "tests/cuda_on_cpu/runtime.h"

using retort::cuda_on_cpu::Capture;
using retort::cuda_on_cpu::DeviceError;
using retort::cuda_on_cpu::Failed;
using retort::cuda_on_cpu::StateOf;
using retort::cuda_on_cpu::StreamState;
using retort::cuda_on_cpu::TheRuntime;

struct CUgraph_st {
  std::vector<Capture::Node> nodes;
};
struct CUgraphExec_st {
  std::shared_ptr<const std::vector<Capture::Node>> nodes;
};

namespace retort::cuda_on_cpu {

cudaError_t RefuseDuringCapture() {
  cudaError_t error = cudaSuccess;
  for (const std::shared_ptr<Capture>& capture : TheRuntime().captures) {
    if (capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (capture->mode == cudaStreamCaptureModeThreadLocal && capture->thread != std::this_thread::get_id())
      continue;
    capture->valid = false;
    error = cudaErrorStreamCaptureUnsupported;
  }
  return error;
}

}  // namespace retort::cuda_on_cpu

namespace {

// A launch of a graph in progress. Nodes run one at a time; one that waits for another process lets the
// others go on.
struct GraphRun {
  std::shared_ptr<const std::vector<Capture::Node>> nodes;
  std::vector<bool> done = std::vector<bool>(nodes->size(), false);
  std::size_t left = nodes->size();

  bool Progress() {
    bool moved = true;
    while (left > 0 && moved) {
      moved = false;
      for (std::size_t i = nodes->size(); i-- > 0 && !moved;) {
        const Capture::Node& node = (*nodes)[i];
        if (done[i] || !std::ranges::all_of(node.after, [&](std::size_t other) { return done[other]; }))
          continue;
        if (!node.progress()) continue;
        done[i] = moved = true;
        --left;
      }
    }
    return left == 0;
  }
};

// Nodes from which `tail` cannot be reached were forked to a stream that never came back.
bool AllJoined(const Capture& capture, const std::vector<std::size_t>& tail) {
  std::vector<bool> reached(capture.nodes.size(), false);
  std::vector<std::size_t> open = tail;
  while (!open.empty()) {
    const std::size_t node = open.back();
    open.pop_back();
    if (reached[node]) continue;
    reached[node] = true;
    open.insert(open.end(), capture.nodes[node].after.begin(), capture.nodes[node].after.end());
  }
  return std::ranges::all_of(reached, [](bool seen) { return seen; });
}

}  // namespace

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const std::shared_ptr<StreamState> state = StateOf(stream);
  if (state == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  if (state->is_null) return Failed(cudaErrorStreamCaptureUnsupported);
  if (mode < cudaStreamCaptureModeGlobal || mode > cudaStreamCaptureModeRelaxed)
    return Failed(cudaErrorInvalidValue);
  if (state->capture != nullptr) return Failed(cudaErrorIllegalState);
  auto capture = std::make_shared<Capture>();
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->joined.push_back(state);
  state->capture = capture;
  state->capture_tail.clear();
  TheRuntime().captures.push_back(capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (graph == nullptr) return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  *graph = nullptr;
  const std::shared_ptr<StreamState> state = StateOf(stream);
  if (state == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Capture> capture = state->capture;
  if (capture == nullptr) return Failed(cudaErrorIllegalState);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
    return Failed(cudaErrorStreamCaptureWrongThread);
  if (capture->joined.front() != state) {  // began on another stream
    capture->valid = false;
    return Failed(cudaErrorStreamCaptureUnmatched);
  }
  const bool joined = AllJoined(*capture, state->capture_tail);
  for (const std::shared_ptr<StreamState>& member : capture->joined) {
    member->capture = nullptr;
    member->capture_tail.clear();
  }
  std::erase(TheRuntime().captures, capture);
  capture->open = false;
  if (!capture->valid) return Failed(cudaErrorStreamCaptureInvalidated);
  if (!joined) return Failed(cudaErrorStreamCaptureUnjoined);
  *graph = new CUgraph_st{std::move(capture->nodes)};
  ++TheRuntime().graphs;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (status == nullptr) return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const std::shared_ptr<StreamState> state = StateOf(stream);
  if (state == nullptr) return Failed(cudaErrorInvalidResourceHandle);
  *status = state->capture == nullptr ? cudaStreamCaptureStatusNone
            : state->capture->valid   ? cudaStreamCaptureStatusActive
                                      : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  if (graph == nullptr || count == nullptr) return Failed(cudaErrorInvalidValue);
  if (nodes != nullptr) return Failed(cudaErrorNotSupported);  // nodes have no handles here, only a number
  *count = graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (executable == nullptr || graph == nullptr || flags != 0) return Failed(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{std::make_shared<std::vector<Capture::Node>>(graph->nodes)};
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  ++TheRuntime().graphs;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (executable == nullptr) return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  ++TheRuntime().graph_launches;
  const auto run = std::make_shared<GraphRun>(GraphRun{executable->nodes});
  return Failed(retort::cuda_on_cpu::EnqueueWaiting(stream, [run] { return run->Progress(); }));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (graph == nullptr) return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  --TheRuntime().graphs;
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  if (executable == nullptr) return Failed(cudaErrorInvalidValue);
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  --TheRuntime().graphs;
  delete executable;
  return cudaSuccess;
}

}  // extern "C"
