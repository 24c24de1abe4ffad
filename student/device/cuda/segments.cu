#include <bit>
#include <cstring>

#include "student/device/cuda/segments.h"

namespace retort::student {
namespace {

// A graph of one node saves nothing.
constexpr std::size_t kCommandsLeast = 2;

// A Product without padding.
struct ProductArguments {
  void *a, *b, *c;
  std::int64_t a_stride, b_stride, c_stride, m, n, k;
  std::uint8_t a_element, b_element, c_element, transpose_a, transpose_b, accumulate, unused[2];
};

CommandResult RunProduct(const std::byte* arguments, cudaStream_t, void* matmul) {
  ProductArguments p;
  std::memcpy(&p, arguments, sizeof(p));
  const auto values = [](void* data, std::uint8_t element) {
    return Values(data, static_cast<Element>(element));
  };
  const Product product = {values(p.a, p.a_element),
                           values(p.b, p.b_element),
                           values(p.c, p.c_element),
                           p.a_stride,
                           p.b_stride,
                           p.c_stride,
                           p.m,
                           p.n,
                           p.k,
                           p.transpose_a != 0,
                           p.transpose_b != 0,
                           p.accumulate != 0};
  return {cudaSuccess, static_cast<int>(static_cast<CudaMatmul*>(matmul)->Multiply(product))};
}

// Eight bytes a turn: a piece is a few kilobytes, hashed for each time it comes.
std::uint64_t HashOf(const std::vector<std::byte>& bytes) {
  std::uint64_t hash = 0x9e3779b97f4a7c15;
  static_assert(sizeof(hash) == 8);
  for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {  // lists are padded to 16
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, sizeof(word));
    hash = (std::rotl(hash, 23) ^ word) * 0xff51afd7ed558ccd;
  }
  return hash;
}

}  // namespace

void Segments::AddProduct(const Product& p) {
  if (p.m == 0 || p.n == 0) return;
  const auto element = [](const Values& v) { return static_cast<std::uint8_t>(v.element); };
  list_.Add(&RunProduct, ProductArguments{p.a.data,
                                          p.b.data,
                                          p.c.data,
                                          p.a_stride,
                                          p.b_stride,
                                          p.c_stride,
                                          p.m,
                                          p.n,
                                          p.k,
                                          element(p.a),
                                          element(p.b),
                                          element(p.c),
                                          p.transpose_a,
                                          p.transpose_b,
                                          p.accumulate,
                                          {}});
}

CommandResult Segments::Run() {
  const CommandResult result = list_.Run(stream_, &matmul_);
  list_.Clear();
  return result;
}

CommandResult Segments::Flush() {
  if (list_.commands() < kCommandsLeast) return Run();
  CommandResult result;
  const std::uint64_t hash = HashOf(list_.bytes());
  const auto found = by_hash_.find(hash);
  if (found != by_hash_.end() && found->second->bytes == list_.bytes()) {
    Piece& piece = *found->second;
    pieces_.splice(pieces_.begin(), pieces_, found->second);
    if (piece.graph == nullptr) result = Capture(&piece.graph);
    if (result.ok()) result = Launch(piece.graph);
  } else {
    result = list_.Run(stream_, &matmul_);
    if (found == by_hash_.end()) {  // of two with one hash the first stays
      if (pieces_.size() == kPiecesMost) {
        const Piece& oldest = pieces_.back();
        if (oldest.graph != nullptr) cudaGraphExecDestroy(oldest.graph);
        by_hash_.erase(oldest.hash);
        pieces_.pop_back();
      }
      pieces_.push_front({hash, list_.bytes()});
      by_hash_.emplace(hash, pieces_.begin());
    }
  }
  list_.Clear();
  return result;
}

CommandResult Segments::Launch(cudaGraphExec_t graph) {
  return {cudaGraphLaunch(graph, stream_), 0, "a graph"};
}

// Other threads may use the device meanwhile (the watch over NCCL does), so only this one's calls are held to
// what a capture forbids.
CommandResult Segments::Capture(cudaGraphExec_t* executable) {
  CommandResult result = {cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), 0,
                          "the beginning of a capture"};
  if (!result.ok()) return result;
  const CommandResult kept = list_.Run(stream_, &matmul_);
  cudaGraph_t graph = nullptr;
  result = {cudaStreamEndCapture(stream_, &graph), 0, "the end of a capture"};
  if (!kept.ok()) result = kept;
  std::size_t nodes = 0;
  if (result.ok()) result = {cudaGraphGetNodes(graph, nullptr, &nodes), 0, "a captured graph"};
  // Less than a node for a command: something went to another stream, and a graph would leave it out.
  if (result.ok() && nodes < list_.commands())
    result = {cudaErrorStreamCaptureUnjoined, 0, "a captured graph"};
  if (result.ok()) result = {cudaGraphInstantiate(executable, graph, 0), 0, "making a graph executable"};
  if (graph != nullptr) cudaGraphDestroy(graph);
  return result;
}

void Segments::Clear() {
  for (const Piece& piece : pieces_) {
    if (piece.graph != nullptr) cudaGraphExecDestroy(piece.graph);
  }
  pieces_.clear();
  by_hash_.clear();
}

}  // namespace retort::student
