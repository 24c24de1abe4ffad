// The forms in which a command prints data: -o table|wide|json|yaml|jsonl|name. Tables are the command's own;
// the others come from the one JSON text that each command has, so that all forms hold the same facts.
#ifndef SERVICES_CLI_OUTPUT_FORM_H_
#define SERVICES_CLI_OUTPUT_FORM_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::services {

inline constexpr std::string_view kOutputForms[] = {"table", "wide", "json", "yaml", "jsonl", "name"};

// One thing, from its JSON object, in a form other than table and wide. InvalidArgument for `name` of a thing
// without a name.
absl::StatusOr<std::string> RenderedItem(const std::string& json, std::string_view form);

// A list: {"items":[...]} as json and yaml, one object or one name a line as jsonl and name.
absl::StatusOr<std::string> RenderedItems(const std::vector<std::string>& items, std::string_view form);

}  // namespace retort::services

#endif  // SERVICES_CLI_OUTPUT_FORM_H_
