// A backend that hands every call to another one: tests override what they want to watch.
#ifndef TESTS_STUDENT_DEVICE_FORWARDING_BACKEND_H_
#define TESTS_STUDENT_DEVICE_FORWARDING_BACKEND_H_

#include <memory>
#include <string>
#include <utility>

#include "student/device/backend.h"

namespace retort::student {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> to) : to_(std::move(to)) {}

  const DeviceDescription& description() const override { return to_->description(); }
  Element activation() const override { return to_->activation(); }
  void* Allocate(std::int64_t bytes) override { return to_->Allocate(bytes); }
  void Free(void* memory) override { to_->Free(memory); }
  std::int64_t WorkspaceBytes(const ParameterLayout& layout, const PassLimits& limits) const override {
    return to_->WorkspaceBytes(layout, limits);
  }
  bool Reserve(const ParameterLayout& layout, const PassLimits& limits) override {
    return to_->Reserve(layout, limits);
  }
  void Upload(const void* host, std::int64_t bytes, void* to) override { to_->Upload(host, bytes, to); }
  void Download(const void* from, std::int64_t bytes, void* host) override {
    to_->Download(from, bytes, host);
  }
  void Copy(const void* from, std::int64_t bytes, void* to) override { to_->Copy(from, bytes, to); }
  void Zero(void* memory, std::int64_t bytes) override { to_->Zero(memory, bytes); }
  void CopyColumns(Values from, std::int64_t from_stride, Values to, std::int64_t to_stride,
                   std::int64_t rows, int columns) override {
    to_->CopyColumns(from, from_stride, to, to_stride, rows, columns);
  }
  Values Convert(const float* from, std::int64_t count, Values to) override {
    return to_->Convert(from, count, to);
  }
  bool host_memory() const override { return to_->host_memory(); }
  std::string Finish() override { return to_->Finish(); }
  const std::string& failure() const override { return to_->failure(); }
  Stream stream() override { return to_->stream(); }
  Stream MakeStream() override { return to_->MakeStream(); }
  void* MakeEvent() override { return to_->MakeEvent(); }
  void Record(void* event, Stream stream) override { to_->Record(event, stream); }
  void Wait(Stream stream, void* event) override { to_->Wait(stream, event); }
  void BeginSegments() override { to_->BeginSegments(); }
  void EndSegments() override { to_->EndSegments(); }

  void BeginBatch(const BatchTables& batch) override { to_->BeginBatch(batch); }
  void Embed(const float* table, const BatchTables& batch, int n, float* x) override {
    to_->Embed(table, batch, n, x);
  }
  void EmbedBackward(const BatchTables& batch, const float* dx, int vocabulary, int n,
                     float* d_table) override {
    to_->EmbedBackward(batch, dx, vocabulary, n, d_table);
  }
  void RmsNorm(const float* x, std::int64_t x_stride, const float* w, std::int64_t rows, int n, float epsilon,
               Values y, std::int64_t y_stride, float* r) override {
    to_->RmsNorm(x, x_stride, w, rows, n, epsilon, y, y_stride, r);
  }
  void RmsNormBackward(const float* x, std::int64_t x_stride, const float* w, const float* r, const float* dy,
                       std::int64_t dy_stride, std::int64_t rows, int n, float* dx, std::int64_t dx_stride,
                       float* dw) override {
    to_->RmsNormBackward(x, x_stride, w, r, dy, dy_stride, rows, n, dx, dx_stride, dw);
  }
  void Rope(const RopeTables& table, const std::int32_t* positions, std::int64_t rows, int vectors,
            bool backward, Values x, std::int64_t row_stride, std::int64_t vector_stride) override {
    to_->Rope(table, positions, rows, vectors, backward, x, row_stride, vector_stride);
  }
  void Attention(const AttentionShape& shape, const BatchTables& batch,
                 const AttentionValues& values) override {
    to_->Attention(shape, batch, values);
  }
  void AttentionBackward(const AttentionShape& shape, const BatchTables& batch, const AttentionValues& values,
                         const AttentionValueGradients& gradients) override {
    to_->AttentionBackward(shape, batch, values, gradients);
  }
  void MatMul(std::span<const Product> products, std::span<const ExpertProduct> experts,
              const ExpertSlots& slots) override {
    to_->MatMul(products, experts, slots);
  }
  void Swiglu(Values gate_up, const float* scale, std::int64_t rows, int n, Values h) override {
    to_->Swiglu(gate_up, scale, rows, n, h);
  }
  void SwigluBackward(Values gate_up, const float* scale, Values d_h, std::int64_t rows, int n,
                      Values d_gate_up, float* d_scale) override {
    to_->SwigluBackward(gate_up, scale, d_h, rows, n, d_gate_up, d_scale);
  }
  void Route(const RouterShape& shape, const float* logits, const float* bias, std::int64_t tokens,
             const Routing& routing) override {
    to_->Route(shape, logits, bias, tokens, routing);
  }
  void ReadOffsets(const std::int32_t* offsets, std::span<std::int32_t> host) override {
    to_->ReadOffsets(offsets, host);
  }
  void RouteBackward(const RouterShape& shape, const Routing& routing, const float* d_slot_weights,
                     std::int64_t tokens, float* d_logits) override {
    to_->RouteBackward(shape, routing, d_slot_weights, tokens, d_logits);
  }
  void BalanceLoss(const RouterShape& shape, const BatchTables& batch, const float* scores, double alpha,
                   const double* factor, float* d_logits, BalanceSums* sums) override {
    to_->BalanceLoss(shape, batch, scores, alpha, factor, d_logits, sums);
  }
  void GatherSum(const Routing& routing, Values slots, std::int64_t tokens, int per_token, int n,
                 float* y) override {
    to_->GatherSum(routing, slots, tokens, per_token, n, y);
  }
  void HeadLoss(const HeadArguments& arguments, const BatchTables& batch) override {
    to_->HeadLoss(arguments, batch);
  }
  void GatherRows(Values x, const std::int32_t* rows, std::int64_t count, int n, Values y) override {
    to_->GatherRows(x, rows, count, n, y);
  }

  void GlobalNorm(const OptimizerTensors& tensors, double* norm) override { to_->GlobalNorm(tensors, norm); }
  void StepAdamW(const AdamWOptions& options, const OptimizerTensors& tensors, double norm,
                 double learning_rate, std::int64_t steps_taken) override {
    to_->StepAdamW(options, tensors, norm, learning_rate, steps_taken);
  }
  void SquaredNorm(const OptimizerTensors& tensors, std::span<const Part> parts, double* sum) override {
    to_->SquaredNorm(tensors, parts, sum);
  }
  void StepAdamW(const AdamWOptions& options, const OptimizerTensors& tensors, std::span<const Part> parts,
                 double norm, double learning_rate, std::int64_t steps_taken) override {
    to_->StepAdamW(options, tensors, parts, norm, learning_rate, steps_taken);
  }
  void RoundMatrices(const OptimizerTensors& tensors) override { to_->RoundMatrices(tensors); }
  void UpdateExpertBias(const ParameterLayout& layout, std::span<const std::int64_t> host_loads, double rate,
                        float* weights) override {
    to_->UpdateExpertBias(layout, host_loads, rate, weights);
  }

 private:
  std::unique_ptr<Backend> to_;
};

}  // namespace retort::student

#endif  // TESTS_STUDENT_DEVICE_FORWARDING_BACKEND_H_
