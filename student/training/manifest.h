// The training manifest: everything that decides the bits of a trained student, besides the dataset and the
// binary.
//
// A manifest is written once, by whoever starts a run, as canonical JSON (members in byte order of their
// names, no white space, integers plain, every other number a decimal string in shortest fixed form). Its
// SHA-256 is in every checkpoint and in every TRAINING statement, so a run is bound to it. The number of
// threads is not in it: the result does not depend on it. docs/formats/student.md lists every member with its
// bounds.
//
//   TrainingManifest manifest;
//   manifest.run = "logits"; manifest.student = "acme-nano"; manifest.shape = "nano"; ...
//   if (auto status = manifest.Validate(); !status.ok()) return status;
//   const std::string bytes = manifest.ToJson();   // the attachment; Digest() is its name
//
// Plain values; free to cross threads.
#ifndef STUDENT_TRAINING_MANIFEST_H_
#define STUDENT_TRAINING_MANIFEST_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort::student {

// Longest manifest that Parse reads.
inline constexpr size_t kManifestBytesMax = 64 * 1024;

struct TrainingManifest {
  std::string
      run;  // logits: forward KL to the teacher mixed with cross-entropy; text_only: cross-entropy alone
  std::string student;  // name of release: [A-Za-z0-9][A-Za-z0-9._-]{0,95}
  std::string shape;    // unit, nano or small; student/model/config.h has their sizes
  int64_t vocabulary_size =
      0;  // of the tokenizer below, 2 to 1,048,576; replaces the vocabulary of the shape
  std::string tokenizer_sha256;  // lower-case hex; samples with ids of another tokenizer are refused

  int64_t steps = 0;             // optimiser steps, 1 to 1,000,000
  int64_t batch_tokens = 0;      // tokens in one step, 64 to 1,048,576; a multiple of sequence_length
  int64_t sequence_length = 0;   // length of a packed row, 64 to 8192
  int64_t warmup_steps = 0;      // linear; 0 to steps
  int64_t checkpoint_every = 0;  // steps between checkpoints, 1 to steps; the last step is always one
  uint64_t seed = 0;             // of initialisation and of the sample order, at most 2^53 - 1

  double learning_rate = 0;          // peak, 1e-8 to 1
  double final_rate_fraction = 0.1;  // the cosine ends at this part of the peak, 0 to 1
  double cross_entropy_weight = 0;   // 0 to 1; the rest is forward KL; exactly 1 when run is text_only
  double weight_decay = 0;           // AdamW, 0 to 1
  double beta1 = 0.9, beta2 = 0.95;  // AdamW, 0 to below 1
  double epsilon = 1e-8;             // AdamW, 1e-12 to 1e-2
  double clip_norm = 1.0;            // global gradient norm, 1e-3 to 1000
  double bias_update_rate = 1e-3;  // of the routers' balancing bias, 0 to 1; 0 for the last 3 % of the steps
  double balance_loss_weight = 1e-4;  // of the sequence-wise balance loss, 0 to 1

  // Modules of multi-token prediction that are trained beside the student, and the weight of their loss. Both
  // 0: none, and the manifest then has neither member.
  int64_t prediction_layers = 0;      // 0 to 4
  double prediction_loss_weight = 0;  // 0.001 to 1

  // OK, or InvalidArgument naming the member, the value seen and the values wanted.
  absl::Status Validate() const;

  // The canonical bytes. The manifest must be valid.
  std::string ToJson() const;

  // Lower-case hex SHA-256 of ToJson().
  std::string Digest() const;

  // Reads exactly what ToJson writes: an unknown, missing, duplicate or mistyped member, a value out of
  // range, or bytes that are not the canonical form give InvalidArgument naming what was seen and what is
  // wanted.
  static absl::StatusOr<TrainingManifest> Parse(std::string_view json);
};

}  // namespace retort::student

#endif  // STUDENT_TRAINING_MANIFEST_H_
