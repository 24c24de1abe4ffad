#include "proto/strict_yaml.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/escaping.h"
#include "proto/edit_distance.h"
#include "proto/internal/yaml_tree.h"
#include "proto/utf8.h"

namespace retort {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using internal::QuoteSeen;
using internal::YamlNode;

std::string AsciiLower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

// " (did you mean x?)", or nothing when no name is near.
std::string Suggest(std::string_view seen, const std::vector<std::string>& names) {
  constexpr size_t kNameMax = 64;  // longer keys are not slips of the pen; bounds the work too
  if (seen.size() > kNameMax) return "";
  const std::string lower = AsciiLower(seen);
  size_t best = std::max<size_t>(1, std::min<size_t>(3, lower.size() / 3)) + 1;
  const std::string* nearest = nullptr;
  for (const std::string& name : names) {
    if (const size_t distance = EditDistance(lower, name); distance < best) {
      best = distance;
      nearest = &name;
    }
  }
  return nearest == nullptr ? "" : " (did you mean " + *nearest + "?)";
}

// -?(0|[1-9][0-9]*) within the type.
template <typename T>
std::optional<T> ParseInteger(std::string_view text) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), IsDigit)) return std::nullopt;
  if (digits.size() > 1 && digits[0] == '0') return std::nullopt;
  if (text == "-0") return std::nullopt;
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// A finite decimal number: -?digits(.digits)?(e[+-]?digits)?
std::optional<double> ParseDouble(std::string_view text) {
  size_t at = text.starts_with('-') ? 1 : 0;
  const auto digits = [&] {
    const size_t start = at;
    while (at < text.size() && IsDigit(text[at])) ++at;
    return at > start;
  };
  if (!digits()) return std::nullopt;
  if (at < text.size() && text[at] == '.' && (++at, !digits())) return std::nullopt;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (!digits()) return std::nullopt;
  }
  if (at != text.size()) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

// 1 to 9 digits as nanoseconds.
std::optional<int32_t> ParseFraction(std::string_view digits) {
  if (digits.empty() || digits.size() > 9 || !std::all_of(digits.begin(), digits.end(), IsDigit))
    return std::nullopt;
  int32_t nanos = 0;
  for (size_t i = 0; i < 9; ++i) nanos = nanos * 10 + (i < digits.size() ? digits[i] - '0' : 0);
  return nanos;
}

// Exactly the digits at [at, at + count), or -1.
int Digits(std::string_view text, size_t at, size_t count) {
  int value = 0;
  for (size_t i = at; i < at + count; ++i) {
    if (i >= text.size() || !IsDigit(text[i])) return -1;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

// "YYYY-MM-DD" or "YYYY-MM-DDTHH:MM:SS[.fraction]Z" (RFC 3339, UTC, no leap second), year 1 and later.
bool ParseTimestamp(std::string_view text, google::protobuf::Timestamp* out) {
  const int year = Digits(text, 0, 4), month = Digits(text, 5, 2), day = Digits(text, 8, 2);
  if (text.size() < 10 || text[4] != '-' || text[7] != '-' || year < 1 || month < 0 || day < 0) return false;
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return false;
  out->set_seconds(std::chrono::sys_days(date).time_since_epoch().count() * int64_t{86400});
  out->set_nanos(0);
  if (text.size() == 10) return true;
  const int hour = Digits(text, 11, 2), minute = Digits(text, 14, 2), second = Digits(text, 17, 2);
  if (text.size() < 20 || text[10] != 'T' || text[13] != ':' || text[16] != ':' || text.back() != 'Z')
    return false;
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return false;
  out->set_seconds(out->seconds() + hour * 3600 + minute * 60 + second);
  if (text.size() == 20) return true;
  if (text[19] != '.') return false;
  const std::optional<int32_t> nanos = ParseFraction(text.substr(20, text.size() - 21));
  if (!nanos) return false;
  out->set_nanos(*nanos);
  return true;
}

// "-?digits(.fraction)?s" within the ±315,576,000,000 s that a Duration holds.
bool ParseDuration(std::string_view text, google::protobuf::Duration* out) {
  constexpr int64_t kSecondsMax = 315'576'000'000;
  if (!text.ends_with('s')) return false;
  text.remove_suffix(1);
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const size_t dot = text.find('.');
  const std::optional<int64_t> seconds = ParseInteger<int64_t>(text.substr(0, dot));
  if (!seconds || *seconds < 0 || *seconds > kSecondsMax) return false;
  std::optional<int32_t> nanos = 0;
  if (dot != text.npos) nanos = ParseFraction(text.substr(dot + 1));
  if (!nanos || (*seconds == kSecondsMax && *nanos > 0)) return false;
  out->set_seconds(negative ? -*seconds : *seconds);
  out->set_nanos(negative ? -*nanos : *nanos);
  return true;
}

// The prefix that the style of protobuf gives the values of an enum: KIND_ for Kind.
std::string EnumPrefix(const std::string& name) {
  std::string prefix;
  for (size_t i = 0; i < name.size(); ++i) {
    const bool upper = name[i] >= 'A' && name[i] <= 'Z';
    if (upper && i > 0 && !(name[i - 1] >= 'A' && name[i - 1] <= 'Z')) prefix += '_';
    prefix += name[i];
  }
  return AsciiLower(prefix) + "_";
}

class Loader {
 public:
  explicit Loader(const std::string& file_name) : file_name_(file_name) {}

  absl::Status LoadMessage(const YamlNode& node, const std::string& path, Message* out) {
    const Descriptor& type = *out->GetDescriptor();
    if (type.full_name() == "google.protobuf.Timestamp") {
      if (IsScalar(node) && ParseTimestamp(node.text, static_cast<google::protobuf::Timestamp*>(out))) {
        return absl::OkStatus();
      }
      return Wrong(node, path, "a time in UTC such as 2026-01-02T03:04:05Z, or a date such as 2026-01-02");
    }
    if (type.full_name() == "google.protobuf.Duration") {
      if (IsScalar(node) && ParseDuration(node.text, static_cast<google::protobuf::Duration*>(out))) {
        return absl::OkStatus();
      }
      return Wrong(node, path, "a duration such as 5s or 0.25s");
    }
    if (node.kind != YamlNode::Kind::kMapping) return Wrong(node, path, "a mapping (" + type.name() + ")");
    for (const YamlNode::Member& member : node.members) {
      const std::string member_path =
          path.empty() ? member.key.substr(0, 64) : path + "." + member.key.substr(0, 64);
      const FieldDescriptor* field = type.FindFieldByName(member.key);
      if (field == nullptr) {
        return internal::YamlError(file_name_, member.place, member_path, "an unknown key",
                                   "a field of " + type.name() + Suggest(member.key, FieldNames(type)));
      }
      if (auto s = CheckOneof(*out, *field, member, member_path); !s.ok()) return s;
      if (auto s = LoadField(*member.value, member_path, *field, out); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

 private:
  static bool IsScalar(const YamlNode& node) { return node.kind == YamlNode::Kind::kScalar; }
  static bool IsPlain(const YamlNode& node) { return IsScalar(node) && !node.quoted; }

  static std::string Describe(const YamlNode& node) {
    switch (node.kind) {
      case YamlNode::Kind::kNothing:
        return "nothing";
      case YamlNode::Kind::kSequence:
        return "a sequence";
      case YamlNode::Kind::kMapping:
        return "a mapping";
      case YamlNode::Kind::kScalar:
        break;
    }
    return (node.quoted ? "the text " : "") + QuoteSeen(node.text);
  }

  absl::Status Wrong(const YamlNode& node, const std::string& path, const std::string& wanted) const {
    return internal::YamlError(file_name_, node.place, path, Describe(node), wanted);
  }

  static std::vector<std::string> FieldNames(const Descriptor& type) {
    std::vector<std::string> names;
    for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
    return names;
  }

  absl::Status CheckOneof(const Message& out, const FieldDescriptor& field, const YamlNode::Member& member,
                          const std::string& path) const {
    const auto* oneof = field.real_containing_oneof();
    if (oneof == nullptr) return absl::OkStatus();
    const FieldDescriptor* earlier = out.GetReflection()->GetOneofFieldDescriptor(out, oneof);
    if (earlier == nullptr) return absl::OkStatus();
    return internal::YamlError(file_name_, member.place, path, "a second member of " + oneof->name(),
                               "only " + earlier->name() + " or only " + field.name());
  }

  absl::Status LoadField(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                         Message* out) {
    if (field.is_map()) return LoadMap(node, path, field, out);
    if (!field.is_repeated()) return LoadValue(node, path, field, out);
    if (node.kind != YamlNode::Kind::kSequence) return Wrong(node, path, "a sequence");
    for (size_t i = 0; i < node.elements.size(); ++i) {
      const std::string element_path = path + "[" + std::to_string(i) + "]";
      if (auto s = LoadValue(*node.elements[i], element_path, field, out); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  absl::Status LoadMap(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                       Message* out) {
    if (node.kind != YamlNode::Kind::kMapping) return Wrong(node, path, "a mapping");
    for (const YamlNode::Member& member : node.members) {
      Message* entry = out->GetReflection()->AddMessage(out, &field);
      const Descriptor& type = *entry->GetDescriptor();
      const std::string member_path = path + "." + member.key.substr(0, 64);
      YamlNode key;
      key.kind = YamlNode::Kind::kScalar;
      key.place = member.place;
      key.text = member.key;
      if (auto s = LoadValue(key, member_path, *type.map_key(), entry); !s.ok()) return s;
      if (auto s = LoadValue(*member.value, member_path, *type.map_value(), entry); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  // Sets a singular field, or adds to a repeated one.
  template <typename T>
  static void Put(const FieldDescriptor& field, Message* out, T value,
                  void (Reflection::*set)(Message*, const FieldDescriptor*, T) const,
                  void (Reflection::*add)(Message*, const FieldDescriptor*, T) const) {
    (out->GetReflection()->*(field.is_repeated() ? add : set))(out, &field, value);
  }

  template <typename T>
  absl::Status LoadInteger(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                           Message* out, void (Reflection::*set)(Message*, const FieldDescriptor*, T) const,
                           void (Reflection::*add)(Message*, const FieldDescriptor*, T) const) const {
    const std::optional<T> value = IsPlain(node) ? ParseInteger<T>(node.text) : std::nullopt;
    if (!value) {
      return Wrong(node, path,
                   "an integer from " + std::to_string(std::numeric_limits<T>::min()) + " to " +
                       std::to_string(std::numeric_limits<T>::max()));
    }
    Put<T>(field, out, *value, set, add);
    return absl::OkStatus();
  }

  absl::Status LoadText(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                        Message* out) const {
    std::string value = node.text;
    if (!IsScalar(node)) return Wrong(node, path, "text");
    if (field.type() == FieldDescriptor::TYPE_BYTES) {
      // The escape library forgives white space and missing padding; only the one standard form is taken.
      if (!absl::Base64Unescape(node.text, &value) || absl::Base64Escape(value) != node.text) {
        return Wrong(node, path, "standard base64 with padding");
      }
    } else if (!IsUtf8(value)) {
      return Wrong(node, path, "UTF-8 text");
    }
    const Reflection& reflection = *out->GetReflection();
    field.is_repeated() ? reflection.AddString(out, &field, std::move(value))
                        : reflection.SetString(out, &field, std::move(value));
    return absl::OkStatus();
  }

  absl::Status LoadEnum(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                        Message* out) const {
    const auto& type = *field.enum_type();
    const std::string prefix = EnumPrefix(type.name());
    const std::string seen = AsciiLower(node.text);
    std::vector<std::string> names;
    for (int i = 0; i < type.value_count(); ++i) {
      const EnumValueDescriptor& value = *type.value(i);
      const std::string full = AsciiLower(value.name());
      if (value.number() == 0 && full.ends_with("_unspecified")) continue;
      const std::string brief = full.starts_with(prefix) ? full.substr(prefix.size()) : full;
      names.push_back(brief);
      if (!IsScalar(node) || (seen != full && seen != brief)) continue;
      Put<const EnumValueDescriptor*>(field, out, &value, &Reflection::SetEnum, &Reflection::AddEnum);
      return absl::OkStatus();
    }
    std::string wanted;
    for (const std::string& name : names) wanted += (wanted.empty() ? "" : ", ") + name;
    return Wrong(node, path, wanted + (IsScalar(node) ? Suggest(node.text, names) : ""));
  }

  absl::Status LoadValue(const YamlNode& node, const std::string& path, const FieldDescriptor& field,
                         Message* out) {
    const Reflection& reflection = *out->GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return LoadMessage(node, path,
                           field.is_repeated() ? reflection.AddMessage(out, &field)
                                               : reflection.MutableMessage(out, &field));
      case FieldDescriptor::CPPTYPE_STRING:
        return LoadText(node, path, field, out);
      case FieldDescriptor::CPPTYPE_ENUM:
        return LoadEnum(node, path, field, out);
      case FieldDescriptor::CPPTYPE_BOOL:
        if (!IsPlain(node) || (node.text != "true" && node.text != "false"))
          return Wrong(node, path, "true or false");
        Put<bool>(field, out, node.text == "true", &Reflection::SetBool, &Reflection::AddBool);
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_INT32:
        return LoadInteger<int32_t>(node, path, field, out, &Reflection::SetInt32, &Reflection::AddInt32);
      case FieldDescriptor::CPPTYPE_INT64:
        return LoadInteger<int64_t>(node, path, field, out, &Reflection::SetInt64, &Reflection::AddInt64);
      case FieldDescriptor::CPPTYPE_UINT32:
        return LoadInteger<uint32_t>(node, path, field, out, &Reflection::SetUInt32, &Reflection::AddUInt32);
      case FieldDescriptor::CPPTYPE_UINT64:
        return LoadInteger<uint64_t>(node, path, field, out, &Reflection::SetUInt64, &Reflection::AddUInt64);
      case FieldDescriptor::CPPTYPE_DOUBLE:
      case FieldDescriptor::CPPTYPE_FLOAT:
        break;
    }
    const bool is_float = field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT;
    const std::optional<double> value = IsPlain(node) ? ParseDouble(node.text) : std::nullopt;
    if (!value || (is_float && std::fabs(*value) > std::numeric_limits<float>::max())) {
      return Wrong(node, path, "a finite number");
    }
    if (is_float) {
      Put<float>(field, out, static_cast<float>(*value), &Reflection::SetFloat, &Reflection::AddFloat);
    } else {
      Put<double>(field, out, *value, &Reflection::SetDouble, &Reflection::AddDouble);
    }
    return absl::OkStatus();
  }

  const std::string& file_name_;
};

}  // namespace

absl::Status LoadYaml(std::string_view yaml, const std::string& file_name, Message* out, size_t size_max) {
  out->Clear();
  auto tree = internal::ParseYamlTree(yaml, file_name, size_max, kYamlDepthMax);
  if (!tree.ok()) return tree.status();
  if (*tree == nullptr) return absl::OkStatus();
  return Loader(file_name).LoadMessage(**tree, "", out);
}

absl::Status LoadYamlFile(const std::string& path, Message* out, size_t size_max) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    const std::string message = path + ": cannot be opened: " + std::strerror(errno);
    return errno == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
  }
  std::string bytes(size_max + 1, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (file.bad() || (file.fail() && !file.eof())) return absl::UnavailableError(path + ": cannot be read");
  bytes.resize(static_cast<size_t>(file.gcount()));
  if (bytes.size() > size_max) {
    return internal::YamlError(path, {}, "", "more than " + std::to_string(size_max) + " bytes",
                               "at most " + std::to_string(size_max) + " bytes");
  }
  return LoadYaml(bytes, path, out, size_max);
}

}  // namespace retort
