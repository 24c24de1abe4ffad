// A student as a folder that other programs load: transformers as DeepseekV3ForCausalLM, and whoever reads
// its format.
//
//   config.json, generation_config.json      the shape and the special tokens
//   model.safetensors                        every tensor in F32, under transformers' names
//   mtp.safetensors                          those of multi-token prediction, where there are any
//   tokenizer.json, tokenizer_config.json, special_tokens_map.json
//   training_state.json                      the state whose SHA-256 the ledger holds as checkpoint digest
//
// Weights are written as they were trained, F32, so what was measured is what is released, and an auditor can
// hash the released tensors against the ledger. One tensor differs: the routers' balancing bias is shifted to
// b' = b - min(b) where experts have groups. A constant added to all of b changes no choice of experts, and
// with b' >= 0 the engines that mask refused groups with zero agree with those that mask with minus infinity.
// docs/formats/student.md has every field.
#ifndef STUDENT_EXPORT_HUGGING_FACE_H_
#define STUDENT_EXPORT_HUGGING_FACE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "student/model/config.h"
#include "student/model/parameters.h"
#include "student/tokenizer/tokenizer.h"

namespace retort::student {

// Writes all the files above into `folder`, which is made when missing; a file that is there is replaced,
// whole or not at all. `state` is the content of training_state.json; empty leaves the file out. Internal:
// the shifted bias would change which experts a probe batch goes to; nothing is left half-written but files
// before it. InvalidArgument: the tokenizer has more tokens than the model. Unavailable: the disk refuses.
absl::Status WriteStudent(const std::string& folder, const ParameterSet& weights, const Tokenizer& tokenizer,
                          std::string_view state);

// Reads config.json and model.safetensors of a folder, as hostile input: the student that is decoded and
// measured. Modules of multi-token prediction are left where they are, and the config that is returned has
// none. Tensors may be F32, F16 or BF16. NotFound: a file or a tensor is missing. InvalidArgument: anything
// else about them.
absl::StatusOr<ParameterSet> ReadStudent(const std::string& folder);

// Checks that the tensors of a folder are the ones of a checkpoint: SHA-256 of training_state.json is
// `checkpoint_digest` (lower-case hex), and the tensors of model.safetensors and, if config.json gives
// modules of multi-token prediction, of mtp.safetensors are those that it names by digest, no more and no
// fewer, the bias shifted as above. NotFound: a file is missing. DataLoss: something does not match; the
// message names it. InvalidArgument: a file is malformed.
absl::Status VerifyStudent(const std::string& folder, std::string_view checkpoint_digest);

}  // namespace retort::student

#endif  // STUDENT_EXPORT_HUGGING_FACE_H_
