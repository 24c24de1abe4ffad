// The fast path of HeadLoss; same contract, for an isa other than plain.
#ifndef STUDENT_LOSS_HEAD_FAST_H_
#define STUDENT_LOSS_HEAD_FAST_H_

#include <span>
#include <vector>

#include "student/loss/head.h"

namespace retort::student {

std::vector<HeadResult> HeadLossFast(const Compute& compute, HeadMemory* memory, const HeadTensors& tensors,
                                     const PackedBatch& batch, std::span<const std::int32_t> rows,
                                     float ce_weight, double factor, bool want_argmax);

}  // namespace retort::student

#endif  // STUDENT_LOSS_HEAD_FAST_H_
