#include "student/model/parameters.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <new>
#include <numbers>
#include <numeric>
#include <utility>

namespace retort::student {
namespace {

constexpr std::int64_t kAlignment = 16;  // floats: one cache line

std::int64_t Aligned(std::int64_t size) {
  return (size + kAlignment - 1) / kAlignment * kAlignment;
}

// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): the output function of
// SplitMix64.
std::uint64_t Mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// FNV-1a, 64 bits.
std::uint64_t HashName(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// In (0, 1], 53 bits.
double Uniform(std::uint64_t bits) {
  return (static_cast<double>(bits >> 11) + 1) * 0x1p-53;
}

void FillNormal(std::uint64_t key, double deviation, std::span<float> values) {
  for (std::size_t i = 0; i < values.size(); i += 2) {
    const double radius = deviation * std::sqrt(-2 * std::log(Uniform(Mix(key ^ Mix(i)))));
    const double angle = 2 * std::numbers::pi * Uniform(Mix(key ^ Mix(i + 1)));
    values[i] = static_cast<float>(radius * std::cos(angle));
    if (i + 1 < values.size()) values[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
}

}  // namespace

void ParameterLayout::Add(std::string name, std::vector<std::int64_t> shape, ParameterKind kind) {
  ParameterInfo info;
  info.size = std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  info.name = std::move(name);
  info.shape = std::move(shape);
  info.kind = kind;
  info.offset = storage_size_;
  storage_size_ += Aligned(info.size);
  index_.emplace(info.name, static_cast<int>(tensors_.size()));
  tensors_.push_back(std::move(info));
}

std::shared_ptr<const ParameterLayout> ParameterLayout::Create(const ModelConfig& c) {
  return CreatePart(c, {0, c.experts});
}

std::shared_ptr<const ParameterLayout> ParameterLayout::CreatePart(const ModelConfig& c,
                                                                   const ExpertShare& held) {
  assert(Validate(c).empty());
  assert(0 <= held.begin && held.begin < held.end && held.end <= c.experts);
  std::shared_ptr<ParameterLayout> layout(new ParameterLayout);
  layout->config_ = c;
  layout->held_experts_ = held;
  const auto matrix = [&](const std::string& name, std::int64_t out, std::int64_t in) {
    layout->Add(name + ".weight", {out, in}, ParameterKind::kMatrix);
  };
  const auto norm = [&](const std::string& name, std::int64_t size) {
    layout->Add(name + ".weight", {size}, ParameterKind::kNorm);
  };
  // gate_proj lies directly before up_proj: a block of code relies on it to multiply by both at once.
  const auto feed_forward = [&](const std::string& name, std::int64_t width) {
    matrix(name + ".gate_proj", width, c.hidden);
    matrix(name + ".up_proj", width, c.hidden);
    matrix(name + ".down_proj", c.hidden, width);
  };
  layout->Add("model.embed_tokens.weight", {c.vocabulary, c.hidden}, ParameterKind::kEmbedding);
  for (int i = 0; i < c.all_layers(); ++i) {
    const std::string layer = "model.layers." + std::to_string(i);
    const std::string attention = layer + ".self_attn";
    if (i >= c.layers) {
      norm(layer + ".enorm", c.hidden);
      norm(layer + ".hnorm", c.hidden);
      matrix(layer + ".eh_proj", c.hidden, 2 * c.hidden);
      norm(layer + ".shared_head.norm", c.hidden);
    }
    norm(layer + ".input_layernorm", c.hidden);
    if (c.query_rank > 0) {
      matrix(attention + ".q_a_proj", c.query_rank, c.hidden);
      norm(attention + ".q_a_layernorm", c.query_rank);
      matrix(attention + ".q_b_proj", c.heads * c.query_head_dim(), c.query_rank);
    } else {
      matrix(attention + ".q_proj", c.heads * c.query_head_dim(), c.hidden);
    }
    matrix(attention + ".kv_a_proj_with_mqa", c.kv_rank + c.rope_head_dim, c.hidden);
    norm(attention + ".kv_a_layernorm", c.kv_rank);
    matrix(attention + ".kv_b_proj", c.heads * (c.nope_head_dim + c.value_head_dim), c.kv_rank);
    matrix(attention + ".o_proj", c.hidden, c.heads * c.value_head_dim);
    norm(layer + ".post_attention_layernorm", c.hidden);
    if (i < c.dense_layers) {
      feed_forward(layer + ".mlp", c.dense_width);
      continue;
    }
    matrix(layer + ".mlp.gate", c.experts, c.hidden);
    layout->Add(layer + ".mlp.gate.e_score_correction_bias", {c.experts}, ParameterKind::kState);
    for (int e = held.begin; e < held.end; ++e)
      feed_forward(layer + ".mlp.experts." + std::to_string(e), c.expert_width);
    feed_forward(layer + ".mlp.shared_experts", c.shared_width());
  }
  norm("model.norm", c.hidden);
  if (!c.tied_embeddings) matrix("lm_head", c.vocabulary, c.hidden);

  layout->by_name_.resize(layout->tensors_.size());
  std::iota(layout->by_name_.begin(), layout->by_name_.end(), 0);
  std::sort(layout->by_name_.begin(), layout->by_name_.end(),
            [&](int a, int b) { return layout->tensors_[a].name < layout->tensors_[b].name; });
  return layout;
}

int ParameterLayout::Find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  return found == index_.end() ? -1 : found->second;
}

void ParameterSet::Free::operator()(float* values) const {
  if (owned) std::free(values);
}

ParameterSet::ParameterSet(std::shared_ptr<const ParameterLayout> layout) : layout_(std::move(layout)) {
  const std::size_t bytes = static_cast<std::size_t>(layout_->storage_size()) * sizeof(float);
  values_.reset(static_cast<float*>(std::aligned_alloc(kAlignment * sizeof(float), bytes)));
  if (values_ == nullptr) throw std::bad_alloc();
  SetZero();
}

ParameterSet ParameterSet::View(std::shared_ptr<const ParameterLayout> layout, float* storage) {
  ParameterSet view;
  view.layout_ = std::move(layout);
  view.values_ = std::unique_ptr<float[], Free>(storage, Free(false));
  return view;
}

std::span<float> ParameterSet::tensor(int index) {
  const ParameterInfo& info = layout_->tensors()[index];
  return {values_.get() + info.offset, static_cast<std::size_t>(info.size)};
}

std::span<const float> ParameterSet::tensor(int index) const {
  const ParameterInfo& info = layout_->tensors()[index];
  return {values_.get() + info.offset, static_cast<std::size_t>(info.size)};
}

std::span<float> ParameterSet::storage() {
  return {values_.get(), static_cast<std::size_t>(layout_->storage_size())};
}
std::span<const float> ParameterSet::storage() const {
  return {values_.get(), static_cast<std::size_t>(layout_->storage_size())};
}

ParameterSet ParameterSet::Clone() const {
  ParameterSet copy(layout_);
  std::copy(storage().begin(), storage().end(), copy.storage().begin());
  return copy;
}

void ParameterSet::SetZero() {
  std::fill_n(values_.get(), layout_->storage_size(), 0.0f);
}

void InitializeParameters(std::uint64_t seed, ParameterSet* parameters) {
  const std::span<const ParameterInfo> tensors = parameters->layout().tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::span<float> values = parameters->tensor(static_cast<int>(i));
    switch (tensors[i].kind) {
      case ParameterKind::kNorm:
        std::fill(values.begin(), values.end(), 1.0f);
        break;
      case ParameterKind::kState:
        std::fill(values.begin(), values.end(), 0.0f);
        break;
      case ParameterKind::kMatrix:
      case ParameterKind::kEmbedding:
        FillNormal(Mix(seed ^ Mix(HashName(tensors[i].name))), parameters->config().initializer_range,
                   values);
        break;
    }
  }
}

}  // namespace retort::student
