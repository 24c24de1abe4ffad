// The model shapes that are measured: the ready-made ones of student/model/config.h and one of the size that
// a single data-centre GPU trains.
#ifndef STUDENT_BENCH_SHAPES_H_
#define STUDENT_BENCH_SHAPES_H_

#include <optional>
#include <string_view>

#include "student/model/config.h"

namespace retort::student {

// 1.3 B active of 2.6 B parameters: at 18 bytes a parameter (fp32 weight, gradient and two moments, bf16
// copy) 47 GB, which leaves a device of 80 GB room for the activations of 16 K tokens.
ModelConfig LargeConfig();

// "unit", "nano", "small" or "large"; nothing for any other name.
std::optional<ModelConfig> ShapeNamed(std::string_view name);

}  // namespace retort::student

#endif  // STUDENT_BENCH_SHAPES_H_
