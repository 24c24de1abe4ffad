#include "student/bench/operators.h"

#include <algorithm>

namespace retort::student {

double OperatorTime::bound(const Ceilings& ceilings) const {
  return std::max(flops / ceilings.flops, bytes / ceilings.bytes);
}

bool OperatorTime::memory_bound(const Ceilings& ceilings) const {
  return bytes / ceilings.bytes >= flops / ceilings.flops;
}

namespace {

class OperatorBench {
 public:
  OperatorBench(Backend& backend, const ModelConfig& config, const BatchShape& shape, double seconds)
      : backend_(backend),
        config_(config),
        batch_(backend, config, shape),
        seconds_(seconds),
        tokens_(shape.tokens),
        width_(BytesOf(backend.activation())),
        router_{.experts = config.experts,
                .per_token = config.experts_per_token,
                .groups = config.expert_groups,
                .groups_per_token = config.expert_groups_per_token,
                .scaling = config.routed_scaling,
                .normalise = config.normalise_expert_weights} {}

  std::vector<OperatorTime> Run() {
    if (!backend_.Reserve(*ParameterLayout::Create(config_), batch_.limits(config_))) Fail();
    backend_.BeginBatch(batch_.tables());
    Embedding();
    Norm();
    Rotation();
    Attention();
    Linears();
    Experts();
    Gates();
    Head();
    Optimizer();
    return std::move(times_);
  }

 private:
  [[noreturn]] void Fail() {
    std::fprintf(stderr, "device_bench: %s\n", backend_.failure().c_str());
    std::exit(1);
  }

  // bytes and flops of one call.
  template <typename Call>
  void Measure(const char* name, double flops, double bytes, const Call& call) {
    const double seconds = SecondsPerCall(backend_, seconds_, call);
    if (!backend_.failure().empty()) Fail();
    times_.push_back({name, flops, bytes, seconds});
  }

  void Embedding() {
    BenchMemory memory(backend_);
    const int n = config_.hidden;
    const double rows = static_cast<double>(tokens_) * n * 4;
    const double distinct = static_cast<double>(batch_.distinct_tokens()) * n * 4;
    float* const table = memory.Floats(static_cast<std::int64_t>(config_.vocabulary) * n);
    float* const x = memory.Floats(tokens_ * n);
    Measure("embed", 0, distinct + rows, [&] { backend_.Embed(table, batch_.tables(), n, x); });
    Measure("embed backward", 0, rows + 2 * distinct,
            [&] { backend_.EmbedBackward(batch_.tables(), x, config_.vocabulary, n, table); });
  }

  void Norm() {
    BenchMemory memory(backend_);
    const int n = config_.hidden;
    const std::int64_t count = tokens_ * n;
    const float* const x = memory.Floats(count);
    const float* const w = memory.Floats(n);
    float *const r = memory.Zeros<float>(tokens_), *const dw = memory.Zeros<float>(n);
    const Values y = memory.Activations(count);
    const float* const dy = memory.Floats(count);
    float* const dx = memory.Zeros<float>(count);
    Measure("rms norm", 0, static_cast<double>(count) * (4 + width_),
            [&] { backend_.RmsNorm(x, n, w, tokens_, n, 1e-6f, y, n, r); });
    Measure("rms norm backward", 0, static_cast<double>(count) * 16,
            [&] { backend_.RmsNormBackward(x, n, w, r, dy, n, tokens_, n, dx, n, dw); });
  }

  void Rotation() {
    BenchMemory memory(backend_);
    const int dim = config_.rope_head_dim, head = config_.query_head_dim();
    const std::int64_t stride = static_cast<std::int64_t>(config_.heads) * head;
    const RopeTable host(config_.rope_theta, dim, config_.context);
    const std::size_t values = static_cast<std::size_t>(config_.context) * static_cast<std::size_t>(dim) / 2;
    const RopeTables table = {&host, memory.Copy(std::span(host.cosines(0), values)),
                              memory.Copy(std::span(host.sines(0), values))};
    const Values q = memory.Activations(tokens_ * stride);
    Measure("rope of queries", 0, 2.0 * static_cast<double>(tokens_) * config_.heads * dim * width_, [&] {
      backend_.Rope(table, batch_.tables().token_positions, tokens_, config_.heads, false,
                    q.at(config_.nope_head_dim), stride, head);
    });
  }

  void Attention() {
    BenchMemory memory(backend_);
    const AttentionShape shape = {config_.heads, config_.nope_head_dim, config_.rope_head_dim,
                                  config_.value_head_dim};
    const std::int64_t q = static_cast<std::int64_t>(shape.heads) * shape.query();
    const std::int64_t kv = static_cast<std::int64_t>(shape.heads) * shape.key_value();
    const std::int64_t out = static_cast<std::int64_t>(shape.heads) * shape.value;
    const AttentionValues values = {.q = memory.Activations(tokens_ * q),
                                    .kv = memory.Activations(tokens_ * kv),
                                    .rope_key = memory.Activations(tokens_ * shape.rope),
                                    .out = memory.Activations(tokens_ * out),
                                    .log_sum = memory.Zeros<float>(tokens_ * shape.heads),
                                    .total_queries = tokens_};
    const AttentionValueGradients gradients = {.d_out = memory.Activations(tokens_ * out),
                                               .d_q = memory.Activations(tokens_ * q),
                                               .d_kv = memory.Activations(tokens_ * kv),
                                               .d_rope_key = memory.Activations(tokens_ * shape.rope)};
    const double pairs = batch_.attention_pairs() * shape.heads;
    const double row = static_cast<double>(tokens_) * static_cast<double>(width_);
    const double inputs = static_cast<double>(q + kv + shape.rope) * row,
                 output = static_cast<double>(out) * row;
    Measure("attention", 2 * pairs * (shape.query() + shape.value), inputs + output,
            [&] { backend_.Attention(shape, batch_.tables(), values); });
    // Scores and their gradient once more, then the gradients of queries, keys and values.
    Measure("attention backward", 2 * pairs * (3 * shape.query() + 2 * shape.value), 2 * inputs + 2 * output,
            [&] { backend_.AttentionBackward(shape, batch_.tables(), values, gradients); });
  }

  // The projection out of attention, the three products of a linear layer.
  void Linears() {
    BenchMemory memory(backend_);
    const int in = config_.heads * config_.value_head_dim, out = config_.hidden;
    const Values x = memory.Activations(tokens_ * in), y = memory.Activations(tokens_ * out);
    const Values w = memory.Activations(static_cast<std::int64_t>(in) * out);
    float* const dw = memory.Zeros<float>(static_cast<std::int64_t>(in) * out);
    const double flops = 2.0 * static_cast<double>(tokens_) * in * out;
    const double rows = static_cast<double>(tokens_) * (in + out) * static_cast<double>(width_);
    const double weights = static_cast<double>(in) * out;
    const auto measure = [&](const char* name, double weight_bytes, const Product& product) {
      Measure(name, flops, rows + weight_bytes * weights, [&] { backend_.MatMul(std::span(&product, 1)); });
    };
    measure("linear", static_cast<double>(width_), Linear(x, in, w, y, out, tokens_, in, out));
    measure("linear backward input", static_cast<double>(width_),
            LinearInput(y, out, w, x, in, tokens_, in, out));
    measure("linear backward weight", 8, LinearWeight(y, out, x, in, dw, tokens_, in, out));
  }

  // Router, sorting, the experts' products and the way back.
  void Experts() {
    BenchMemory memory(backend_);
    const int experts = config_.experts, per_token = config_.experts_per_token, n = config_.hidden;
    const int width = config_.expert_width;
    const std::int64_t slots = tokens_ * per_token;
    const double t = static_cast<double>(tokens_), s = static_cast<double>(slots),
                 a = static_cast<double>(width_);
    const float* const logits = memory.Floats(tokens_ * experts, 3);
    const float* const bias = memory.Zeros<float>(experts);
    const Routing routing = {.chosen = memory.Zeros<std::int32_t>(slots),
                             .scores = memory.Zeros<float>(tokens_ * experts),
                             .weights = memory.Zeros<float>(slots),
                             .offsets = memory.Zeros<std::int32_t>(experts + 1),
                             .slot_tokens = memory.Zeros<std::int32_t>(slots),
                             .slot_weights = memory.Zeros<float>(slots),
                             .token_slots = memory.Zeros<std::int32_t>(slots)};
    Measure("route and sort", 0, 8 * t * experts + 20 * s,
            [&] { backend_.Route(router_, logits, bias, tokens_, routing); });
    std::vector<std::int32_t> offsets(static_cast<std::size_t>(experts) + 1);
    Measure("read offsets", 0, 4.0 * (experts + 1), [&] { backend_.ReadOffsets(routing.offsets, offsets); });
    const float* const d_weights = memory.Floats(slots);
    float* const d_logits = memory.Zeros<float>(tokens_ * experts);
    Measure("route backward", 0, 8 * t * experts + 8 * s,
            [&] { backend_.RouteBackward(router_, routing, d_weights, tokens_, d_logits); });
    auto* const sums = memory.Zeros<BalanceSums>(1);
    const double* const factor = memory.Zeros<double>(1);
    Measure("balance loss", 0, 12 * t * experts, [&] {
      backend_.BalanceLoss(router_, batch_.tables(), routing.scores, 1e-4, factor, d_logits, sums);
    });

    const ExpertSlots where = {offsets, routing.slot_tokens};
    const std::int64_t w_stride = static_cast<std::int64_t>(2) * width * n;
    const Values x = memory.Activations(tokens_ * n), gate_up = memory.Activations(slots * 2 * width);
    const Values w = memory.Activations(w_stride * experts);
    const Values dx = memory.Activations(slots * n);
    float* const dw = memory.Zeros<float>(w_stride * experts);
    const double flops = 2 * s * n * 2 * width, weights = static_cast<double>(w_stride) * experts;
    const double rows = s * (n + 2 * width) * a;
    const auto measure = [&](const char* name, double weight_bytes, const ExpertProduct& product) {
      Measure(name, flops, rows + weight_bytes * weights,
              [&] { backend_.MatMul({}, std::span(&product, 1), where); });
    };
    using Kind = ExpertProduct::Kind;
    const ExpertProduct forward = {.kind = Kind::kForward,
                                   .x = x,
                                   .y = gate_up,
                                   .w = w,
                                   .w_stride = w_stride,
                                   .in = n,
                                   .out = 2 * width,
                                   .x_by_token = true};
    ExpertProduct input = forward, weight = forward;
    input.kind = Kind::kInput;
    input.x = dx;
    input.x_by_token = false;
    weight.kind = Kind::kWeight;
    weight.w = dw;
    measure("experts", a, forward);
    measure("experts backward input", a, input);
    measure("experts backward weight", 8, weight);
    float* const y = memory.Zeros<float>(tokens_ * n);
    Measure("gather and sum", 0, s * n * a + 8 * t * n,
            [&] { backend_.GatherSum(routing, dx, tokens_, per_token, n, y); });
  }

  void Gates() {
    BenchMemory memory(backend_);
    const int n = config_.expert_width;
    const std::int64_t rows = tokens_ * config_.experts_per_token;
    const Values gate_up = memory.Activations(rows * 2 * n), h = memory.Activations(rows * n);
    const Values d_gate_up = memory.Activations(rows * 2 * n);
    const float* const scale = memory.Floats(rows);
    float* const d_scale = memory.Zeros<float>(rows);
    const double values = static_cast<double>(rows) * n * static_cast<double>(width_);
    Measure("swiglu", 0, 3 * values, [&] { backend_.Swiglu(gate_up, scale, rows, n, h); });
    Measure("swiglu backward", 0, 5 * values,
            [&] { backend_.SwigluBackward(gate_up, scale, h, rows, n, d_gate_up, d_scale); });
  }

  void Head() {
    BenchMemory memory(backend_);
    const int n = config_.hidden, vocabulary = config_.vocabulary;
    const std::int64_t weights = static_cast<std::int64_t>(vocabulary) * n;
    double* const factor = memory.Zeros<double>(1);
    const double one = 1 / static_cast<double>(tokens_);
    backend_.Upload(&one, sizeof(one), factor);
    const HeadArguments arguments = {.x = memory.Activations(tokens_ * n),
                                     .w = memory.Activations(weights, 0.02f),
                                     .vocabulary = vocabulary,
                                     .hidden = n,
                                     .d_x = memory.Zeros<float>(tokens_ * n),
                                     .d_w = memory.Zeros<float>(weights),
                                     .ce_weight = 0.1f,
                                     .factor = factor,
                                     .losses = {.cross_entropy = memory.Zeros<double>(tokens_),
                                                .divergence = memory.Zeros<double>(tokens_)},
                                     .sums = memory.Zeros<HeadSums>(1)};
    const double rows = static_cast<double>(tokens_) * n, a = static_cast<double>(width_);
    // Three products; the logits never need to leave the chip, so they are not among the bytes.
    Measure("head and loss", 6 * rows * vocabulary, rows * (a + 4) + static_cast<double>(weights) * (a + 8),
            [&] { backend_.HeadLoss(arguments, batch_.tables()); });
  }

  void Optimizer() {
    BenchMemory memory(backend_);
    const auto layout = ParameterLayout::Create(config_);
    const std::int64_t size = layout->storage_size();
    const bool copies = backend_.activation() == Element::kBf16;
    const OptimizerTensors tensors = {.layout = layout.get(),
                                      .gradients = memory.Floats(size, 1e-3f),
                                      .weights = memory.Floats(size, 0.02f),
                                      .first_moment = memory.Zeros<float>(size),
                                      .second_moment = memory.Zeros<float>(size),
                                      .matrices = copies ? memory.Zeros<Bf16>(size) : nullptr};
    double* const norm = memory.Zeros<double>(1);
    const double values = static_cast<double>(size);
    Measure("global norm", 0, 4 * values, [&] { backend_.GlobalNorm(tensors, norm); });
    Measure("adamw", 0, (copies ? 30 : 28) * values, [&] { backend_.StepAdamW({}, tensors, 1.0, 1e-6, 10); });
    if (!copies) return;
    const Values to(tensors.matrices, Element::kBf16);
    Measure("convert to bf16", 0, 6 * values, [&] { backend_.Convert(tensors.weights, size, to); });
  }

  Backend& backend_;
  const ModelConfig config_;
  const BenchBatch batch_;
  const double seconds_;
  const std::int64_t tokens_;
  const std::int64_t width_;  // bytes of an activation
  const RouterShape router_;
  std::vector<OperatorTime> times_;
};

}  // namespace

std::vector<OperatorTime> MeasureOperators(Backend& backend, const ModelConfig& config,
                                           const BatchShape& shape, double seconds) {
  return OperatorBench(backend, config, shape, seconds).Run();
}

}  // namespace retort::student
