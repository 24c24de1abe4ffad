// Numbers in canonical JSON: the shortest decimal string without exponent that reads back as the same fp64.
#ifndef STUDENT_TRAINING_DECIMAL_H_
#define STUDENT_TRAINING_DECIMAL_H_

#include <optional>
#include <string>
#include <string_view>

namespace retort::student {

// "0.001", "1", "0". The value must be 0 or of magnitude 1e-100 to 1e100 (asserted).
std::string DecimalString(double value);

// The number of a string that DecimalString wrote; nothing for any other string.
std::optional<double> ParseDecimalString(std::string_view text);

}  // namespace retort::student

#endif  // STUDENT_TRAINING_DECIMAL_H_
