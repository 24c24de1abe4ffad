#include "ledger/internal/statement_fields.h"

#include <algorithm>
#include <cassert>

#include "ledger/uuid.h"

namespace retort::ledger::internal {
namespace {

constexpr size_t kShownBytesMax = 64;

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

bool IsDigest(std::string_view text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return IsDigit(c) || (c >= 'a' && c <= 'f'); });
}

bool IsTime(std::string_view text) {
  constexpr std::string_view kShape = "0000-00-00T00:00:00.000000Z";
  if (text.size() != kShape.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (kShape[i] == '0' ? !IsDigit(text[i]) : text[i] != kShape[i]) return false;
  }
  const auto pair = [text](size_t at) { return (text[at] - '0') * 10 + (text[at + 1] - '0'); };
  constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const int year = pair(0) * 100 + pair(2);
  const int month = pair(5);
  if (month < 1 || month > 12) return false;
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  const int days = kDays[month - 1] + (month == 2 && leap ? 1 : 0);
  return pair(8) >= 1 && pair(8) <= days && pair(11) <= 23 && pair(14) <= 59 && pair(17) <= 59;
}

bool IsDecimal(std::string_view text) {
  const auto digits = [&text] {
    size_t n = 0;
    while (n < text.size() && IsDigit(text[n])) ++n;
    text.remove_prefix(n);
    return n > 0;
  };
  if (text.starts_with('-')) text.remove_prefix(1);
  if (!digits()) return false;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (!digits()) return false;
  }
  if (text.starts_with('e')) {
    text.remove_prefix(1);
    if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
    if (!digits()) return false;
  }
  return text.empty();
}

}  // namespace

std::string_view WantedForm(Form form, std::string_view value) {
  switch (form) {
    case Form::kText:
      return "";
    case Form::kName:
      return value.empty() ? "text that is not empty" : "";
    case Form::kUuid:
      return IsUuid(value) ? "" : "a UUID of 36 lower-case characters";
    case Form::kDigestOrEmpty:
      if (value.empty()) return "";
      [[fallthrough]];
    case Form::kDigest:
      return IsDigest(value) ? "" : "64 lower-case hex digits";
    case Form::kTimeOrEmpty:
      if (value.empty()) return "";
      [[fallthrough]];
    case Form::kTime:
      return IsTime(value) ? "" : "a UTC time like 2026-01-02T03:04:05.000006Z";
    case Form::kDecimalOrEmpty:
      if (value.empty()) return "";
      [[fallthrough]];
    case Form::kDecimal:
      return IsDecimal(value) ? "" : "a decimal number like -12.5 or 3e-4";
  }
  return "a known form";
}

std::string Shown(std::string_view value) {
  std::string shown = "\"";
  for (const char c : value.substr(0, kShownBytesMax)) shown += c >= 0x20 && c < 0x7F ? c : '?';
  return shown + (value.size() > kShownBytesMax ? "\"..." : "\"");
}

void FieldWriter::Embedded(const char* name, const std::string& text) {
  absl::StatusOr<nlohmann::json> value = ParseCanonicalJson(text, kStatementBytesMax);
  assert(value.ok() && value->is_object() && "an embedded member is canonical JSON of an object");
  object_[name] = *std::move(value);
}

const nlohmann::json* FieldReader::Member(const char* name) {
  known_.push_back(name);
  if (!status_.ok()) return nullptr;
  const auto member = object_.find(name);
  if (member != object_.end()) return &*member;
  Refuse(name, "is missing");
  return nullptr;
}

void FieldReader::Refuse(std::string_view name, std::string_view why) {
  if (!status_.ok()) return;
  std::string subject = path_ + std::string(name);
  if (subject.ends_with('.')) subject.pop_back();
  status_ = absl::InvalidArgumentError(subject + " " + std::string(why));
}

void FieldReader::Text(const char* name, std::string& value, Form form) {
  const nlohmann::json* member = Member(name);
  if (member == nullptr) return;
  if (!member->is_string()) return Refuse(name, "is not a string");
  value = member->get_ref<const std::string&>();
  const std::string_view wanted = WantedForm(form, value);
  if (!wanted.empty()) Refuse(name, "is " + Shown(value) + "; wanted " + std::string(wanted));
}

void FieldReader::Choice(const char* name, std::string& value,
                         std::initializer_list<std::string_view> choices) {
  Text(name, value, Form::kText);
  if (!status_.ok() || std::find(choices.begin(), choices.end(), value) != choices.end()) return;
  std::string wanted;
  for (const std::string_view choice : choices) wanted += (wanted.empty() ? "" : ", ") + std::string(choice);
  Refuse(name, "is " + Shown(value) + "; wanted one of " + wanted);
}

void FieldReader::Names(const char* name, std::vector<std::string>& names) {
  const nlohmann::json* member = Member(name);
  if (member == nullptr) return;
  if (!member->is_array()) return Refuse(name, "is not an array");
  for (const nlohmann::json& value : *member) {
    if (!value.is_string()) return Refuse(name, "holds something that is not a string");
    names.push_back(value.get<std::string>());
  }
}

void FieldReader::Embedded(const char* name, std::string& text) {
  const nlohmann::json* member = Member(name);
  if (member == nullptr) return;
  if (!member->is_object()) return Refuse(name, "is not an object");
  text = WriteCanonicalJson(*member);
}

absl::Status FieldReader::Finish() {
  if (!status_.ok()) return status_;
  for (const auto& [name, value] : object_.items()) {
    if (std::find(known_.begin(), known_.end(), name) == known_.end()) {
      Refuse(Shown(name), "is not a member of this statement");
      break;
    }
  }
  return status_;
}

}  // namespace retort::ledger::internal
