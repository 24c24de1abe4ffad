// How cross-entropy on the text and divergence from the teacher are mixed.
#ifndef STUDENT_LOSS_LOSS_OPTIONS_H_
#define STUDENT_LOSS_LOSS_OPTIONS_H_

namespace retort::student {

struct LossOptions {
  // a in L = a*CE + (1-a)*KL, in [0, 1]. KL is the forward divergence from the teacher's stored top-k
  // entries, all other tokens together in one tail bucket, at temperature 1. Positions without a teacher
  // distribution learn CE alone.
  float ce_weight = 0.1f;
  // alpha of the sequence-wise balance loss, added once per document and MoE layer; 0 = off. 1e-4 in
  // DeepSeek-V3.
  float balance_weight = 0.0f;
  // lambda of multi-token prediction: each of D modules adds lambda / D times its cross-entropy on text, in
  // sum over the step's valid tokens like the rest. Without modules nothing. 0.3, later 0.1, in DeepSeek-V3.
  float prediction_weight = 0.3f;
};

}  // namespace retort::student

#endif  // STUDENT_LOSS_LOSS_OPTIONS_H_
