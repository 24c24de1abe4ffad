// How a statement's members map to canonical JSON. Each statement lists its members once, in a function
// template `Fields(statement, visitor)`; a FieldWriter makes the object from it, a FieldReader takes the
// object apart and refuses whatever is missing, unknown, mistyped or out of range. Implementation only.
#ifndef LEDGER_INTERNAL_STATEMENT_FIELDS_H_
#define LEDGER_INTERNAL_STATEMENT_FIELDS_H_

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/canonical_json.h"

namespace retort::ledger::internal {

// What a text member may hold.
enum class Form {
  kText,    // any UTF-8, may be empty
  kName,    // any UTF-8 but empty
  kUuid,    // canonical lower-case UUID
  kDigest,  // 64 lower-case hex digits
  kDigestOrEmpty,
  kTime,  // 2026-01-02T03:04:05.000006Z
  kTimeOrEmpty,
  kDecimal,  // -12.5, 3e-4
  kDecimalOrEmpty,
};

// Empty when `value` has the form; otherwise what is wanted.
std::string_view WantedForm(Form form, std::string_view value);

// At most 64 bytes of `value`, quoted, for a message.
std::string Shown(std::string_view value);

class FieldWriter {
 public:
  void Text(const char* name, const std::string& value, Form) { object_[name] = value; }
  void Choice(const char* name, const std::string& value, std::initializer_list<std::string_view>) {
    object_[name] = value;
  }
  template <typename Integer>
  void Number(const char* name, const Integer& value, int64_t) {
    object_[name] = value;
  }
  template <typename Item>
  void List(const char* name, const std::vector<Item>& items) {
    nlohmann::json& array = object_[name] = nlohmann::json::array();
    for (const Item& item : items) {
      FieldWriter writer;
      Fields(item, writer);
      array.push_back(std::move(writer.object_));
    }
  }
  template <typename Item>
  void Object(const char* name, const Item& item) {
    FieldWriter writer;
    Fields(item, writer);
    object_[name] = std::move(writer.object_);
  }
  void Names(const char* name, const std::vector<std::string>& names) { object_[name] = names; }
  // `text` is canonical JSON of an object; it becomes a member, not a string.
  void Embedded(const char* name, const std::string& text);

  std::string Finish() const { return WriteCanonicalJson(object_); }

 private:
  nlohmann::json object_ = nlohmann::json::object();
};

class FieldReader {
 public:
  FieldReader(const nlohmann::json& object, std::string path) : object_(object), path_(std::move(path)) {
    if (!object_.is_object()) Refuse("", "is not an object");
  }

  void Text(const char* name, std::string& value, Form form);
  void Choice(const char* name, std::string& value, std::initializer_list<std::string_view> choices);
  template <typename Integer>
  void Number(const char* name, Integer& value, int64_t least) {
    const nlohmann::json* member = Member(name);
    if (member == nullptr) return;
    if (!member->is_number_integer()) return Refuse(name, "is not an integer");
    const auto number = member->get<int64_t>();
    if (number < least) {
      return Refuse(name, "is " + std::to_string(number) + "; wanted at least " + std::to_string(least));
    }
    value = static_cast<Integer>(number);
  }
  template <typename Item>
  void List(const char* name, std::vector<Item>& items) {
    const nlohmann::json* member = Member(name);
    if (member == nullptr) return;
    if (!member->is_array()) return Refuse(name, "is not an array");
    for (const nlohmann::json& value : *member) {
      FieldReader reader(value, path_ + name + "[" + std::to_string(items.size()) + "].");
      Item item;
      if (reader.status_.ok()) Fields(item, reader);
      if (absl::Status status = reader.Finish(); !status.ok()) {
        if (status_.ok()) status_ = std::move(status);
        return;
      }
      items.push_back(std::move(item));
    }
  }
  // One object with members of its own.
  template <typename Item>
  void Object(const char* name, Item& item) {
    const nlohmann::json* member = Member(name);
    if (member == nullptr) return;
    FieldReader reader(*member, path_ + name + ".");
    if (reader.status_.ok()) Fields(item, reader);
    if (absl::Status status = reader.Finish(); !status.ok() && status_.ok()) status_ = std::move(status);
  }
  void Names(const char* name, std::vector<std::string>& names);
  void Embedded(const char* name, std::string& text);

  // The first thing refused, or a member that no Fields function asked for.
  absl::Status Finish();

 private:
  const nlohmann::json* Member(const char* name);
  void Refuse(std::string_view name, std::string_view why);

  const nlohmann::json& object_;
  std::string path_;
  std::vector<std::string_view> known_;
  absl::Status status_;
};

// Statements never exceed an entry.
inline constexpr size_t kStatementBytesMax = 65'535;

template <typename Statement>
std::string WriteStatement(const Statement& statement) {
  FieldWriter writer;
  Fields(statement, writer);
  return writer.Finish();
}

template <typename Statement>
absl::StatusOr<Statement> ReadStatement(std::string_view json, std::string_view what,
                                        size_t bytes_max = kStatementBytesMax) {
  const absl::StatusOr<nlohmann::json> object = ParseCanonicalJson(json, bytes_max);
  if (!object.ok()) return object.status();
  FieldReader reader(*object, std::string(what) + ".");
  Statement statement;
  if (object->is_object()) Fields(statement, reader);
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return statement;
}

}  // namespace retort::ledger::internal

#endif  // LEDGER_INTERNAL_STATEMENT_FIELDS_H_
