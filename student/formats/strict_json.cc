#include "student/formats/strict_json.h"

#include <algorithm>
#include <set>
#include <utility>

#include "student/formats/message.h"

namespace retort::student {
namespace {

absl::Status Refuse(const char* name, std::string_view seen, std::string_view wanted) {
  return absl::InvalidArgumentError(Message(name, ": ", seen, "; wanted ", wanted));
}

absl::StatusOr<const nlohmann::json*> Member(const nlohmann::json& object, const char* name,
                                             std::string_view wanted) {
  if (!object.is_object()) return Refuse(name, "its parent is not an object", "an object");
  const auto found = object.find(name);
  if (found == object.end()) return Refuse(name, "missing", wanted);
  return &*found;
}

}  // namespace

std::string JsonExcerpt(const nlohmann::json& value) {
  std::string text = value.is_structured()
                         ? std::string(value.type_name())
                         : value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > 64) text = text.substr(0, 61) + "...";
  return text;
}

absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text, std::string_view what,
                                               JsonLimits limits) {
  if (text.size() > limits.bytes_max) {
    return absl::InvalidArgumentError(
        Message(what, ": ", text.size(), " bytes; wanted at most ", limits.bytes_max));
  }
  std::vector<std::set<std::string>> open;  // the names seen so far, per open object
  std::string problem;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (!problem.empty()) return false;  // keep no value of a text that is refused anyway
    if (depth > limits.depth_max) problem = Message("nested deeper than ", limits.depth_max);
    if (event == Event::object_start) open.emplace_back();
    if (event == Event::object_end) open.pop_back();
    if (event == Event::key && !open.back().insert(parsed.get<std::string>()).second) {
      problem = Message("member ", JsonExcerpt(parsed), " is there twice");
    }
    return true;
  };
  nlohmann::json value;
  try {
    value = nlohmann::json::parse(text.begin(), text.end(), watch);
  } catch (const nlohmann::json::exception& error) {
    std::string reason = error.what();  // quotes the last token it read
    std::replace_if(
        reason.begin(), reason.end(), [](unsigned char c) { return c < 0x20 || c > 0x7e; }, '?');
    if (reason.size() > 160) reason.resize(160);
    return absl::InvalidArgumentError(Message(what, ": not JSON (", reason, ")"));
  }
  if (!problem.empty()) return absl::InvalidArgumentError(Message(what, ": ", problem));
  return value;
}

absl::StatusOr<int64_t> JsonInteger(const nlohmann::json& object, const char* name, int64_t low,
                                    int64_t high) {
  const std::string wanted = Message("an integer from ", low, " to ", high);
  const auto member = Member(object, name, wanted);
  if (!member.ok()) return member.status();
  const nlohmann::json& value = **member;
  if (!value.is_number_integer()) return Refuse(name, JsonExcerpt(value), wanted);
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    return Refuse(name, JsonExcerpt(value), wanted);
  }
  const int64_t number = value.get<int64_t>();
  if (number < low || number > high) return Refuse(name, JsonExcerpt(value), wanted);
  return number;
}

absl::StatusOr<double> JsonNumber(const nlohmann::json& object, const char* name, double low, double high) {
  const std::string wanted = Message("a number from ", low, " to ", high);
  const auto member = Member(object, name, wanted);
  if (!member.ok()) return member.status();
  if (!(*member)->is_number()) return Refuse(name, JsonExcerpt(**member), wanted);
  const double number = (*member)->get<double>();
  if (!(number >= low && number <= high)) return Refuse(name, JsonExcerpt(**member), wanted);
  return number;
}

absl::StatusOr<std::string> JsonString(const nlohmann::json& object, const char* name, size_t bytes_max) {
  const std::string wanted = Message("a string of at most ", bytes_max, " bytes");
  const auto member = Member(object, name, wanted);
  if (!member.ok()) return member.status();
  if (!(*member)->is_string()) return Refuse(name, JsonExcerpt(**member), wanted);
  auto text = (*member)->get<std::string>();
  if (text.size() > bytes_max) return Refuse(name, Message(text.size(), " bytes"), wanted);
  return text;
}

absl::StatusOr<bool> JsonBool(const nlohmann::json& object, const char* name) {
  const auto member = Member(object, name, "true or false");
  if (!member.ok()) return member.status();
  if (!(*member)->is_boolean()) return Refuse(name, JsonExcerpt(**member), "true or false");
  return (*member)->get<bool>();
}

absl::Status JsonHasExactly(const nlohmann::json& object, const std::vector<std::string>& names) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError(Message("top level: ", JsonExcerpt(object), "; wanted an object"));
  }
  for (const std::string& name : names) {
    if (!object.contains(name)) return Refuse(name.c_str(), "missing", "this member");
  }
  for (const auto& [name, value] : object.items()) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      return Refuse(JsonExcerpt(nlohmann::json(name)).c_str(), "unknown member", "only those of the format");
    }
  }
  return absl::OkStatus();
}

}  // namespace retort::student
