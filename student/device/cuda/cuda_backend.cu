#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "student/device/cuda/cuda_backend.h"
#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/matmul.h"
#include "student/device/cuda/pinned_transfers.h"
#include "student/device/cuda/segments.h"
#include "student/device/cuda/workspace.h"
#include "student/ops/copy.h"
#include "student/ops/dispatch.h"
#include "student/ops/embedding.h"
#include "student/ops/rms_norm.h"
#include "student/ops/swiglu.h"
#include "student/optimizer/expert_bias.h"

namespace retort::student {
namespace {

namespace ops = ::retort::student;  // inside the class its own operators hide the functions of the same names

std::string Error(cudaError_t error) {
  return std::string(cudaGetErrorString(error)) + " (" + std::to_string(static_cast<int>(error)) + ")";
}

std::string MiB(std::int64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

// Calls f with the pointer as what it points at.
template <typename F>
void Typed(const Values& v, const F& f) {
  if (v.element == Element::kF32) {
    f(static_cast<float*>(v.data));
  } else {
    f(static_cast<Bf16*>(v.data));
  }
}

__global__ void Square(const double* norm, double* sum) {
  *sum = *norm * *norm;
}

class CudaBackend final : public Backend {
 public:
  CudaBackend(int ordinal, Element activation) : ordinal_(ordinal), activation_(activation) {}

  ~CudaBackend() override {
    cudaSetDevice(ordinal_);
    if (stream_ != nullptr) cudaStreamSynchronize(stream_);
    segments_.reset();
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
    for (cudaStream_t stream : streams_) cudaStreamDestroy(stream);
    matmul_.reset();
    transfers_.reset();
    for (void* memory : {workspace_memory_, cublas_workspace_}) {
      if (memory != nullptr) cudaFree(memory);
    }
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  // Empty, or why the device cannot be used.
  std::string Open() {
    cudaGetLastError();  // what another user of the runtime in this process has left is not this backend's
    cudaDeviceProp properties{};
    std::size_t free = 0, total = 0;
    cudaError_t error = cudaSetDevice(ordinal_);
    if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, ordinal_);
    char bus_id[32] = {};
    if (error == cudaSuccess) error = cudaDeviceGetPCIBusId(bus_id, sizeof(bus_id), ordinal_);
    if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
    if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    transfers_ = std::make_unique<PinnedTransfers>();
    if (error == cudaSuccess) error = transfers_->Open(stream_);
    const std::string device = "cuda:" + std::to_string(ordinal_);
    if (error != cudaSuccess) return device + " does not start: " + Error(error);
    description_ = {.kind = "cuda",
                    .name = properties.name,
                    .compute = activation_ == Element::kF32 ? "fp32" : "bf16",
                    .ordinal = ordinal_,
                    .pci_bus_id = bus_id,
                    .memory_bytes = static_cast<std::int64_t>(total),
                    .free_bytes = static_cast<std::int64_t>(free)};
    if (properties.major < 8) {
      return device + " is a " + properties.name + " of compute capability " +
             std::to_string(properties.major) + "." + std::to_string(properties.minor) +
             "; wanted 8.0 or newer";
    }
    error = cudaMalloc(&cublas_workspace_, static_cast<std::size_t>(kCublasWorkspaceBytes));
    if (error != cudaSuccess) {
      return device + ": " + MiB(kCublasWorkspaceBytes) + " for cuBLAS do not fit, " +
             MiB(static_cast<std::int64_t>(free)) + " of " + MiB(static_cast<std::int64_t>(total)) +
             " are free: " + Error(error);
    }
    matmul_ = std::make_unique<CudaMatmul>();
    const cublasStatus_t status = matmul_->Open(stream_, cublas_workspace_);
    if (status != CUBLAS_STATUS_SUCCESS) {
      return device + ": cuBLAS does not start: " + cublasGetStatusString(status) + " (" +
             std::to_string(static_cast<int>(status)) + ")";
    }
    segments_ = std::make_unique<Segments>(stream_, *matmul_);
    return "";
  }

  const DeviceDescription& description() const override { return description_; }
  Element activation() const override { return activation_; }

  void* Allocate(std::int64_t bytes) override {
    Flush();
    if (!failure_.empty()) return nullptr;
    cudaSetDevice(ordinal_);
    void* memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1)));
    if (error == cudaSuccess) return memory;
    cudaGetLastError();  // said here; not to be found again by the next operator
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    failure_ = Name() + ": " + MiB(bytes) + " of device memory do not fit, " +
               MiB(static_cast<std::int64_t>(free)) + " of " + MiB(static_cast<std::int64_t>(total)) +
               " are free: " + Error(error);
    return nullptr;
  }
  void Free(void* memory) override {
    if (memory == nullptr) return;
    Flush();
    cudaSetDevice(ordinal_);
    cudaStreamSynchronize(stream_);
    segments_->Clear();  // its addresses may come again as something else's
    cudaFree(memory);
  }

  std::int64_t WorkspaceBytes(const ParameterLayout& layout, const PassLimits& limits) const override {
    Workspace unused;
    return PlanWorkspace(layout, limits, activation_, PlanAdamW(layout), nullptr, &unused);
  }
  bool Reserve(const ParameterLayout& layout, const PassLimits& limits) override {
    const AdamWPlan plan = PlanAdamW(layout);
    Free(std::exchange(workspace_memory_, nullptr));
    parts_.clear();
    part_starts_ = {0};
    workspace_memory_ = Allocate(PlanWorkspace(layout, limits, activation_, plan, nullptr, &workspace_));
    if (workspace_memory_ == nullptr) return false;
    PlanWorkspace(layout, limits, activation_, plan, workspace_memory_, &workspace_);
    leaf_count_ = static_cast<std::int32_t>(plan.leaves.size());
    tensor_count_ = static_cast<std::int32_t>(plan.tensor_leaves.size()) - 1;
    UploadVector(plan.leaves, workspace_.leaves);
    UploadVector(plan.tensor_leaves, workspace_.tensor_leaves);
    return failure_.empty();
  }

  void Upload(const void* host, std::int64_t bytes, void* to) override {
    Run("upload", [&] { Check(transfers_->Upload(host, bytes, to), "upload"); });
  }
  void Download(const void* from, std::int64_t bytes, void* host) override {
    Run("download", [&] { Check(transfers_->Download(from, bytes, host), "download"); });
  }
  void Copy(const void* from, std::int64_t bytes, void* to) override {
    if (bytes == 0) return;
    Keep("copy", [&] { segments_->list().AddCopy(from, bytes, to); });
  }
  void Zero(void* memory, std::int64_t bytes) override {
    if (bytes == 0) return;
    Keep("zero", [&] { segments_->list().AddZero(memory, bytes); });
  }
  void CopyColumns(Values from, std::int64_t from_stride, Values to, std::int64_t to_stride,
                   std::int64_t rows, int columns) override {
    Keep("CopyColumns", [&] { Columns(from, from_stride, rows, columns, to, to_stride); });
  }
  Values Convert(const float* from, std::int64_t count, Values to) override {
    if (activation_ == Element::kF32) return from;
    constexpr int kRow = 4096;
    Keep("Convert", [&] {
      const std::int64_t rows = count / kRow, rest = count % kRow;
      Columns(from, kRow, rows, kRow, to, kRow);
      if (rest > 0) Columns(from + rows * kRow, kRow, 1, static_cast<int>(rest), to.at(rows * kRow), kRow);
    });
    return to;
  }
  bool host_memory() const override { return false; }
  std::string Finish() override {
    Run("finish", [&] {
      Check(cudaStreamSynchronize(stream_), "the device");
      if (failure_.empty()) transfers_->Deliver();
    });
    return failure_;
  }
  const std::string& failure() const override { return failure_; }

  Stream stream() override {
    Run("stream", [] {});
    return {stream_};
  }
  Stream MakeStream() override {
    cudaStream_t stream = nullptr;
    Run("stream", [&] { Check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream"); });
    if (stream != nullptr) streams_.push_back(stream);
    return {stream};
  }
  void* MakeEvent() override {
    cudaEvent_t event = nullptr;
    Run("event", [&] { Check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "event"); });
    if (event != nullptr) events_.push_back(event);
    return event;
  }
  void Record(void* event, Stream stream) override {
    Run("event", [&] {
      Check(cudaEventRecord(static_cast<cudaEvent_t>(event), static_cast<cudaStream_t>(stream.handle)),
            "event");
    });
  }
  void Wait(Stream stream, void* event) override {
    Run("event", [&] {
      Check(cudaStreamWaitEvent(static_cast<cudaStream_t>(stream.handle), static_cast<cudaEvent_t>(event), 0),
            "event");
    });
  }

  void BeginSegments() override {
    assert(!keeping_);
    keeping_ = true;
  }
  void EndSegments() override {
    assert(keeping_);
    Flush();
    keeping_ = false;
  }

  void BeginBatch(const BatchTables& batch) override {
    documents_ = static_cast<int>(batch.host_documents.size());
    Keep("AttentionTiles",
         [&] { AttentionTiles(queue(), batch.document_starts, documents_, workspace_.tile_starts); });
  }
  void Embed(const float* table, const BatchTables& batch, int n, float* x) override {
    Keep("Embed", [&] { ops::Embed(queue(), table, batch.tokens, batch.positions, n, x); });
  }
  void EmbedBackward(const BatchTables& batch, const float* dx, int vocabulary, int n,
                     float* d_table) override {
    Keep("EmbedBackward", [&] {
      ops::EmbedBackward(queue(), batch.tokens, batch.positions, vocabulary, dx, n, d_table, workspace_.any);
    });
  }
  void RmsNorm(const float* x, std::int64_t x_stride, const float* w, std::int64_t rows, int n, float epsilon,
               Values y, std::int64_t y_stride, float* r) override {
    Keep("RmsNorm", [&] {
      Typed(y, [&](auto* out) { ops::RmsNorm(queue(), x, x_stride, w, rows, n, epsilon, out, y_stride, r); });
    });
  }
  void RmsNormBackward(const float* x, std::int64_t x_stride, const float* w, const float* r, const float* dy,
                       std::int64_t dy_stride, std::int64_t rows, int n, float* dx, std::int64_t dx_stride,
                       float* dw) override {
    Keep("RmsNormBackward", [&] {
      ops::RmsNormBackward(queue(), x, x_stride, w, r, dy, dy_stride, rows, n, true, dx, dx_stride, dw,
                           static_cast<float*>(workspace_.any));
    });
  }
  void Rope(const RopeTables& table, const std::int32_t* positions, std::int64_t rows, int vectors,
            bool backward, Values x, std::int64_t row_stride, std::int64_t vector_stride) override {
    Keep("Rope", [&] {
      Typed(x, [&](auto* values) {
        ops::Rope(queue(), table.cosines, table.sines, table.host->dim(), positions, rows, vectors, backward,
                  values, row_stride, vector_stride);
      });
    });
  }
  void Attention(const AttentionShape& shape, const BatchTables& batch, const AttentionValues& v) override {
    Keep("Attention", [&] {
      Typed(v.q, [&](auto* q) { ops::Attention(queue(), shape, Documents(batch), Tensors(v, q)); });
    });
  }
  void AttentionBackward(const AttentionShape& shape, const BatchTables& batch, const AttentionValues& v,
                         const AttentionValueGradients& g) override {
    Keep("AttentionBackward", [&] {
      Typed(v.q, [&](auto* q) {
        using T = std::remove_pointer_t<decltype(q)>;
        const DeviceAttentionGradients<T> gradients = {As<T>(g.d_out), As<T>(g.d_q), As<T>(g.d_kv),
                                                       As<T>(g.d_rope_key)};
        ops::AttentionBackward(queue(), shape, Documents(batch), Tensors(v, q), gradients,
                               static_cast<float*>(workspace_.any));
      });
    });
  }

  void MatMul(std::span<const Product> products, std::span<const ExpertProduct> experts,
              const ExpertSlots& slots) override {
    if (!experts.empty()) {  // their sizes are another step's
      Run("MatMul", [&] {
        Values gathered_from;
        for (const ExpertProduct& p : experts) MultiplyExperts(p, slots, &gathered_from);
      });
    }
    Keep("MatMul", [&] {
      for (const Product& p : products) segments_->AddProduct(p);
    });
  }

  void Swiglu(Values gate_up, const float* scale, std::int64_t rows, int n, Values h) override {
    Keep("Swiglu", [&] {
      Typed(gate_up, [&](auto* in) {
        using T = std::remove_pointer_t<decltype(in)>;
        ops::Swiglu(queue(), static_cast<const T*>(in), scale, rows, n, As<T>(h));
      });
    });
  }
  void SwigluBackward(Values gate_up, const float* scale, Values d_h, std::int64_t rows, int n,
                      Values d_gate_up, float* d_scale) override {
    Keep("SwigluBackward", [&] {
      Typed(gate_up, [&](auto* in) {
        using T = std::remove_pointer_t<decltype(in)>;
        ops::SwigluBackward(queue(), static_cast<const T*>(in), scale, static_cast<const T*>(As<T>(d_h)),
                            rows, n, As<T>(d_gate_up), d_scale);
      });
    });
  }

  void Route(const RouterShape& shape, const float* logits, const float* bias, std::int64_t tokens,
             const Routing& r) override {
    Keep("Route", [&] {
      ops::Route(queue(), shape, logits, bias, tokens, r.scores, r.chosen, r.weights);
      SortByExpert(queue(), r.chosen, r.weights, tokens, shape.per_token, shape.experts,
                   {r.offsets, r.slot_tokens, r.slot_weights, r.token_slots}, nullptr, workspace_.any);
    });
  }
  void ReadOffsets(const std::int32_t* offsets, std::span<std::int32_t> host) override {
    Run("ReadOffsets", [&] {
      Check(transfers_->ReadNow(offsets, static_cast<std::int64_t>(host.size_bytes()), host.data()),
            "ReadOffsets");
    });
    if (!failure_.empty()) std::fill(host.begin(), host.end(), 0);
  }
  void RouteBackward(const RouterShape& shape, const Routing& r, const float* d_slot_weights,
                     std::int64_t tokens, float* d_logits) override {
    Keep("RouteBackward", [&] {
      GatherValues(queue(), d_slot_weights, r.token_slots, tokens * shape.per_token, workspace_.d_weights);
      ops::RouteBackward(queue(), shape, r.scores, r.chosen, workspace_.d_weights, tokens, d_logits);
    });
  }
  void BalanceLoss(const RouterShape& shape, const BatchTables& batch, const float* scores, double alpha,
                   const double* factor, float* d_logits, BalanceSums* sums) override {
    Keep("BalanceLoss", [&] {
      ops::BalanceLoss(queue(), shape, scores, batch.positions, batch.document_starts, documents_, alpha,
                       factor, d_logits, sums, workspace_.any);
    });
  }
  void GatherSum(const Routing& routing, Values slots, std::int64_t tokens, int per_token, int n,
                 float* y) override {
    Keep("GatherSum", [&] {
      Typed(slots, [&](auto* values) {
        using T = std::remove_pointer_t<decltype(values)>;
        ops::GatherSum(queue(), routing.token_slots, static_cast<const T*>(values), tokens, per_token, n, y);
      });
    });
  }

  void HeadLoss(const HeadArguments& a, const BatchTables& batch) override {
    const DeviceTargets targets = {
        batch.targets,     batch.weights,          batch.host->teacher_k,      batch.teacher_counts,
        batch.teacher_ids, batch.teacher_logprobs, batch.teacher_tail_logprobs};
    const std::int64_t chunk = HeadChunk(a.vocabulary);
    for (std::int64_t first = 0; first < batch.rows; first += chunk) {
      Keep("HeadLoss", [&] { HeadChunkLoss(a, batch, targets, first, std::min(chunk, batch.rows - first)); });
    }
  }

  void GatherRows(Values x, const std::int32_t* rows, std::int64_t count, int n, Values y) override {
    Keep("GatherRows", [&] { Gather(x, rows, count, n, y); });
  }

  void GlobalNorm(const OptimizerTensors& tensors, double* norm) override {
    Run("GlobalNorm", [&] {
      ops::GlobalNorm(queue(), Optimizer(tensors));
      Check(cudaMemcpyAsync(norm, &workspace_.step->norm, sizeof(double), cudaMemcpyDeviceToDevice, stream_),
            "GlobalNorm");
    });
  }
  void StepAdamW(const AdamWOptions& options, const OptimizerTensors& tensors, double norm,
                 double learning_rate, std::int64_t steps_taken) override {
    Run("StepAdamW", [&] {
      UploadStep(learning_rate, 0, steps_taken, norm);
      ops::StepAdamW(queue(), options, Optimizer(tensors));
    });
  }
  void SquaredNorm(const OptimizerTensors& tensors, std::span<const Part> parts, double* sum) override {
    Run("SquaredNorm", [&] {
      DeviceAdamW device = Optimizer(tensors);
      CutParts(*tensors.layout, parts);
      device.leaves = workspace_.part_leaves;
      device.tensor_leaves = workspace_.part_starts;
      device.leaf_count = part_starts_.back();
      device.tensor_count = static_cast<std::int32_t>(parts.size());
      ops::GlobalNorm(queue(), device);
      RETORT_LAUNCH(Square, 1, 1, 0, queue(), &workspace_.step->norm, sum);
    });
  }
  void StepAdamW(const AdamWOptions& options, const OptimizerTensors& tensors, std::span<const Part> parts,
                 double norm, double learning_rate, std::int64_t steps_taken) override {
    Run("StepAdamW", [&] {
      CutParts(*tensors.layout, parts);
      std::int64_t packed = 0;
      for (std::size_t i = 0; i < parts.size(); ++i) {
        UploadStep(learning_rate, 0, steps_taken, norm);
        DeviceAdamW device = Optimizer(tensors);
        device.leaves = workspace_.part_leaves + part_starts_[i];
        device.leaf_count = part_starts_[i + 1] - part_starts_[i];
        device.rounded = nullptr;
        // Leaves count from the storage's start, moments are packed.
        device.first_moment += packed - parts[i].begin;
        device.second_moment += packed - parts[i].begin;
        packed += parts[i].size();
        ops::StepAdamW(queue(), options, device);
      }
    });
  }
  void RoundMatrices(const OptimizerTensors& tensors) override {
    if (tensors.matrices == nullptr) return;
    Convert(tensors.weights, tensors.layout->storage_size(), {tensors.matrices, Element::kBf16});
  }
  void UpdateExpertBias(const ParameterLayout& layout, std::span<const std::int64_t> host_loads, double rate,
                        float* weights) override {
    const ModelConfig& c = layout.config();
    Run("UpdateExpertBias", [&] {
      Check(transfers_->Upload(host_loads.data(), static_cast<std::int64_t>(host_loads.size_bytes()),
                               workspace_.loads),
            "UpdateExpertBias");
      UploadStep(0, rate, 0, 0);
      for (int i = 0; i < c.moe_layers(); ++i) {
        const int bias = layout.Find("model.layers." + std::to_string(c.dense_layers + i) +
                                     ".mlp.gate.e_score_correction_bias");
        ops::UpdateExpertBias(queue(), workspace_.loads + std::int64_t{i} * c.experts, c.experts,
                              workspace_.step, weights + layout.tensors()[bias].offset);
      }
    });
  }

 private:
  std::string Name() const { return "cuda:" + std::to_string(ordinal_); }
  void Check(cudaError_t error, const char* what) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // kept here; not to be found again by another backend of this process
    if (failure_.empty()) failure_ = Name() + ": " + what + ": " + Error(error);
  }
  void CheckBlas(cublasStatus_t status, const char* what) {
    if (status == CUBLAS_STATUS_SUCCESS || !failure_.empty()) return;
    failure_ = Name() + ": " + what + ": cuBLAS: " + cublasGetStatusString(status) + " (" +
               std::to_string(static_cast<int>(status)) + ")";
  }
  // One operator, given to the stream behind what was kept: nothing after a failure; launches that were
  // refused are found behind it.
  template <typename Body>
  void Run(const char* name, const Body& body) {
    Flush();
    if (!failure_.empty()) return;
    Check(cudaSetDevice(ordinal_), name);
    if (!failure_.empty()) return;
    body();
    Check(cudaGetLastError(), name);
  }
  // One that is all launches, copies, fills and dense products, which go to queue() and segments_: kept until
  // the next Flush, at once when nothing is to be kept.
  template <typename Body>
  void Keep(const char* name, const Body& body) {
    if (!failure_.empty()) return;
    segments_->list().BeginOperation(name);
    kept_ = &segments_->list();
    body();
    kept_ = nullptr;
    if (!keeping_) Flush();
  }
  void Flush() {
    if (segments_ == nullptr || segments_->list().empty()) return;
    if (!failure_.empty()) return segments_->list().Clear();
    Check(cudaSetDevice(ordinal_), segments_->list().operation());
    if (!failure_.empty()) return segments_->list().Clear();
    const CommandResult result = keeping_ ? segments_->Flush() : segments_->Run();
    if (result.cublas != 0) CheckBlas(static_cast<cublasStatus_t>(result.cublas), result.operation);
    if (result.error != cudaSuccess) Check(result.error, result.operation);
  }
  Stream queue() const { return {stream_, kept_}; }

  template <typename T>
  static T* As(const Values& v) {
    assert(v.element == (sizeof(T) == 4 ? Element::kF32 : Element::kBf16));
    return static_cast<T*>(v.data);
  }
  AttentionDocuments Documents(const BatchTables& batch) const {
    return {batch.document_starts, workspace_.tile_starts, documents_, batch.positions};
  }
  template <typename T>
  static DeviceAttention<T> Tensors(const AttentionValues& v, const T* q) {
    return {q, As<T>(v.kv), As<T>(v.rope_key), As<T>(v.out), v.log_sum};
  }
  DeviceAdamW Optimizer(const OptimizerTensors& t) const {
    return {workspace_.leaves, workspace_.tensor_leaves,
            leaf_count_,       tensor_count_,
            t.gradients,       t.weights,
            t.matrices,        t.first_moment,
            t.second_moment,   workspace_.norm_leaves,
            workspace_.step};
  }
  // What the optimiser's kernels read on the device; the host decided that the step is applied.
  void UploadStep(double learning_rate, double expert_bias_rate, std::int64_t steps_taken, double norm) {
    ops::AdamWStep step = {};
    step.learning_rate = learning_rate;
    step.expert_bias_rate = expert_bias_rate;
    step.steps_taken = steps_taken;
    step.norm = norm;
    step.applied = 1;
    Check(transfers_->Upload(&step, sizeof(step), workspace_.step), "optimiser");
  }
  // The leaves of trained tensors within parts, on the device; kept until other parts come.
  void CutParts(const ParameterLayout& layout, std::span<const Part> parts) {
    assert(static_cast<std::int64_t>(parts.size()) <= PartsMost(layout.config()));
    if (std::equal(parts.begin(), parts.end(), parts_.begin(), parts_.end())) return;
    parts_.assign(parts.begin(), parts.end());
    std::vector<AdamWLeaf> leaves = PlanAdamW(layout).leaves;
    std::sort(leaves.begin(), leaves.end(),
              [](const AdamWLeaf& a, const AdamWLeaf& b) { return a.offset < b.offset; });
    std::vector<AdamWLeaf> cut;
    part_starts_ = {0};
    for (const Part& part : parts) {
      for (const AdamWLeaf& leaf : leaves) {
        const std::int64_t begin = std::max(leaf.offset, part.begin);
        const std::int64_t end = std::min(leaf.offset + leaf.count, part.end);
        if (begin < end) cut.push_back({begin, static_cast<std::int32_t>(end - begin), leaf.decays});
      }
      part_starts_.push_back(static_cast<std::int32_t>(cut.size()));
    }
    UploadVector(cut, workspace_.part_leaves);
    UploadVector(part_starts_, workspace_.part_starts);
  }
  template <typename T>
  void UploadVector(const std::vector<T>& values, T* to) {
    Upload(values.data(), static_cast<std::int64_t>(values.size() * sizeof(T)), to);
  }

  void Columns(Values from, std::int64_t from_stride, std::int64_t rows, int columns, Values to,
               std::int64_t to_stride) {
    Typed(from, [&](auto* source) {
      Typed(to, [&](auto* target) {
        ops::CopyColumns(queue(), const_cast<const std::remove_pointer_t<decltype(source)>*>(source),
                         from_stride, rows, columns, target, to_stride);
      });
    });
  }
  // rows[i] of `from`, as `to`.
  void Gather(Values from, const std::int32_t* rows, std::int64_t count, int n, Values to) {
    Typed(from, [&](auto* source) {
      Typed(to, [&](auto* target) {
        ops::GatherRows(queue(), const_cast<const std::remove_pointer_t<decltype(source)>*>(source), rows,
                        count, n, target);
      });
    });
  }

  // One linear layer of all experts as one grouped call. *gathered_from: what lies gathered in the workspace.
  void MultiplyExperts(const ExpertProduct& p, const ExpertSlots& slots, Values* gathered_from) {
    using Kind = ExpertProduct::Kind;
    const std::int64_t count = slots.host_offsets.empty() ? 0 : slots.host_offsets.back();
    if (count == 0) return;
    // cuBLAS groups have one type; gradients of weights are summed in fp32, so bf16 operands are widened.
    const bool widen = p.kind == Kind::kWeight && activation_ == Element::kBf16;
    const auto operand = [&](Values v, int width, bool by_token, float* widened) {
      if (widen) {
        if (by_token) {
          Gather(v, slots.slot_tokens, count, width, widened);
        } else {
          Columns(v, width, count, width, widened, width);
        }
        return Values(widened);
      }
      if (!by_token) return v;
      if (gathered_from->data != v.data)
        Gather(v, slots.slot_tokens, count, width, workspace_.experts.gathered);
      *gathered_from = v;
      return workspace_.experts.gathered;
    };
    const Values x = p.kind == Kind::kInput ? p.x : operand(p.x, p.in, p.x_by_token, workspace_.experts.x);
    const Values y = p.kind == Kind::kForward ? p.y : operand(p.y, p.out, p.y_by_token, workspace_.experts.y);
    groups_.clear();
    for (std::size_t e = 0; e + 1 < slots.host_offsets.size(); ++e) {
      const std::int64_t first = slots.host_offsets[e], size = slots.host_offsets[e + 1] - first;
      if (size == 0) continue;
      const Values w = p.w.at(p.w_stride * static_cast<std::int64_t>(e));
      const Values xe = x.at(first * p.in), ye = y.at(first * p.out);
      groups_.push_back(p.kind == Kind::kForward ? Linear(xe, p.in, w, ye, p.out, size, p.in, p.out)
                        : p.kind == Kind::kInput
                            ? LinearInput(ye, p.out, w, xe, p.in, size, p.in, p.out)
                            : LinearWeight(ye, p.out, xe, p.in, w.f32(), size, p.in, p.out));
    }
    CudaMatmul::ListPointers(groups_, &pointers_);
    Check(transfers_->Upload(pointers_.data(), static_cast<std::int64_t>(pointers_.size() * sizeof(void*)),
                             workspace_.pointers),
          "MatMul");
    CheckBlas(matmul_->MultiplyGrouped(groups_, widen, workspace_.pointers), "MatMul of experts");
  }

  void HeadChunkLoss(const HeadArguments& a, const BatchTables& batch, const DeviceTargets& targets,
                     std::int64_t first, std::int64_t count) {
    const auto& w = workspace_.head;
    const std::int32_t* const rows = batch.loss_rows + first;
    const bool backward = a.d_w != nullptr;
    const DeviceTokenLosses losses = {a.losses.cross_entropy + first, a.losses.divergence + first,
                                      a.losses.argmax == nullptr ? nullptr : a.losses.argmax + first};
    Gather(a.x, rows, count, a.hidden, w.x);
    segments_->AddProduct(Linear(w.x, a.hidden, a.w, w.logits, a.vocabulary, count, a.hidden, a.vocabulary));
    Typed(w.d_logits, [&](auto* d_logits) {
      ops::HeadLoss(queue(), w.logits, a.vocabulary, targets, rows, count, a.ce_weight, a.factor,
                    backward ? d_logits : nullptr, losses, w.work);
    });
    SumHeadLosses(queue(), targets, rows, count, a.ce_weight, losses, a.sums);
    if (!backward) return;
    segments_->AddProduct(
        LinearInput(w.d_logits, a.vocabulary, a.w, w.d_rows, a.hidden, count, a.hidden, a.vocabulary));
    ScatterRows(queue(), static_cast<const float*>(w.d_rows), rows, count, a.hidden, a.d_x);
    segments_->AddProduct(
        LinearWeight(w.d_logits, a.vocabulary, w.x, a.hidden, a.d_w, count, a.hidden, a.vocabulary));
  }

  const int ordinal_;
  const Element activation_;
  DeviceDescription description_;
  std::string failure_;
  cudaStream_t stream_ = nullptr;
  std::vector<cudaStream_t> streams_;
  std::vector<cudaEvent_t> events_;
  std::unique_ptr<PinnedTransfers> transfers_;
  std::unique_ptr<CudaMatmul> matmul_;
  std::unique_ptr<Segments> segments_;
  bool keeping_ = false;         // between BeginSegments and EndSegments
  CommandList* kept_ = nullptr;  // within Keep
  void* cublas_workspace_ = nullptr;
  void* workspace_memory_ = nullptr;
  Workspace workspace_ = {};
  std::int32_t leaf_count_ = 0, tensor_count_ = 0;
  int documents_ = 0;
  std::vector<Part> parts_;
  std::vector<std::int32_t> part_starts_ = {0};
  std::vector<Product> groups_;
  std::vector<const void*> pointers_;
};

}  // namespace

std::unique_ptr<Backend> OpenCudaBackend(int ordinal, Element activation, std::string* problem) {
  const int count = DescribeCudaDevices(problem);
  if (count == 0) return nullptr;
  if (ordinal < 0 || ordinal >= count) {
    *problem = "no device cuda:" + std::to_string(ordinal) + "; seen: " + *problem + ", counted from 0";
    return nullptr;
  }
  auto backend = std::make_unique<CudaBackend>(ordinal, activation);
  *problem = backend->Open();
  if (!problem->empty()) {
    cudaGetLastError();
    return nullptr;
  }
  return backend;
}

}  // namespace retort::student
