// What the blocks of one decoder layer share: where they run, which documents they see, how they find their
// weights.
#ifndef STUDENT_MODEL_BLOCK_H_
#define STUDENT_MODEL_BLOCK_H_

#include <cassert>
#include <cstdint>
#include <span>
#include <string>

#include "student/model/parameters.h"
#include "student/ops/attention.h"
#include "student/ops/rope.h"
#include "student/tensor/compute.h"

namespace retort::student {

// The rows of one pass.
struct Rows {
  std::int64_t count;                        // T
  const std::int32_t* positions;             // [T]
  std::span<const AttentionSpan> documents;  // cover all rows
};

// Values of tensor `index` of a set.
inline const float* Weight(const ParameterSet& parameters, int index) {
  return parameters.tensor(index).data();
}
inline float* Weight(ParameterSet* parameters, int index) {
  return parameters->tensor(index).data();
}

// Index of a tensor that the layout is known to have.
inline int Require(const ParameterLayout& layout, const std::string& name) {
  const int index = layout.Find(name);
  assert(index >= 0);
  return index;
}

// gate_proj and up_proj, one matrix [2 * width, hidden] since they lie side by side, and down_proj [hidden,
// width].
struct GatedWeights {
  int gate_up = -1, down = -1;
  int width = 0;

  static GatedWeights Find(const ParameterLayout& layout, const std::string& name, int width) {
    GatedWeights weights = {Require(layout, name + ".gate_proj.weight"),
                            Require(layout, name + ".down_proj.weight"), width};
    [[maybe_unused]] const ParameterInfo& gate = layout.tensors()[weights.gate_up];
    assert(layout.tensors()[Require(layout, name + ".up_proj.weight")].offset == gate.offset + gate.size);
    return weights;
  }
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_BLOCK_H_
