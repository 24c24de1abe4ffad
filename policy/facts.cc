#include "policy/facts.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "proto/canonical_json.h"
#include "proto/utf8.h"

namespace retort::policy {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Timestamp;
using nlohmann::json;

constexpr int kListMax = 64;
constexpr int64_t kSecondsMin = -62135596800;  // 0001-01-01T00:00:00Z
constexpr int64_t kSecondsMax = 253402300799;  // 9999-12-31T23:59:59Z

constexpr std::array<std::string_view, 4> kPersonalData = {"email", "iban", "payment_card", "phone"};
constexpr std::array<std::string_view, 2> kSecrets = {"api_key", "private_key"};

bool IsFindingKind(std::string_view kind) {
  return std::find(kPersonalData.begin(), kPersonalData.end(), kind) != kPersonalData.end() ||
         std::find(kSecrets.begin(), kSecrets.end(), kind) != kSecrets.end();
}

absl::Status Invalid(const std::string& path, const std::string& seen, const std::string& wanted) {
  return absl::InvalidArgumentError("facts." + path + ": saw " + seen + ", wanted " + wanted);
}

absl::Status ValidateText(const std::string& text, const std::string& path) {
  if (text.size() > kFactTextMax) {
    return Invalid(path, std::to_string(text.size()) + " bytes", "at most " + std::to_string(kFactTextMax));
  }
  return IsUtf8(text) ? absl::OkStatus() : Invalid(path, "bytes that are not UTF-8", "UTF-8 text");
}

absl::Status ValidateTime(const Timestamp& time, const std::string& path) {
  if (time.seconds() < kSecondsMin || time.seconds() > kSecondsMax) {
    return Invalid(path, std::to_string(time.seconds()) + " seconds since 1970",
                   "a time in the years 1 to 9999");
  }
  if (time.nanos() < 0 || time.nanos() > 999'999'999 || time.nanos() % 1000 != 0) {
    return Invalid(path, std::to_string(time.nanos()) + " nanoseconds",
                   "whole microseconds below one second");
  }
  return absl::OkStatus();
}

absl::Status ValidateMessage(const Message& message, const std::string& prefix);

absl::Status ValidateField(const Message& message, const FieldDescriptor& field, const std::string& path) {
  const auto& reflection = *message.GetReflection();
  if (field.is_repeated()) {
    const int count = reflection.FieldSize(message, &field);
    const int count_max = field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE ? kLineageMax : kListMax;
    if (count > count_max) {
      return Invalid(path, std::to_string(count) + " elements", "at most " + std::to_string(count_max));
    }
    if (field.is_map()) return absl::OkStatus();  // findings, checked by ValidateFacts
    for (int i = 0; i < count; ++i) {
      const std::string at = path + "[" + std::to_string(i) + "]";
      const bool is_text = field.cpp_type() == FieldDescriptor::CPPTYPE_STRING;
      if (auto s = is_text ? ValidateText(reflection.GetRepeatedString(message, &field, i), at)
                           : ValidateMessage(reflection.GetRepeatedMessage(message, &field, i), at + ".");
          !s.ok()) {
        return s;
      }
    }
    return absl::OkStatus();
  }
  if (field.has_presence() && !reflection.HasField(message, &field)) return absl::OkStatus();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return ValidateText(reflection.GetString(message, &field), path);
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64: {
      const int64_t value = field.cpp_type() == FieldDescriptor::CPPTYPE_INT32
                                ? reflection.GetInt32(message, &field)
                                : reflection.GetInt64(message, &field);
      const int64_t value_max = field.name() == "owned_percent" ? 100 : kCanonicalIntegerMax;
      if (value >= 0 && value <= value_max) return absl::OkStatus();
      return Invalid(path, std::to_string(value), "0 to " + std::to_string(value_max));
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const Message& value = reflection.GetMessage(message, &field);
      if (field.message_type() == Timestamp::descriptor())
        return ValidateTime(static_cast<const Timestamp&>(value), path);
      return ValidateMessage(value, path + ".");
    }
    default:
      return absl::OkStatus();  // a bool
  }
}

absl::Status ValidateMessage(const Message& message, const std::string& prefix) {
  const auto& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    if (auto s = ValidateField(message, *type.field(i), prefix + type.field(i)->name()); !s.ok()) return s;
  }
  return absl::OkStatus();
}

json ToJson(const Message& message) {
  json object = json::object();
  const auto& type = *message.GetDescriptor();
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    json value;
    if (field.is_map()) {
      if (const auto& findings = static_cast<const v1::ScreeningFacts&>(message).findings();
          !findings.empty()) {
        for (const auto& [kind, count] : findings) value[kind] = int64_t{count};
      }
    } else if (field.is_repeated()) {
      const bool is_text = field.cpp_type() == FieldDescriptor::CPPTYPE_STRING;
      for (int k = 0; k < reflection.FieldSize(message, &field); ++k) {
        value.push_back(is_text ? json(reflection.GetRepeatedString(message, &field, k))
                                : ToJson(reflection.GetRepeatedMessage(message, &field, k)));
      }
    } else if (!field.has_presence() || reflection.HasField(message, &field)) {
      switch (field.cpp_type()) {
        case FieldDescriptor::CPPTYPE_STRING:
          value = reflection.GetString(message, &field);
          break;
        case FieldDescriptor::CPPTYPE_BOOL:
          value = reflection.GetBool(message, &field);
          break;
        case FieldDescriptor::CPPTYPE_INT32:
          value = int64_t{reflection.GetInt32(message, &field)};
          break;
        case FieldDescriptor::CPPTYPE_INT64:
          value = int64_t{reflection.GetInt64(message, &field)};
          break;
        default:
          value =
              field.message_type() == Timestamp::descriptor()
                  ? json(FormatTime(static_cast<const Timestamp&>(reflection.GetMessage(message, &field))))
                  : ToJson(reflection.GetMessage(message, &field));
      }
    }
    if (!value.is_null()) object[field.name()] = std::move(value);
  }
  return object;
}

absl::Status FromJson(const json& object, const std::string& prefix, Message* out);

absl::Status ReadValue(const json& value, const FieldDescriptor& field, const std::string& path,
                       Message* out) {
  const auto& reflection = *out->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      if (!value.is_string()) return Invalid(path, value.type_name(), "a string");
      reflection.SetString(out, &field, value.get_ref<const std::string&>());
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_BOOL:
      if (!value.is_boolean()) return Invalid(path, value.type_name(), "true or false");
      reflection.SetBool(out, &field, value.get<bool>());
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_INT32:
      if (!value.is_number_integer() || !std::in_range<int32_t>(value.get<int64_t>())) {
        return Invalid(path, value.type_name(), "an integer of 32 bits");
      }
      reflection.SetInt32(out, &field, value.get<int32_t>());
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_INT64:
      if (!value.is_number_integer()) return Invalid(path, value.type_name(), "an integer");
      reflection.SetInt64(out, &field, value.get<int64_t>());
      return absl::OkStatus();
    default:
      break;
  }
  if (field.message_type() != Timestamp::descriptor())
    return FromJson(value, path + ".", reflection.MutableMessage(out, &field));
  if (!value.is_string()) return Invalid(path, value.type_name(), "a time");
  auto time = ParseTime(value.get_ref<const std::string&>());
  if (!time.ok()) return Invalid(path, "another form", "a time such as 2026-01-02T03:04:05.000006Z");
  reflection.MutableMessage(out, &field)->CopyFrom(*time);
  return absl::OkStatus();
}

absl::Status ReadList(const json& list, const FieldDescriptor& field, const std::string& path, Message* out) {
  if (field.is_map()) {
    if (!list.is_object() || list.empty())
      return Invalid(path, list.type_name(), "an object that is not empty");
    auto& findings = *static_cast<v1::ScreeningFacts*>(out)->mutable_findings();
    for (const auto& [kind, count] : list.items()) {
      if (!count.is_number_integer() || !std::in_range<int32_t>(count.get<int64_t>())) {
        return Invalid(path, count.type_name(), "integers of 32 bits");
      }
      findings[kind] = count.get<int32_t>();
    }
    return absl::OkStatus();
  }
  if (!list.is_array() || list.empty()) return Invalid(path, list.type_name(), "an array that is not empty");
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string at = path + "[" + std::to_string(i) + "]";
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      if (!list[i].is_string()) return Invalid(at, list[i].type_name(), "a string");
      out->GetReflection()->AddString(out, &field, list[i].get_ref<const std::string&>());
    } else if (auto s = FromJson(list[i], at + ".", out->GetReflection()->AddMessage(out, &field)); !s.ok()) {
      return s;
    }
  }
  return absl::OkStatus();
}

absl::Status FromJson(const json& object, const std::string& prefix, Message* out) {
  const std::string path = prefix.empty() ? "" : prefix.substr(0, prefix.size() - 1);
  if (!object.is_object()) return Invalid(path, object.type_name(), "an object");
  const auto& type = *out->GetDescriptor();
  for (const auto& [name, value] : object.items()) {
    const FieldDescriptor* field = type.FindFieldByName(name);
    if (field == nullptr)
      return Invalid(prefix + name.substr(0, 64), "an unknown member", "a member of " + type.name());
    if (auto s = field->is_repeated() ? ReadList(value, *field, prefix + name, out)
                                      : ReadValue(value, *field, prefix + name, out);
        !s.ok()) {
      return s;
    }
  }
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (!field.is_repeated() && !field.has_presence() && !object.contains(field.name())) {
      return Invalid(prefix + field.name(), "nothing", "a value");
    }
  }
  return absl::OkStatus();
}

FactValue Text(bool known, const std::string& text) {
  return {.known = known, .text = text};
}
FactValue Bool(bool known, bool value) {
  return {.known = known, .boolean = value};
}
FactValue Integer(bool known, int64_t value) {
  return {.known = known, .integer = value};
}
FactValue Time(bool known, const Timestamp& time) {
  return {.known = known, .time = &time};
}
FactValue List(bool known, const google::protobuf::RepeatedPtrField<std::string>& list) {
  return {.known = known, .list = &list};
}

// Sum of the findings of some kinds; screening without a finish reason did not complete, so nothing of it is
// known.
template <size_t N>
FactValue CountFindings(const v1::Facts& facts, const std::array<std::string_view, N>& kinds) {
  int64_t sum = 0;
  for (const std::string_view kind : kinds) {
    if (const auto it = facts.screening().findings().find(std::string(kind));
        it != facts.screening().findings().end()) {
      sum += it->second;
    }
  }
  return Integer(!facts.screening().finish_reason().empty(), sum);
}

struct FactEntry {
  std::string_view path;
  FactType type;
  FactValue (*read)(const v1::Facts& facts, const v1::TeacherFacts& teacher);
};

#define RETORT_TEACHER_TEXT(name)                                                                  \
  {                                                                                                \
    "teacher." #name, FactType::kText,                                                             \
        [](const v1::Facts&, const v1::TeacherFacts& t) { return Text(t.has_##name(), t.name()); } \
  }
#define RETORT_STUDENT(name, type, make)                                                \
  {                                                                                     \
    "student." #name, FactType::type, [](const v1::Facts& f, const v1::TeacherFacts&) { \
      return make(f.student().has_##name(), f.student().name());                        \
    }                                                                                   \
  }
#define RETORT_FINDING(kind)                                                                           \
  {                                                                                                    \
    "screening.findings." #kind, FactType::kInteger, [](const v1::Facts& f, const v1::TeacherFacts&) { \
      return CountFindings(f, std::array<std::string_view, 1>{#kind});                                 \
    }                                                                                                  \
  }

// Sorted by path.
constexpr FactEntry kFacts[] = {
    {"authorisations", FactType::kTextList,
     [](const v1::Facts& f, const v1::TeacherFacts&) { return List(true, f.authorisations()); }},
    {"decided_time", FactType::kTime,
     [](const v1::Facts& f, const v1::TeacherFacts&) {
       return Time(f.has_decided_time(), f.decided_time());
     }},
    {"generated_time", FactType::kTime,
     [](const v1::Facts& f, const v1::TeacherFacts&) {
       return Time(f.has_generated_time(), f.generated_time());
     }},
    {"prompt_licence", FactType::kText,
     [](const v1::Facts& f, const v1::TeacherFacts&) {
       return Text(f.has_prompt_licence(), f.prompt_licence());
     }},
    RETORT_FINDING(api_key),
    RETORT_FINDING(email),
    RETORT_FINDING(iban),
    RETORT_FINDING(payment_card),
    RETORT_FINDING(phone),
    RETORT_FINDING(private_key),
    {"screening.finish_reason", FactType::kText,
     [](const v1::Facts& f, const v1::TeacherFacts&) {
       return Text(!f.screening().finish_reason().empty(), f.screening().finish_reason());
     }},
    {"screening.personal_data", FactType::kInteger,
     [](const v1::Facts& f, const v1::TeacherFacts&) { return CountFindings(f, kPersonalData); }},
    {"screening.refusal", FactType::kBool,
     [](const v1::Facts& f, const v1::TeacherFacts&) {
       return Bool(!f.screening().finish_reason().empty(), f.screening().refusal());
     }},
    {"screening.secrets", FactType::kInteger,
     [](const v1::Facts& f, const v1::TeacherFacts&) { return CountFindings(f, kSecrets); }},
    RETORT_STUDENT(base_model, kText, Text),
    {"student.competition.declared_by", FactType::kText,
     [](const v1::Facts& f, const v1::TeacherFacts&) {
       return Text(f.student().has_competition(), f.student().competition().declared_by());
     }},
    {"student.competition.providers", FactType::kTextList,
     [](const v1::Facts& f, const v1::TeacherFacts&) {
       return List(f.student().has_competition(), f.student().competition().providers());
     }},
    RETORT_STUDENT(distributed, kBool, Bool),
    RETORT_STUDENT(hosted, kBool, Bool),
    RETORT_STUDENT(kind, kText, Text),
    RETORT_STUDENT(monthly_active_users, kInteger, Integer),
    RETORT_STUDENT(name, kText, Text),
    RETORT_STUDENT(sold, kBool, Bool),
    RETORT_STUDENT(use, kText, Text),
    RETORT_TEACHER_TEXT(account_class),
    RETORT_TEACHER_TEXT(account_region),
    {"teacher.acquired_time", FactType::kTime,
     [](const v1::Facts&, const v1::TeacherFacts& t) {
       return Time(t.has_acquired_time(), t.acquired_time());
     }},
    RETORT_TEACHER_TEXT(channel),
    RETORT_TEACHER_TEXT(extraction_mode),
    RETORT_TEACHER_TEXT(modality),
    RETORT_TEACHER_TEXT(model),
    RETORT_TEACHER_TEXT(model_answered),
    {"teacher.owned_percent", FactType::kInteger,
     [](const v1::Facts&, const v1::TeacherFacts& t) {
       return Integer(t.has_owned_percent(), t.owned_percent());
     }},
    RETORT_TEACHER_TEXT(owner_region),
    RETORT_TEACHER_TEXT(provider),
};
#undef RETORT_TEACHER_TEXT
#undef RETORT_STUDENT
#undef RETORT_FINDING

static_assert(std::is_sorted(std::begin(kFacts), std::end(kFacts),
                             [](const FactEntry& a, const FactEntry& b) { return a.path < b.path; }));

const FactEntry* FindFact(std::string_view path) {
  const auto* entry = std::lower_bound(std::begin(kFacts), std::end(kFacts), path,
                                       [](const FactEntry& e, std::string_view p) { return e.path < p; });
  return entry == std::end(kFacts) || entry->path != path ? nullptr : entry;
}

}  // namespace

absl::Status ValidateFacts(const v1::Facts& facts) {
  if (auto s = ValidateMessage(facts, ""); !s.ok()) return s;
  if (facts.student().has_competition() && facts.student().competition().declared_by().empty()) {
    return Invalid("student.competition.declared_by", "nothing", "who declared it");
  }
  for (const auto& [kind, count] : facts.screening().findings()) {
    if (!IsFindingKind(kind))
      return Invalid("screening.findings", "an unknown kind", "email, phone, payment_card, …");
    if (count < 1) return Invalid("screening.findings." + kind, std::to_string(count), "at least 1");
  }
  return absl::OkStatus();
}

std::string FactsToCanonicalJson(const v1::Facts& facts) {
  return WriteCanonicalJson(ToJson(facts));
}

absl::StatusOr<v1::Facts> FactsFromCanonicalJson(std::string_view text) {
  auto object = ParseCanonicalJson(text, kFactsJsonSizeMax);
  if (!object.ok()) return object.status();
  v1::Facts facts;
  if (auto s = FromJson(*object, "", &facts); !s.ok()) return s;
  if (auto s = ValidateFacts(facts); !s.ok()) return s;
  return facts;
}

std::string FormatTime(const Timestamp& time) {
  const std::chrono::sys_seconds instant{std::chrono::seconds(time.seconds())};
  const auto day = std::chrono::floor<std::chrono::days>(instant);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(instant - day);
  char text[64];
  const int length =
      std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%06dZ", static_cast<int>(date.year()),
                    static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                    static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                    static_cast<int>(clock.seconds().count()), time.nanos() / 1000);
  return std::string(text, static_cast<size_t>(length));
}

absl::StatusOr<Timestamp> ParseTime(std::string_view text) {
  constexpr std::string_view kForm = "dddd-dd-ddTdd:dd:dd.ddddddZ";
  const auto wrong = [] {
    return absl::InvalidArgumentError(
        "time: saw another form, wanted one such as 2026-01-02T03:04:05.000006Z");
  };
  if (text.size() != kForm.size()) return wrong();
  for (size_t i = 0; i < kForm.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kForm[i] == 'd' ? !digit : text[i] != kForm[i]) return wrong();
  }
  const auto number = [&](size_t at, size_t count) {
    int value = 0;
    for (size_t i = at; i < at + count; ++i) value = value * 10 + (text[i] - '0');
    return value;
  };
  const std::chrono::year_month_day date{std::chrono::year(number(0, 4)),
                                         std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                         std::chrono::day(static_cast<unsigned>(number(8, 2)))};
  if (!date.ok() || number(0, 4) < 1 || number(11, 2) > 23 || number(14, 2) > 59 || number(17, 2) > 59)
    return wrong();
  Timestamp time;
  time.set_seconds(std::chrono::sys_days(date).time_since_epoch().count() * int64_t{86400} +
                   number(11, 2) * 3600 + number(14, 2) * 60 + number(17, 2));
  time.set_nanos(number(20, 6) * 1000);
  return time;
}

const FactType* FindFactType(std::string_view path) {
  const FactEntry* entry = FindFact(path);
  return entry == nullptr ? nullptr : &entry->type;
}

FactValue ReadFact(const v1::Facts& facts, const v1::TeacherFacts& teacher, std::string_view path) {
  const FactEntry* entry = FindFact(path);
  return entry == nullptr ? FactValue() : entry->read(facts, teacher);
}

}  // namespace retort::policy
