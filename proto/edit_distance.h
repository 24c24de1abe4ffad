// How far two words are apart, for "did you mean": the fewest insertions, deletions and replacements of
// single bytes that turn one into the other (Levenshtein). Time is the product of the lengths, so callers
// bound what they pass.
#ifndef PROTO_EDIT_DISTANCE_H_
#define PROTO_EDIT_DISTANCE_H_

#include <cstddef>
#include <string_view>

namespace retort {

size_t EditDistance(std::string_view a, std::string_view b);

}  // namespace retort

#endif  // PROTO_EDIT_DISTANCE_H_
