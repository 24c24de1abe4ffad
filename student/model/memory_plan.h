// How much of a device's memory training takes, told before anything is allocated.
#ifndef STUDENT_MODEL_MEMORY_PLAN_H_
#define STUDENT_MODEL_MEMORY_PLAN_H_

#include <cstdint>
#include <memory>
#include <string>

#include "student/model/block.h"
#include "student/parallel/layout.h"

namespace retort::student {

// Bytes.
struct MemoryPlan {
  bool recompute = false;        // activations are computed again in the backward pass
  std::int64_t weights = 0;      // fp32, and the bf16 copy if there is one
  std::int64_t gradients = 0;    // fp32
  std::int64_t moments = 0;      // both, fp32
  std::int64_t activations = 0;  // what a pass keeps and its working memory
  std::int64_t operators = 0;    // working memory of the operators (Backend::WorkspaceBytes)

  std::int64_t total() const { return weights + gradients + moments + activations + operators; }
};

// What a Learner (learner.h) takes for micro-batches up to `limits`, as one rank of a layout; slots and what
// else the Learner fills in are. A pure function of its arguments; backend is only asked for sizes.
MemoryPlan PlanMemory(std::shared_ptr<const ParameterLayout> layout, const Backend& backend,
                      const PassLimits& limits, bool recompute, const RankPlace& place);

enum class Recompute { kWhenNeeded, kNever, kAlways };

// The plan that fits into the device's free memory, preferring the one that computes nothing twice. False
// with *problem, one sentence with all numbers, when none does. On the host everything fits.
bool ChoosePlan(std::shared_ptr<const ParameterLayout> layout, const Backend& backend,
                const PassLimits& limits, Recompute recompute, const RankPlace& place, MemoryPlan* plan,
                std::string* problem);

}  // namespace retort::student

#endif  // STUDENT_MODEL_MEMORY_PLAN_H_
