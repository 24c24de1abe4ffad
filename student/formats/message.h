// Puts the text of an error together from its parts: Message("steps: ", seen, "; wanted at most ", bound).
//
// Distributions build Abseil with a string_view of its own, which absl::StrCat then wants instead of
// std::string_view; this takes both, beside integers and (with six significant digits) floating-point
// numbers.
#ifndef STUDENT_FORMATS_MESSAGE_H_
#define STUDENT_FORMATS_MESSAGE_H_

#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>

#include "absl/strings/string_view.h"

namespace retort::student {

namespace internal {

template <typename Part>
void AppendPart(std::string& text, const Part& part) {
  if constexpr (std::integral<Part>) {
    text += std::to_string(part);
  } else if constexpr (std::floating_point<Part>) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%g", static_cast<double>(part));
    text += buffer;
  } else if constexpr (std::convertible_to<Part, std::string_view>) {
    text += std::string_view(part);
  } else {
    const absl::string_view view(part);
    text.append(view.data(), view.size());
  }
}

}  // namespace internal

template <typename... Parts>
std::string Message(const Parts&... parts) {
  std::string text;
  (internal::AppendPart(text, parts), ...);
  return text;
}

}  // namespace retort::student

#endif  // STUDENT_FORMATS_MESSAGE_H_
