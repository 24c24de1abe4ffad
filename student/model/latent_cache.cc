#include "student/model/latent_cache.h"

#include <cassert>

namespace retort::student {

LatentCache::LatentCache(const ModelConfig& config, int capacity)
    : capacity_(capacity),
      kv_rank_(config.kv_rank),
      rope_head_dim_(config.rope_head_dim),
      latents_(static_cast<std::size_t>(config.layers) * capacity * config.kv_rank),
      rope_keys_(static_cast<std::size_t>(config.layers) * capacity * config.rope_head_dim) {
  assert(capacity >= 1 && capacity <= config.context);
}

void LatentCache::Truncate(int size) {
  assert(size >= 0 && size <= size_);
  size_ = size;
}

float* LatentCache::latents(int layer) {
  return latents_.data() + static_cast<std::size_t>(layer) * capacity_ * kv_rank_;
}

float* LatentCache::rope_keys(int layer) {
  return rope_keys_.data() + static_cast<std::size_t>(layer) * capacity_ * rope_head_dim_;
}

void LatentCache::SetSize(int size) {
  assert(size >= 0 && size <= capacity_);
  size_ = size;
}

}  // namespace retort::student
