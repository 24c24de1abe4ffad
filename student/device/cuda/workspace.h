// What the operators of the CUDA backend work in, laid out once per run.
#ifndef STUDENT_DEVICE_CUDA_WORKSPACE_H_
#define STUDENT_DEVICE_CUDA_WORKSPACE_H_

#include <cstdint>

#include "student/device/backend.h"

namespace retort::student {

// Rows of one chunk; a function of the vocabulary alone, since the order of sums depends on it.
std::int64_t HeadChunk(int vocabulary);

// Parts of one rank: at most three for each layer and two for what lies around the layers; each cuts two
// leaves.
std::int64_t PartsMost(const ModelConfig& config);

// Working memory of the operators, one behind the other. Those that are alive only within one operator share
// the part behind `shared`.
struct Workspace {
  std::int32_t* tile_starts;
  const void** pointers;  // of a grouped product
  AdamWLeaf* leaves;
  std::int32_t* tensor_leaves;
  AdamWLeaf* part_leaves;  // of the parts of one rank of several
  std::int32_t* part_starts;
  double* norm_leaves;
  AdamWStep* step;
  std::int64_t* loads;

  void* any;  // of a single kernel
  float* d_weights;
  struct {
    Values gathered;  // rows of tokens, by slot
    float *x, *y;     // operands of the experts' weight gradients, widened
  } experts;
  struct {
    Values x, d_logits;
    float *logits, *d_rows, *work;
  } head;
};

// Bytes of a workspace, and where everything lies in `base`; null: only measured.
std::int64_t PlanWorkspace(const ParameterLayout& layout, const PassLimits& limits, Element element,
                           const AdamWPlan& plan, void* base, Workspace* w);

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_WORKSPACE_H_
