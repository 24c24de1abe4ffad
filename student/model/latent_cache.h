// What multi-head latent attention must remember of earlier tokens to decode the next: per layer and token
// the normalised latent (kv_rank floats) and the one rotated rope key that all heads share (rope_head_dim
// floats).
#ifndef STUDENT_MODEL_LATENT_CACHE_H_
#define STUDENT_MODEL_LATENT_CACHE_H_

#include <cstdint>
#include <vector>

#include "student/model/config.h"

namespace retort::student {

class LatentCache {
 public:
  // Room for capacity tokens; capacity is at most config.context (asserted).
  LatentCache(const ModelConfig& config, int capacity);

  int size() const { return size_; }  // tokens held
  int capacity() const { return capacity_; }
  // Forgets every token after the first `size`; size <= this->size() (asserted).
  void Truncate(int size);

  // Rows of one layer, [capacity, kv_rank] and [capacity, rope_head_dim]; the first size() rows are filled.
  float* latents(int layer);
  float* rope_keys(int layer);
  // Says that rows up to `size` are now filled in every layer. Called by Model::Extend.
  void SetSize(int size);

 private:
  int capacity_;
  int size_ = 0;
  int kv_rank_;
  int rope_head_dim_;
  std::vector<float> latents_;
  std::vector<float> rope_keys_;
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_LATENT_CACHE_H_
