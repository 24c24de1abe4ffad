// The named fp32 tensors of a student. One ParameterLayout says which tensors a configuration has and where
// each lies; any number of ParameterSets with that layout hold values: weights, gradients, and both AdamW
// moments are all ParameterSets, so "the gradient of tensor i" is simply gradients.tensor(i).
//
// Names and shapes are those of transformers' DeepseekV3ForCausalLM, and for multi-token prediction those of
// DeepSeek-V3's released weights: module k is layer num_hidden_layers + k - 1 with enorm, hnorm, eh_proj and
// shared_head.norm beside a layer's tensors. Matrices are [out, in], row-major.
// Not synchronised: one writer, or any number of readers.
#ifndef STUDENT_MODEL_PARAMETERS_H_
#define STUDENT_MODEL_PARAMETERS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "student/model/config.h"
#include "student/parallel/layout.h"

namespace retort::student {

enum class ParameterKind {
  kMatrix,     // trained, with weight decay
  kEmbedding,  // model.embed_tokens.weight (the head too if tied): trained, no decay
  kNorm,       // RMSNorm gain: trained, no decay, starts at 1
  kState,      // e_score_correction_bias: moved by UpdateExpertBias only, no gradient, starts at 0
};

struct ParameterInfo {
  std::string name;                 // e.g. "model.layers.0.self_attn.q_a_proj.weight"
  std::vector<std::int64_t> shape;  // one or two dimensions
  ParameterKind kind = ParameterKind::kMatrix;
  std::int64_t offset = 0;  // of its first value within a ParameterSet, in floats; a multiple of 16
  std::int64_t size = 0;    // number of values

  bool trained() const { return kind != ParameterKind::kState; }
  bool decays() const { return kind == ParameterKind::kMatrix; }
};

class ParameterLayout {
 public:
  // Precondition: Validate(config) is empty (asserted).
  static std::shared_ptr<const ParameterLayout> Create(const ModelConfig& config);
  // The same without the routed experts outside `held`, at least one: what one rank of several has in memory
  // (student/parallel). Their tensors are not there, in any layer, and what comes after them moves up.
  static std::shared_ptr<const ParameterLayout> CreatePart(const ModelConfig& config,
                                                           const ExpertShare& held);

  const ModelConfig& config() const { return config_; }
  // Routed experts whose tensors are there; all of them unless CreatePart made it.
  const ExpertShare& held_experts() const { return held_experts_; }
  // Embedding, then layer by layer, those of multi-token prediction last, final norm, head (absent if tied).
  // An expert's gate_proj lies directly before its up_proj, so the two together are one [2*width, hidden]
  // matrix.
  std::span<const ParameterInfo> tensors() const { return tensors_; }
  // Index into tensors(), or -1 if this layout has no tensor of that name.
  int Find(std::string_view name) const;
  // Indices into tensors() sorted by name in byte order: the order of digests and of the global norm.
  std::span<const int> by_name() const { return by_name_; }
  // Floats in one set, alignment gaps included.
  std::int64_t storage_size() const { return storage_size_; }

 private:
  ParameterLayout() = default;
  void Add(std::string name, std::vector<std::int64_t> shape, ParameterKind kind);
  ModelConfig config_;
  ExpertShare held_experts_;
  std::vector<ParameterInfo> tensors_;
  std::vector<int> by_name_;
  std::unordered_map<std::string, int> index_;
  std::int64_t storage_size_ = 0;
};

class ParameterSet {
 public:
  // All zeros; one contiguous allocation, 64-byte aligned.
  explicit ParameterSet(std::shared_ptr<const ParameterLayout> layout);
  // A view of a storage that somebody else owns and that outlives the set.
  static ParameterSet View(std::shared_ptr<const ParameterLayout> layout, float* storage);
  ParameterSet(ParameterSet&&) noexcept = default;
  ParameterSet& operator=(ParameterSet&&) noexcept = default;

  const ParameterLayout& layout() const { return *layout_; }
  const std::shared_ptr<const ParameterLayout>& shared_layout() const { return layout_; }
  const ModelConfig& config() const { return layout_->config(); }

  // The values of layout().tensors()[index]. Valid as long as this set.
  std::span<float> tensor(int index);
  std::span<const float> tensor(int index) const;
  // The whole allocation, alignment gaps (always zero) included.
  std::span<float> storage();
  std::span<const float> storage() const;

  ParameterSet Clone() const;
  void SetZero();

 private:
  struct Free {
    Free() : owned(true) {}
    explicit Free(bool o) : owned(o) {}
    void operator()(float* values) const;
    bool owned;
  };
  ParameterSet() = default;
  std::shared_ptr<const ParameterLayout> layout_;
  std::unique_ptr<float[], Free> values_;
};

using Gradients = ParameterSet;

// Sets every tensor to its start: matrices and embedding to N(0, initializer_range^2), norms to 1, state to
// 0. Value i of a tensor depends on (seed, tensor name, i) alone: SplitMix64 over a hash of the three gives
// two uniforms, Box-Muller one normal. Standard deviation 0.02 (the default of HF configs) and not
// DeepSeek-V3's 0.006, which is tuned for hidden 7168: with hidden 256 it would start the residual stream
// near zero.
void InitializeParameters(std::uint64_t seed, ParameterSet* parameters);

}  // namespace retort::student

#endif  // STUDENT_MODEL_PARAMETERS_H_
