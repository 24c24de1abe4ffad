#include "student/training/decimal.h"

#include <cassert>
#include <charconv>
#include <cmath>

namespace retort::student {

std::string DecimalString(double value) {
  assert(std::isfinite(value) && (value == 0 || (std::abs(value) >= 1e-100 && std::abs(value) <= 1e100)));
  if (value == 0) return "0";  // and not "-0"
  char buffer[400];            // enough for magnitudes from 1e-100 to 1e100
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  assert(end.ec == std::errc());
  return std::string(buffer, end.ptr);
}

std::optional<double> ParseDecimalString(std::string_view text) {
  double value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  if (std::abs(value) > 1e100 || (value != 0 && std::abs(value) < 1e-100)) return std::nullopt;
  if (DecimalString(value) != text) return std::nullopt;
  return value;
}

}  // namespace retort::student
