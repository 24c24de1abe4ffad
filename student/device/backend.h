// The seam between the student and the device that computes it: memory, copies, events and the operators by
// their names. Two implementations: `cpu` (cpu_backend.h, linked in, wraps student/ops and keeps its bits)
// and `cuda` (libretort_cuda.so, loaded by device.h; one stream, kernels and cuBLAS). student/model composes
// the training step once, over this class. The contracts of the operators are those of student/ops,
// student/loss and student/optimizer; here is said only what differs.
//
// Memory: every pointer in an operator's arguments is the backend's memory unless named `host`; the host
// reads none of it. It is handed out by Allocate and planned once per run (student/model/memory_plan.h).
// Offsets are the caller's arithmetic. Spans and structs themselves are on the host and are read before a
// call returns.
//
// Order: operators are queued on one stream and run in the order of the calls; on the CPU each is done when
// the call returns. Only ReadOffsets and Finish wait for the device.
//
// Errors: an operator returns nothing. The first failure of the device (out of memory, a launch refused, a
// device that fell off the bus) is kept; from then on operators do nothing, ReadOffsets answers with zeros,
// and Finish and failure() say what it was. Nothing throws. Preconditions are asserted where the host can see
// them.
//
// Repeatable: the same bits for the same device, build, compute type and shapes; no float atomics anywhere.
// Threads: one caller at a time.
#ifndef STUDENT_DEVICE_BACKEND_H_
#define STUDENT_DEVICE_BACKEND_H_

#include <cassert>
#include <cstdint>
#include <span>
#include <string>

#include "student/device/device_types.h"
#include "student/loss/head.h"
#include "student/model/packed_batch.h"
#include "student/model/parameters.h"
#include "student/ops/attention.h"
#include "student/ops/rope.h"
#include "student/ops/router.h"
#include "student/optimizer/adamw.h"
#include "student/parallel/part.h"

namespace retort::student {

// Changes with every change of this file or of a type in it; libretort_cuda.so of another version is refused.
inline constexpr int kBackendVersion = 4;

enum class Element : std::uint8_t { kF32, kBf16 };
inline constexpr std::int64_t BytesOf(Element element) {
  return element == Element::kF32 ? 4 : 2;
}

// Numbers whose type depends on the compute type. A view.
struct Values {
  void* data = nullptr;
  Element element = Element::kF32;

  Values() = default;
  Values(void* d, Element e) : data(d), element(e) {}
  Values(float* d) : data(d) {}                            // NOLINT: a float* is Values of fp32
  Values(const float* d) : data(const_cast<float*>(d)) {}  // NOLINT: operators say what they write
  float* f32() const {
    assert(element == Element::kF32);
    return static_cast<float*>(data);
  }
  Values at(std::int64_t index) const {
    return {static_cast<char*>(data) + index * BytesOf(element), element};
  }
};

struct DeviceDescription {
  std::string kind;               // "cpu" or "cuda"
  std::string name;               // for people: "avx512", "NVIDIA H100 80GB HBM3"
  std::string compute;            // "fp32" or "bf16": inputs of matrix products; sums are fp32 in both
  int ordinal = 0;                // of the device among those that the driver shows; 0 for the CPU
  std::string pci_bus_id;         // "0000:17:00.0", which NVML knows it by; empty for the CPU
  std::int64_t memory_bytes = 0;  // of the device; 0 on the CPU, where nothing is limited here
  std::int64_t free_bytes = 0;    // when the backend was made
};

// The largest sizes that a backend's working memory is made for.
struct PassLimits {
  std::int64_t positions = 0;  // of a batch
  std::int64_t rows = 0;       // of them, with loss
  int documents = 0;           // of a batch
  int teacher_k = 0;
  std::int64_t slots = 0;  // routed rows of one layer; positions * experts_per_token in one process

  bool operator==(const PassLimits&) const = default;
};

// One matrix product C = A*B or C += A*B in the sense of MatrixProduct (ops/matmul.h), row-major. a and b are
// of one type. With bf16 operands c is bf16 or fp32; sums are fp32 always. fp32 operands are multiplied in
// fp32, never in a shorter type.
struct Product {
  Values a, b, c;
  std::int64_t a_stride = 0, b_stride = 0, c_stride = 0;  // between rows, in numbers
  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false, accumulate = false;
};

// y[rows, out] = x[rows, in] * w[out, in]^T.
inline Product Linear(Values x, std::int64_t x_stride, Values w, Values y, std::int64_t y_stride,
                      std::int64_t rows, int in, int out, bool accumulate = false) {
  return {x, w, y, x_stride, in, y_stride, rows, out, in, false, true, accumulate};
}
// dx[rows, in] = or += dy[rows, out] * w[out, in].
inline Product LinearInput(Values dy, std::int64_t dy_stride, Values w, Values dx, std::int64_t dx_stride,
                           std::int64_t rows, int in, int out, bool accumulate = false) {
  return {dy, w, dx, dy_stride, in, dx_stride, rows, in, out, false, false, accumulate};
}
// dw[out, in] += dy[rows, out]^T * x[rows, in].
inline Product LinearWeight(Values dy, std::int64_t dy_stride, Values x, std::int64_t x_stride, float* dw,
                            std::int64_t rows, int in, int out) {
  return {dy, x, dw, dy_stride, x_stride, in, out, in, rows, true, false, true};
}

// The tables of one routed layer (ops/dispatch.h). host_offsets are those of the last ReadOffsets.
struct Routing {
  std::int32_t* chosen = nullptr;       // [T, K]
  float* scores = nullptr;              // [T, E]
  float* weights = nullptr;             // [T, K]
  std::int32_t* offsets = nullptr;      // [E + 1]
  std::int32_t* slot_tokens = nullptr;  // [T * K]
  float* slot_weights = nullptr;        // [T * K]
  std::int32_t* token_slots = nullptr;  // [T, K]
};

// The same linear layer of every expert, each over its own slots. Experts without a slot are left out: their
// outputs have no rows, and nothing is added to the gradient of their weights.
struct ExpertProduct {
  enum class Kind {
    kForward,  // y = x * w^T
    kInput,    // x = y * w (x and y are gradients)
    kWeight,   // w += y^T * x (w and y are gradients; w is fp32)
  };
  Kind kind = Kind::kForward;
  Values x;  // [slots, in], or [T, in] if x_by_token: the row of a slot's token
  Values y;  // [slots, out], or [T, out] if y_by_token
  Values w;  // [out, in] of expert 0; expert e at w_stride * e
  std::int64_t w_stride = 0;
  int in = 0, out = 0;
  bool x_by_token = false, y_by_token = false;  // of operands that are read
};
// Slots of the experts; slot_tokens is read only for operands by token.
struct ExpertSlots {
  std::span<const std::int32_t> host_offsets;  // [E + 1]
  const std::int32_t* slot_tokens = nullptr;   // [slots]
};

// A batch in the backend's memory, and where it came from.
struct BatchTables {
  const PackedBatch* host = nullptr;              // outlives the pass
  std::span<const AttentionSpan> host_documents;  // one span per document, queries == keys; outlives the pass
  std::int64_t positions = 0, rows = 0;
  const std::int32_t* tokens = nullptr;           // [T]
  const std::int32_t* token_positions = nullptr;  // [T]
  const std::int32_t* document_starts = nullptr;  // [D + 1]
  const std::int32_t* targets = nullptr;          // [T]
  const float* weights = nullptr;                 // [T]
  const std::int32_t* teacher_counts = nullptr;   // [T], with a teacher; so the three below
  const std::int32_t* teacher_ids = nullptr;
  const float* teacher_logprobs = nullptr;
  const float* teacher_tail_logprobs = nullptr;
  const std::int32_t* loss_rows = nullptr;       // [rows]: positions with weight != 0, rising
  std::span<const std::int32_t> host_loss_rows;  // the same; outlives the pass
};

struct RopeTables {
  const RopeTable* host = nullptr;
  const float* cosines = nullptr;  // [positions, dim / 2]
  const float* sines = nullptr;
};

struct AttentionValues {
  Values q, kv, rope_key;  // as AttentionTensors
  Values out;
  float* log_sum = nullptr;  // [heads, total_queries]
  std::int64_t total_queries = 0;
};
struct AttentionValueGradients {
  Values d_out, d_q, d_kv, d_rope_key;  // as AttentionGradients
};

// Per row with loss, in the order of loss_rows.
struct TokenLosses {
  double* cross_entropy = nullptr;
  double* divergence = nullptr;
  std::int32_t* argmax = nullptr;  // null: not wanted
};

struct HeadArguments {
  Values x;  // [T, hidden]
  Values w;  // [vocabulary, hidden]
  int vocabulary = 0, hidden = 0;
  float* d_x = nullptr;  // null with d_w: forward only. [T, hidden]: rows with loss are overwritten
  float* d_w = nullptr;  // [vocabulary, hidden], added to
  float ce_weight = 0;
  const double* factor = nullptr;
  TokenLosses losses;
  HeadSums* sums = nullptr;  // added to
};

// All of one layout.
struct OptimizerTensors {
  const ParameterLayout* layout = nullptr;
  const float* gradients = nullptr;
  float *weights = nullptr, *first_moment = nullptr, *second_moment = nullptr;
  Bf16* matrices = nullptr;  // bf16 copy of the weights at the same offsets, rewritten; null in fp32
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const DeviceDescription& description() const = 0;
  // Type of activations and of the copy of the weights that matrix products read.
  virtual Element activation() const = 0;

  // Memory. 256-byte aligned, contents undefined. Null when it does not fit; failure() then gives the
  // numbers.
  virtual void* Allocate(std::int64_t bytes) = 0;
  virtual void Free(void* memory) = 0;
  // Bytes of working memory that the operators need for a model and limits, and making it, once before the
  // first operator and again for larger limits. False when it does not fit.
  virtual std::int64_t WorkspaceBytes(const ParameterLayout& layout, const PassLimits& limits) const = 0;
  virtual bool Reserve(const ParameterLayout& layout, const PassLimits& limits) = 0;

  // Copies, in the order of the stream. Upload has read `host` when it returns. What Download writes is there
  // after Finish.
  virtual void Upload(const void* host, std::int64_t bytes, void* to) = 0;
  virtual void Download(const void* from, std::int64_t bytes, void* host) = 0;
  virtual void Copy(const void* from, std::int64_t bytes, void* to) = 0;
  virtual void Zero(void* memory, std::int64_t bytes) = 0;
  // to[row, i] = from[row, i], i < columns; the types may differ.
  virtual void CopyColumns(Values from, std::int64_t from_stride, Values to, std::int64_t to_stride,
                           std::int64_t rows, int columns) = 0;
  // fp32 as activations: `from` itself in fp32, otherwise `to`, rounded to nearest, ties to even.
  virtual Values Convert(const float* from, std::int64_t count, Values to) = 0;
  // Whether the backend's memory is the host's.
  virtual bool host_memory() const = 0;
  // Waits for everything queued. Empty, or the first failure since the backend was made.
  virtual std::string Finish() = 0;
  virtual const std::string& failure() const = 0;

  // Streams for transfers beside the computation, and events between them. On the CPU all of it is empty: a
  // Stream without a handle. Streams and events are freed with the backend.
  virtual Stream stream() = 0;  // the one that operators run on; what segments keep is given to it first
  virtual Stream MakeStream() = 0;
  virtual void* MakeEvent() = 0;
  virtual void Record(void* event, Stream stream) = 0;
  virtual void Wait(Stream stream, void* event) = 0;  // work given to `stream` from here on waits for it

  // Between the two a backend may keep operators back and give them to its stream in pieces that it has
  // learned to repeat (cuda/segments.h: CUDA graphs of what comes again with the same shapes and addresses).
  // Results, order and failures are as without. Whatever needs the host or another stream (ReadOffsets,
  // products of experts, transfers, events, stream(), memory, Finish) comes after what was kept before it.
  // Not nested; nothing on the CPU.
  virtual void BeginSegments() = 0;
  virtual void EndSegments() = 0;

  // Operators. BeginBatch comes before those of a batch, within what is reserved.
  virtual void BeginBatch(const BatchTables& batch) = 0;
  virtual void Embed(const float* table, const BatchTables& batch, int n, float* x) = 0;
  virtual void EmbedBackward(const BatchTables& batch, const float* dx, int vocabulary, int n,
                             float* d_table) = 0;
  virtual void RmsNorm(const float* x, std::int64_t x_stride, const float* w, std::int64_t rows, int n,
                       float epsilon, Values y, std::int64_t y_stride, float* r) = 0;
  virtual void RmsNormBackward(const float* x, std::int64_t x_stride, const float* w, const float* r,
                               const float* dy, std::int64_t dy_stride, std::int64_t rows, int n, float* dx,
                               std::int64_t dx_stride, float* dw) = 0;
  virtual void Rope(const RopeTables& table, const std::int32_t* positions, std::int64_t rows, int vectors,
                    bool backward, Values x, std::int64_t row_stride, std::int64_t vector_stride) = 0;
  virtual void Attention(const AttentionShape& shape, const BatchTables& batch,
                         const AttentionValues& values) = 0;
  virtual void AttentionBackward(const AttentionShape& shape, const BatchTables& batch,
                                 const AttentionValues& values, const AttentionValueGradients& gradients) = 0;
  // Independent products, dense ones and those of experts, together.
  virtual void MatMul(std::span<const Product> products, std::span<const ExpertProduct> experts = {},
                      const ExpertSlots& slots = {}) = 0;
  virtual void Swiglu(Values gate_up, const float* scale, std::int64_t rows, int n, Values h) = 0;
  virtual void SwigluBackward(Values gate_up, const float* scale, Values d_h, std::int64_t rows, int n,
                              Values d_gate_up, float* d_scale) = 0;
  // Fills scores, chosen, weights, and sorts: offsets, slot_tokens, slot_weights, token_slots.
  virtual void Route(const RouterShape& shape, const float* logits, const float* bias, std::int64_t tokens,
                     const Routing& routing) = 0;
  // Waits until the offsets are on the host: the one wait inside a step, since the grouped products take
  // their sizes from host memory (docs/decisions/0005-one-wait-per-routed-layer.md).
  virtual void ReadOffsets(const std::int32_t* offsets, std::span<std::int32_t> host) = 0;
  // d_slot_weights [slots] is the gradient of the slots' weights; d_logits [T, E] is overwritten.
  virtual void RouteBackward(const RouterShape& shape, const Routing& routing, const float* d_slot_weights,
                             std::int64_t tokens, float* d_logits) = 0;
  // Of every document of the batch: adds to *sums, and *factor * T_d * alpha times the gradient to d_logits.
  virtual void BalanceLoss(const RouterShape& shape, const BatchTables& batch, const float* scores,
                           double alpha, const double* factor, float* d_logits, BalanceSums* sums) = 0;
  virtual void GatherSum(const Routing& routing, Values slots, std::int64_t tokens, int per_token, int n,
                         float* y) = 0;
  virtual void HeadLoss(const HeadArguments& arguments, const BatchTables& batch) = 0;
  // y[i] = x[rows[i]], i < count; rows of n values, dense, of one type.
  virtual void GatherRows(Values x, const std::int32_t* rows, std::int64_t count, int n, Values y) = 0;

  // The optimiser. Global norm of the gradients into *norm.
  virtual void GlobalNorm(const OptimizerTensors& tensors, double* norm) = 0;
  // Clips by `norm` (finite) and steps every trained tensor; steps_taken counts the ones before.
  virtual void StepAdamW(const AdamWOptions& options, const OptimizerTensors& tensors, double norm,
                         double learning_rate, std::int64_t steps_taken) = 0;
  // The same for one rank of several (student/parallel/shard_plan.h): trained values within `parts` of the
  // storage alone. Sum of their squares in fp64 into *sum; and the step, with packed moments: those of a part
  // begin where those of the part before end. `matrices` is not written.
  virtual void SquaredNorm(const OptimizerTensors& tensors, std::span<const Part> parts, double* sum) = 0;
  virtual void StepAdamW(const AdamWOptions& options, const OptimizerTensors& tensors,
                         std::span<const Part> parts, double norm, double learning_rate,
                         std::int64_t steps_taken) = 0;
  // Rewrites tensors.matrices from tensors.weights; nothing in fp32.
  virtual void RoundMatrices(const OptimizerTensors& tensors) = 0;
  // host_loads [moe_layers, experts] of the whole step (optimizer/expert_bias.h).
  virtual void UpdateExpertBias(const ParameterLayout& layout, std::span<const std::int64_t> host_loads,
                                double rate, float* weights) = 0;
};

}  // namespace retort::student

#endif  // STUDENT_DEVICE_BACKEND_H_
