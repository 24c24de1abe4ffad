// Globs over model names: `*` stands for any run of characters, `?` for one; letter case of ASCII is ignored.
#ifndef POLICY_GLOB_H_
#define POLICY_GLOB_H_

#include <string_view>

namespace retort::policy {

// True when all of `text` matches. At most |glob| × |text| steps. Pure.
bool MatchesGlob(std::string_view glob, std::string_view text);

}  // namespace retort::policy

#endif  // POLICY_GLOB_H_
