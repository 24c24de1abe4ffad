#include "student/device/cpu_backend.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "student/ops/dispatch.h"
#include "student/ops/embedding.h"
#include "student/ops/matmul.h"
#include "student/ops/rms_norm.h"
#include "student/ops/swiglu.h"
#include "student/optimizer/expert_bias.h"
#include "student/parallel/adamw_parts.h"
#include "student/tensor/compute.h"

namespace retort::student {
namespace {

namespace ops = ::retort::student;  // inside the class its own operators hide the functions of the same names

class CpuBackend final : public Backend {
 public:
  CpuBackend(ThreadPool& pool, Isa isa) : scratch_(pool.size()), compute_{&pool, &scratch_, isa} {
    assert(IsaSupported(isa));
    description_ = {.kind = "cpu", .name = IsaName(isa), .compute = "fp32"};
  }

  const DeviceDescription& description() const override { return description_; }
  Element activation() const override { return Element::kF32; }

  void* Allocate(std::int64_t bytes) override {
    const std::int64_t rounded = (std::max<std::int64_t>(bytes, 1) + 255) / 256 * 256;
    void* const memory = std::aligned_alloc(256, static_cast<std::size_t>(rounded));
    if (memory == nullptr && failure_.empty()) {
      failure_ = "out of memory: the host refuses " + std::to_string(bytes) + " bytes";
    }
    return memory;
  }
  void Free(void* memory) override { std::free(memory); }
  // The operators grow their own scratch memory as they go.
  std::int64_t WorkspaceBytes(const ParameterLayout&, const PassLimits&) const override { return 0; }
  bool Reserve(const ParameterLayout&, const PassLimits&) override { return true; }

  void Upload(const void* host, std::int64_t bytes, void* to) override { Copy(host, bytes, to); }
  void Download(const void* from, std::int64_t bytes, void* host) override { Copy(from, bytes, host); }
  void Copy(const void* from, std::int64_t bytes, void* to) override {
    if (bytes > 0) std::memcpy(to, from, static_cast<std::size_t>(bytes));
  }
  void Zero(void* memory, std::int64_t bytes) override {
    if (bytes > 0) std::memset(memory, 0, static_cast<std::size_t>(bytes));
  }
  void CopyColumns(Values from, std::int64_t from_stride, Values to, std::int64_t to_stride,
                   std::int64_t rows, int columns) override {
    for (std::int64_t t = 0; t < rows; ++t) {
      std::copy_n(from.f32() + t * from_stride, columns, to.f32() + t * to_stride);
    }
  }
  Values Convert(const float* from, std::int64_t, Values) override { return from; }
  bool host_memory() const override { return true; }
  std::string Finish() override { return failure_; }
  const std::string& failure() const override { return failure_; }

  Stream stream() override { return {}; }
  Stream MakeStream() override { return {}; }
  void* MakeEvent() override { return nullptr; }
  void Record(void*, Stream) override {}
  void Wait(Stream, void*) override {}
  void BeginSegments() override {}
  void EndSegments() override {}

  void BeginBatch(const BatchTables&) override {}
  void Embed(const float* table, const BatchTables& batch, int n, float* x) override {
    ops::Embed(compute_, table, Tokens(batch), n, x);
  }
  void EmbedBackward(const BatchTables& batch, const float* dx, int, int n, float* d_table) override {
    ops::EmbedBackward(compute_, Tokens(batch), dx, n, d_table);
  }
  void RmsNorm(const float* x, std::int64_t x_stride, const float* w, std::int64_t rows, int n, float epsilon,
               Values y, std::int64_t y_stride, float* r) override {
    ops::RmsNorm(compute_, x, x_stride, w, rows, n, epsilon, y.f32(), y_stride, r);
  }
  void RmsNormBackward(const float* x, std::int64_t x_stride, const float* w, const float* r, const float* dy,
                       std::int64_t dy_stride, std::int64_t rows, int n, float* dx, std::int64_t dx_stride,
                       float* dw) override {
    ops::RmsNormBackward(compute_, x, x_stride, w, r, dy, dy_stride, rows, n, dx, dx_stride, dw);
  }
  void Rope(const RopeTables& table, const std::int32_t* positions, std::int64_t rows, int vectors,
            bool backward, Values x, std::int64_t row_stride, std::int64_t vector_stride) override {
    ops::Rope(compute_, *table.host, positions, rows, vectors, backward, x.f32(), row_stride, vector_stride);
  }
  void Attention(const AttentionShape& shape, const BatchTables& batch, const AttentionValues& v) override {
    ops::Attention(compute_, shape, batch.host_documents, Tensors(v));
  }
  void AttentionBackward(const AttentionShape& shape, const BatchTables& batch, const AttentionValues& v,
                         const AttentionValueGradients& g) override {
    ops::AttentionBackward(compute_, shape, batch.host_documents, Tensors(v),
                           {g.d_out.f32(), g.d_q.f32(), g.d_kv.f32(), g.d_rope_key.f32(),
                            rope_key_shares_.Reserve(v.total_queries * shape.heads * shape.rope)});
  }

  // All products in one list, those of experts first: sixteen small experts keep the threads as busy as one
  // large matrix, and gathered rows are read where they lie.
  void MatMul(std::span<const Product> products, std::span<const ExpertProduct> experts,
              const ExpertSlots& slots) override {
    products_.clear();
    const int expert_count = static_cast<int>(slots.host_offsets.size()) - 1;
    for (int e = 0; e < expert_count && !experts.empty(); ++e) {
      const std::int32_t first = slots.host_offsets[e];
      const int size = slots.host_offsets[e + 1] - first;
      if (size == 0) continue;
      for (const ExpertProduct& p : experts)
        products_.push_back(OfExpert(p, slots.slot_tokens, e, first, size));
    }
    for (const Product& p : products) {
      products_.push_back({.a = {p.a.f32(), p.a_stride},
                           .b = {p.b.f32(), p.b_stride},
                           .c = p.c.f32(),
                           .c_stride = p.c_stride,
                           .m = static_cast<int>(p.m),
                           .n = static_cast<int>(p.n),
                           .k = static_cast<int>(p.k),
                           .transpose_a = p.transpose_a,
                           .transpose_b = p.transpose_b,
                           .accumulate = p.accumulate});
    }
    ops::MatMul(compute_, products_);
  }

  void Swiglu(Values gate_up, const float* scale, std::int64_t rows, int n, Values h) override {
    ops::Swiglu(compute_, gate_up.f32(), scale, rows, n, h.f32());
  }
  void SwigluBackward(Values gate_up, const float* scale, Values d_h, std::int64_t rows, int n,
                      Values d_gate_up, float* d_scale) override {
    ops::SwigluBackward(compute_, gate_up.f32(), scale, d_h.f32(), rows, n, d_gate_up.f32(), d_scale);
  }

  void Route(const RouterShape& shape, const float* logits, const float* bias, std::int64_t tokens,
             const Routing& routing) override {
    ops::Route(compute_, shape, logits, bias, tokens, routing.scores, routing.chosen, routing.weights);
    SortByExpert(routing.chosen, routing.weights, tokens, shape.per_token, shape.experts, &sorted_);
    std::copy(sorted_.offsets.begin(), sorted_.offsets.end(), routing.offsets);
    std::copy(sorted_.slot_tokens.begin(), sorted_.slot_tokens.end(), routing.slot_tokens);
    std::copy(sorted_.slot_weights.begin(), sorted_.slot_weights.end(), routing.slot_weights);
    std::copy(sorted_.token_slots.begin(), sorted_.token_slots.end(), routing.token_slots);
  }
  void ReadOffsets(const std::int32_t* offsets, std::span<std::int32_t> host) override {
    std::copy_n(offsets, host.size(), host.begin());
  }
  void RouteBackward(const RouterShape& shape, const Routing& routing, const float* d_slot_weights,
                     std::int64_t tokens, float* d_logits) override {
    const std::int64_t slots = tokens * shape.per_token;
    float* const d_weights = d_weights_.Reserve(slots);
    for (std::int64_t i = 0; i < slots; ++i) d_weights[i] = d_slot_weights[routing.token_slots[i]];
    ops::RouteBackward(compute_, shape, routing.scores, routing.chosen, d_weights, tokens, d_logits);
  }
  void BalanceLoss(const RouterShape& shape, const BatchTables& batch, const float* scores, double alpha,
                   const double* factor, float* d_logits, BalanceSums* sums) override {
    for (const AttentionSpan& document : batch.host_documents) {
      const std::int64_t offset = document.first_query * shape.experts;
      const double tokens = static_cast<double>(document.queries);
      const double loss = alpha * ops::BalanceLoss(shape, scores + offset, document.queries,
                                                   alpha * *factor * tokens, d_logits + offset);
      sums->loss += loss;
      sums->token_loss += tokens * loss;
    }
  }
  void GatherSum(const Routing& routing, Values slots, std::int64_t tokens, int per_token, int n,
                 float* y) override {
    ops::GatherSum(compute_, routing.token_slots, slots.f32(), tokens, per_token, n, y);
  }

  void HeadLoss(const HeadArguments& a, const BatchTables& batch) override {
    const PackedBatch& host = *batch.host;
    const std::vector<HeadResult> losses =
        ops::HeadLoss(compute_, &head_memory_, {a.x.f32(), a.w.f32(), a.vocabulary, a.hidden, a.d_x, a.d_w},
                      host, batch.host_loss_rows, a.ce_weight, *a.factor, a.losses.argmax != nullptr);
    for (std::size_t i = 0; i < losses.size(); ++i) {
      const std::int32_t t = batch.host_loss_rows[i];
      const TokenLoss& loss = losses[i].loss;
      a.losses.cross_entropy[i] = loss.cross_entropy;
      a.losses.divergence[i] = loss.divergence;
      if (a.losses.argmax != nullptr) a.losses.argmax[i] = losses[i].argmax;
      const double weight = host.weights[t];
      const bool has_teacher = TeacherAt(host, t).count > 0;
      a.sums->valid_tokens += weight;
      if (has_teacher) a.sums->teacher_tokens += weight;
      a.sums->ce_sum += weight * loss.cross_entropy;
      a.sums->kl_sum += weight * loss.divergence;
      a.sums->mixed_sum += weight * loss.Mixed(a.ce_weight, has_teacher);
    }
  }

  void GatherRows(Values x, const std::int32_t* rows, std::int64_t count, int n, Values y) override {
    ForEachBlock(compute_, count, 64, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        std::copy_n(x.f32() + std::int64_t{rows[i]} * n, n, y.f32() + i * n);
      }
    });
  }

  void GlobalNorm(const OptimizerTensors& tensors, double* norm) override {
    *norm = ops::GlobalNorm(*tensors.layout, tensors.gradients, *compute_.pool);
  }
  void StepAdamW(const AdamWOptions& options, const OptimizerTensors& t, double norm, double learning_rate,
                 std::int64_t steps_taken) override {
    ops::StepAdamW(options, *t.layout, t.gradients, norm, learning_rate, steps_taken, t.weights,
                   t.first_moment, t.second_moment, *compute_.pool, compute_.isa);
  }
  void SquaredNorm(const OptimizerTensors& t, std::span<const Part> parts, double* sum) override {
    *sum = ops::SquaredNorm(*t.layout, t.gradients, parts, *compute_.pool);
  }
  void StepAdamW(const AdamWOptions& options, const OptimizerTensors& t, std::span<const Part> parts,
                 double norm, double learning_rate, std::int64_t steps_taken) override {
    ops::StepAdamW(options, *t.layout, parts, t.gradients, norm, learning_rate, steps_taken, t.weights,
                   t.first_moment, t.second_moment, *compute_.pool, compute_.isa);
  }
  void RoundMatrices(const OptimizerTensors&) override {}
  void UpdateExpertBias(const ParameterLayout& layout, std::span<const std::int64_t> host_loads, double rate,
                        float* weights) override {
    ops::UpdateExpertBias(layout, host_loads, rate, weights);
  }

 private:
  static std::span<const std::int32_t> Tokens(const BatchTables& batch) {
    return {batch.tokens, static_cast<std::size_t>(batch.positions)};
  }
  static AttentionTensors Tensors(const AttentionValues& v) {
    return {v.q.f32(), v.kv.f32(), v.rope_key.f32(), v.out.f32(), v.log_sum, v.total_queries};
  }
  // The product of one expert, whose slots are [first, first + size).
  static MatrixProduct OfExpert(const ExpertProduct& p, const std::int32_t* slot_tokens, int expert,
                                std::int32_t first, int size) {
    const auto operand = [&](Values v, int width, bool by_token) {
      return by_token ? MatrixView{v.f32(), width, slot_tokens + first}
                      : MatrixView{v.f32() + static_cast<std::int64_t>(first) * width, width};
    };
    float* const w = p.w.f32() + p.w_stride * expert;
    switch (p.kind) {
      case ExpertProduct::Kind::kForward:
        return LinearForward(operand(p.x, p.in, p.x_by_token), {w, p.in},
                             p.y.f32() + static_cast<std::int64_t>(first) * p.out, p.out, size, p.in, p.out);
      case ExpertProduct::Kind::kInput:
        return LinearBackwardInput(operand(p.y, p.out, p.y_by_token), {w, p.in},
                                   p.x.f32() + static_cast<std::int64_t>(first) * p.in, p.in, size, p.in,
                                   p.out, false);
      case ExpertProduct::Kind::kWeight:
        break;
    }
    return LinearBackwardWeight(operand(p.y, p.out, p.y_by_token), operand(p.x, p.in, p.x_by_token), w, p.in,
                                size, p.in, p.out);
  }

  DeviceDescription description_;
  Scratch scratch_;
  const Compute compute_;
  std::string failure_;
  std::vector<MatrixProduct> products_;
  Dispatch sorted_;
  Buffer d_weights_, rope_key_shares_;
  HeadMemory head_memory_;
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(ThreadPool& pool, Isa isa) {
  return std::make_unique<CpuBackend>(pool, isa);
}

}  // namespace retort::student
