// Where the embedded teacher's model file is.
#ifndef STUDENT_INFERENCE_TEACHER_GGUF_H_
#define STUDENT_INFERENCE_TEACHER_GGUF_H_

#include <string>

#include "absl/status/statusor.h"

namespace retort::student {

// Path of the embedded teacher's file: $RETORT_TEACHER_GGUF when set and not empty, else
// $XDG_CACHE_HOME/retort/SmolLM2-135M-Instruct.Q4_1.gguf, else ~/.cache/retort/ and the same name. NotFound
// when there is no file; the message names it and says how to get it. Reads the environment: do not call
// while another thread changes it.
absl::StatusOr<std::string> FindTeacherGguf();

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_TEACHER_GGUF_H_
