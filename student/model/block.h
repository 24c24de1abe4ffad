// What the blocks of one decoder layer share: where they run, how large a pass is, how they find their
// weights.
#ifndef STUDENT_MODEL_BLOCK_H_
#define STUDENT_MODEL_BLOCK_H_

#include <cassert>
#include <cstdint>
#include <string>

#include "student/device/backend.h"
#include "student/model/arena.h"
#include "student/model/parameters.h"
#include "student/parallel/expert_exchange.h"

namespace retort::student {

// The largest pass that buffers are planned for.
struct PassSizes {
  PassLimits limits;
  std::int64_t key_rows = 0;  // rows of keys, more than positions when decoding after a cache
  Element activation = Element::kF32;
  bool backward = true;    // false: buffers of the forward pass alone
  bool recompute = false;  // blocks keep nothing from forward to backward, and compute it again
  // Ranks that share the routed experts out; limits.slots is then what can arrive here from all of them.
  int expert_ranks = 1;

  bool operator==(const PassSizes&) const = default;
};

// A student's weights in a backend's memory.
struct WeightView {
  const ParameterLayout* layout = nullptr;
  const float* values = nullptr;   // a storage of the layout
  const Bf16* matrices = nullptr;  // rounded copy at the same offsets; null when activations are fp32
  float* gradients = nullptr;      // a storage; null for a forward pass

  const float* Value(int index) const { return values + layout->tensors()[index].offset; }
  // As matrix products read it.
  Values Matrix(int index) const {
    if (matrices == nullptr) return Value(index);
    return {const_cast<Bf16*>(matrices) + layout->tensors()[index].offset, Element::kBf16};
  }
  float* Gradient(int index) const { return gradients + layout->tensors()[index].offset; }
};

// Of one pass; refers, owns nothing.
struct PassContext {
  Backend& backend;
  const WeightView& weights;
  const RopeTables& rope;
  const BatchTables& batch;
  ExpertExchange* exchange = nullptr;  // null: every routed expert is here
};

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
