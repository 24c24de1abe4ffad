#include "services/cli/output_form.h"

#include <nlohmann/json.hpp>

#include "services/cli/output.h"

namespace retort::services {
namespace {

using Json = nlohmann::ordered_json;

constexpr auto kReplace = Json::error_handler_t::replace;

// A scalar as YAML: strings always in double quotes, whose escapes are JSON's.
std::string Scalar(const Json& value) {
  return value.dump(-1, ' ', false, kReplace);
}

// Block style below `depth` spaces; begins on the line where the cursor is.
void WriteYaml(const Json& value, size_t depth, std::string& out) {
  const std::string indent(depth, ' ');
  if (value.is_structured() && value.empty()) {
    out += (value.is_array() ? " []\n" : " {}\n");
    return;
  }
  if (!value.is_structured()) {
    out += " " + Scalar(value) + "\n";
    return;
  }
  if (depth > 0) out += "\n";
  if (value.is_array()) {
    for (const Json& item : value) {
      out += indent + "-";
      WriteYaml(item, depth + 2, out);
    }
    return;
  }
  for (const auto& [key, member] : value.items()) {
    out += indent + Scalar(Json(key)) + ":";
    WriteYaml(member, depth + 2, out);
  }
}

absl::StatusOr<std::string> NameOf(const Json& item) {
  if (item.is_object() && item.contains("name") && item["name"].is_string())
    return Printable(item["name"].get<std::string>()) + "\n";
  return absl::InvalidArgumentError("-o name: what this command prints has no name; use -o json");
}

}  // namespace

absl::StatusOr<std::string> RenderedItem(const std::string& json, std::string_view form) {
  if (form == "json") return json.ends_with("\n") ? json : json + "\n";
  const Json value = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) return absl::InternalError("a command made text that is no JSON");
  if (form == "name") return NameOf(value);
  if (form == "jsonl") return value.dump(-1, ' ', false, kReplace) + "\n";
  std::string yaml;
  WriteYaml(value, 0, yaml);
  return yaml;
}

absl::StatusOr<std::string> RenderedItems(const std::vector<std::string>& items, std::string_view form) {
  if (form == "json" || form == "yaml") return RenderedItem(JsonItems(items), form);
  std::string lines;
  for (const std::string& item : items) {
    auto line = RenderedItem(item, form);
    if (!line.ok()) return line;
    lines += *line;
  }
  return lines;
}

}  // namespace retort::services
