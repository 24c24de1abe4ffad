#include "services/edge/filter.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/timestamp.pb.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <utility>

#include "services/edge/status.h"

namespace retort::services {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::Timestamp;

namespace {

enum class Comparator { kEqual, kNotEqual, kLess, kLessOrEqual, kGreater, kGreaterOrEqual, kHas };

// How a field is compared.
enum class Kind { kString, kInteger, kNumber, kBool, kEnum, kTime, kMap };

// A value as the filter wrote it, in the form that its field is compared in.
struct Value {
  bool present = false;  // `*` after `:`
  std::string text;
  bool any_before = false, any_after = false;  // `*` at an end of the text
  int64_t integer = 0;                         // also an enum's number, a bool, microseconds of a time
  double number = 0;
};

struct Target {
  std::vector<const FieldDescriptor*> path;  // all but the last lead to singular messages
  Kind kind = Kind::kString;
  std::string map_key;  // of a map; empty: the map itself
};

absl::Status Invalid(size_t position, const std::string& seen, const std::string& wanted) {
  const std::string at = std::to_string(position + 1);
  const std::string shown = seen.substr(0, 64);
  return WithReason(
      absl::InvalidArgumentError("filter: at byte " + at + ": saw " +
                                 (shown.empty() ? "the end" : "'" + shown + "'") + ", wanted " + wanted),
      FILTER_INVALID, {{"field", "filter"}, {"position", at}, {"seen", shown}, {"wanted", wanted}});
}

std::optional<Kind> KindOf(const FieldDescriptor& field) {
  if (field.is_map()) {
    const Descriptor& entry = *field.message_type();
    const bool texts = entry.map_key()->cpp_type() == FieldDescriptor::CPPTYPE_STRING &&
                       entry.map_value()->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    return texts ? std::optional(Kind::kMap) : std::nullopt;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return field.type() == FieldDescriptor::TYPE_STRING ? std::optional(Kind::kString) : std::nullopt;
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT32:
      return Kind::kInteger;
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return Kind::kNumber;
    case FieldDescriptor::CPPTYPE_BOOL:
      return Kind::kBool;
    case FieldDescriptor::CPPTYPE_ENUM:
      return Kind::kEnum;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return field.message_type()->full_name() == "google.protobuf.Timestamp" ? std::optional(Kind::kTime)
                                                                              : std::nullopt;
    default:
      return std::nullopt;
  }
}

// The fields that `path` names in `type`; empty when it names none that can be compared.
std::vector<const FieldDescriptor*> Resolve(const Descriptor& type, std::string_view path) {
  std::vector<const FieldDescriptor*> fields;
  const Descriptor* here = &type;
  while (true) {
    const size_t dot = path.find('.');
    const FieldDescriptor* field =
        here == nullptr ? nullptr : here->FindFieldByName(std::string(path.substr(0, dot)));
    if (field == nullptr) return {};
    fields.push_back(field);
    if (dot == std::string_view::npos) break;
    path.remove_prefix(dot + 1);
    const bool singular = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !field->is_repeated();
    here = singular ? field->message_type() : nullptr;
  }
  return KindOf(*fields.back()).has_value() ? fields : std::vector<const FieldDescriptor*>();
}

std::string Listed(const std::vector<std::string>& paths) {
  std::string text;
  for (const std::string& path : paths) text += (text.empty() ? "" : ", ") + path;
  return text;
}

int64_t Microseconds(const Timestamp& time) {
  return google::protobuf::util::TimeUtil::TimestampToMicroseconds(time);
}

bool Ordered(Comparator comparator, int order) {
  switch (comparator) {
    case Comparator::kEqual:
    case Comparator::kHas:
      return order == 0;
    case Comparator::kNotEqual:
      return order != 0;
    case Comparator::kLess:
      return order < 0;
    case Comparator::kLessOrEqual:
      return order <= 0;
    case Comparator::kGreater:
      return order > 0;
    case Comparator::kGreaterOrEqual:
      return order >= 0;
  }
  return false;
}

template <typename T>
int Order(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

bool MatchesText(std::string_view text, const Value& value) {
  const std::string_view wanted = value.text;
  if (text.size() < wanted.size()) return false;
  if (value.any_before && value.any_after) return text.find(wanted) != std::string_view::npos;
  if (value.any_before) return text.substr(text.size() - wanted.size()) == wanted;
  if (value.any_after) return text.substr(0, wanted.size()) == wanted;
  return text == wanted;
}

bool CompareText(std::string_view text, Comparator comparator, const Value& value) {
  if (value.any_before || value.any_after)
    return MatchesText(text, value) == (comparator != Comparator::kNotEqual);
  return Ordered(comparator, Order(text, std::string_view(value.text)));
}

}  // namespace

struct Filter::Node {
  enum class Type { kAnd, kOr, kNot, kTest };
  Type type = Type::kTest;
  std::vector<std::unique_ptr<Node>> children;
  Target target;
  Comparator comparator = Comparator::kEqual;
  Value value;

  bool Matches(const Message& message) const;
  bool Test(const Message& message) const;
};

namespace {

bool TestScalar(const Message& holder, const FieldDescriptor& field, int index, Kind kind,
                Comparator comparator, const Value& value) {
  const Reflection& reflection = *holder.GetReflection();
  const bool one = index >= 0;
  switch (kind) {
    case Kind::kString: {
      std::string scratch;
      const std::string& text = one ? reflection.GetRepeatedStringReference(holder, &field, index, &scratch)
                                    : reflection.GetStringReference(holder, &field, &scratch);
      return CompareText(text, comparator, value);
    }
    case Kind::kInteger: {
      int64_t number = 0;
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
        number =
            one ? reflection.GetRepeatedInt32(holder, &field, index) : reflection.GetInt32(holder, &field);
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
        number =
            one ? reflection.GetRepeatedUInt32(holder, &field, index) : reflection.GetUInt32(holder, &field);
      } else {
        number =
            one ? reflection.GetRepeatedInt64(holder, &field, index) : reflection.GetInt64(holder, &field);
      }
      return Ordered(comparator, Order(number, value.integer));
    }
    case Kind::kNumber: {
      double number = 0;
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
        number =
            one ? reflection.GetRepeatedFloat(holder, &field, index) : reflection.GetFloat(holder, &field);
      } else {
        number =
            one ? reflection.GetRepeatedDouble(holder, &field, index) : reflection.GetDouble(holder, &field);
      }
      return !std::isnan(number) && Ordered(comparator, Order(number, value.number));
    }
    case Kind::kBool: {
      const bool truth =
          one ? reflection.GetRepeatedBool(holder, &field, index) : reflection.GetBool(holder, &field);
      return Ordered(comparator, Order<int64_t>(truth, value.integer));
    }
    case Kind::kEnum: {
      const int number = one ? reflection.GetRepeatedEnumValue(holder, &field, index)
                             : reflection.GetEnumValue(holder, &field);
      return Ordered(comparator, Order<int64_t>(number, value.integer));
    }
    case Kind::kTime: {
      const Message& time =
          one ? reflection.GetRepeatedMessage(holder, &field, index) : reflection.GetMessage(holder, &field);
      return Ordered(comparator, Order(Microseconds(static_cast<const Timestamp&>(time)), value.integer));
    }
    case Kind::kMap:
      break;
  }
  return false;
}

bool TestMap(const Message& holder, const FieldDescriptor& field, const std::string& key,
             Comparator comparator, const Value& value) {
  const Reflection& reflection = *holder.GetReflection();
  const Descriptor& entry = *field.message_type();
  for (int i = 0; i < reflection.FieldSize(holder, &field); ++i) {
    const Message& row = reflection.GetRepeatedMessage(holder, &field, i);
    const std::string name = row.GetReflection()->GetString(row, entry.map_key());
    if (key.empty()) {  // labels:team
      if (value.present || name == value.text) return true;
      continue;
    }
    if (name != key) continue;
    return value.present ||
           CompareText(row.GetReflection()->GetString(row, entry.map_value()), comparator, value);
  }
  return comparator == Comparator::kNotEqual;  // what is not there is not equal
}

}  // namespace

bool Filter::Node::Test(const Message& message) const {
  const Message* holder = &message;
  for (size_t i = 0; i + 1 < target.path.size(); ++i) {
    holder = &holder->GetReflection()->GetMessage(*holder, target.path[i]);
  }
  const FieldDescriptor& field = *target.path.back();
  const Reflection& reflection = *holder->GetReflection();
  if (target.kind == Kind::kMap) return TestMap(*holder, field, target.map_key, comparator, value);
  if (field.is_repeated()) {
    const int size = reflection.FieldSize(*holder, &field);
    if (value.present) return size > 0;
    for (int i = 0; i < size; ++i) {
      if (TestScalar(*holder, field, i, target.kind, comparator, value)) return true;
    }
    return false;
  }
  if (value.present) return reflection.HasField(*holder, &field);
  // A time that is not set is at no time.
  if (target.kind == Kind::kTime && !reflection.HasField(*holder, &field))
    return comparator == Comparator::kNotEqual;
  return TestScalar(*holder, field, -1, target.kind, comparator, value);
}

bool Filter::Node::Matches(const Message& message) const {
  const auto matches = [&](const std::unique_ptr<Node>& child) { return child->Matches(message); };
  switch (type) {
    case Type::kAnd:
      return std::all_of(children.begin(), children.end(), matches);
    case Type::kOr:
      return std::any_of(children.begin(), children.end(), matches);
    case Type::kNot:
      return !children.front()->Matches(message);
    case Type::kTest:
      return Test(message);
  }
  return false;
}

namespace {

using Node = Filter::Node;
using Parsed = absl::StatusOr<std::unique_ptr<Node>>;

bool IsSpace(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool IsWord(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

class Parser {
 public:
  Parser(std::string_view text, const FilterFields& fields) : text_(text), fields_(fields) {}

  Parsed Parse() {
    auto expression = Expression(0);
    if (!expression.ok()) return expression;
    if (SkipSpace(); at_ < text_.size()) return Invalid(at_, Seen(), "AND, OR or the end");
    return expression;
  }

 private:
  // expression = factor {"AND" factor}
  Parsed Expression(int depth) {
    return Chain(Node::Type::kAnd, "AND", [&] { return Factor(depth); });
  }

  // factor = term {"OR" term}
  Parsed Factor(int depth) {
    return Chain(Node::Type::kOr, "OR", [&] { return Term(depth); });
  }

  template <typename Part>
  Parsed Chain(Node::Type type, std::string_view word, const Part& part) {
    auto first = part();
    if (!first.ok() || !TakeWord(word)) return first;
    auto chain = std::make_unique<Node>();
    chain->type = type;
    chain->children.push_back(*std::move(first));
    do {
      auto next = part();
      if (!next.ok()) return next;
      chain->children.push_back(*std::move(next));
    } while (TakeWord(word));
    return chain;
  }

  // term = ["NOT" | "-"] ("(" expression ")" | test)
  Parsed Term(int depth) {
    SkipSpace();
    const size_t start = at_;
    const bool no = TakeWord("NOT") || Take('-');
    SkipSpace();
    const bool open = Take('(');
    if ((no || open) && depth == kFilterDepthMax) {
      return Invalid(start, std::string(text_.substr(start, 3)),
                     "at most " + std::to_string(kFilterDepthMax) + " open parentheses and negations");
    }
    auto inner = open ? Expression(depth + 1) : no && StartsTerm() ? Term(depth + 1) : Test();
    if (!inner.ok()) return inner;
    if (open) {
      SkipSpace();
      if (!Take(')')) return Invalid(at_, Seen(), "AND, OR or )");
    }
    if (!no) return inner;
    auto node = std::make_unique<Node>();
    node->type = Node::Type::kNot;
    node->children.push_back(*std::move(inner));
    return node;
  }

  bool StartsTerm() {
    SkipSpace();
    return at_ < text_.size() && (text_[at_] == '-' || PeekWord("NOT"));
  }

  // test = path comparator value
  Parsed Test() {
    SkipSpace();
    const size_t start = at_;
    while (at_ < text_.size() &&
           (IsWord(text_[at_]) || text_[at_] == '.' || (at_ > start && text_[at_] == '-')))
      ++at_;
    const std::string path(text_.substr(start, at_ - start));
    if (path.empty()) return Invalid(start, Seen(), "a field: " + Listed(fields_.paths()));
    auto node = std::make_unique<Node>();
    if (auto s = FindTarget(path, start, node->target); !s.ok()) return s;
    SkipSpace();
    if (auto s = TakeComparator(*node); !s.ok()) return s;
    SkipSpace();
    if (auto s = TakeValue(*node); !s.ok()) return s;
    return node;
  }

  absl::Status FindTarget(const std::string& path, size_t start, Target& target) {
    for (const std::string& known : fields_.paths()) {
      const bool exact = path == known;
      if (!exact && path.rfind(known + ".", 0) != 0) continue;
      target.path = Resolve(fields_.type(), known);
      target.kind = *KindOf(*target.path.back());
      if (exact) return absl::OkStatus();
      if (target.kind != Kind::kMap) continue;
      target.map_key = path.substr(known.size() + 1);
      if (!target.map_key.empty()) return absl::OkStatus();
    }
    return Invalid(start, path, "a field: " + Listed(fields_.paths()));
  }

  absl::Status TakeComparator(Node& node) {
    const size_t start = at_;
    static constexpr std::pair<std::string_view, Comparator> kComparators[] = {
        {"!=", Comparator::kNotEqual}, {"<=", Comparator::kLessOrEqual}, {">=", Comparator::kGreaterOrEqual},
        {"=", Comparator::kEqual},     {"<", Comparator::kLess},         {">", Comparator::kGreater},
        {":", Comparator::kHas}};
    for (const auto& [sign, comparator] : kComparators) {
      if (text_.substr(at_, sign.size()) != sign) continue;
      at_ += sign.size();
      node.comparator = comparator;
      const bool order = comparator == Comparator::kLess || comparator == Comparator::kLessOrEqual ||
                         comparator == Comparator::kGreater || comparator == Comparator::kGreaterOrEqual;
      const Kind kind = node.target.kind;
      if (order && (kind == Kind::kBool || kind == Kind::kEnum))
        return Invalid(start, std::string(sign), "=, != or : with this field");
      const bool collection =
          node.target.path.back()->is_repeated() && (kind != Kind::kMap || node.target.map_key.empty());
      if (collection && comparator != Comparator::kHas)
        return Invalid(start, std::string(sign), ": with this field, which holds several values");
      return absl::OkStatus();
    }
    return Invalid(start, Seen(), "=, !=, <, <=, >, >= or :");
  }

  absl::Status TakeValue(Node& node) {
    const size_t start = at_;
    bool quoted = false;
    std::string text;
    if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) {
      quoted = true;
      if (auto s = TakeQuoted(text); !s.ok()) return s;
    } else {
      while (at_ < text_.size() && !IsSpace(text_[at_]) && text_[at_] != '(' && text_[at_] != ')' &&
             text_[at_] != '"' && text_[at_] != '\'') {
        text += text_[at_++];
      }
      if (text.empty()) return Invalid(start, Seen(), "a value");
    }
    Value& value = node.value;
    if (!quoted && text == "*" && node.comparator == Comparator::kHas) {
      value.present = true;
      return absl::OkStatus();
    }
    return Convert(node, start, text);
  }

  absl::Status TakeQuoted(std::string& text) {
    const size_t start = at_;
    const char quote = text_[at_++];
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] == '\\') ++at_;  // the next byte stands for itself
      if (at_ < text_.size()) text += text_[at_++];
    }
    if (at_ >= text_.size()) return Invalid(start, std::string(1, quote), "a closing quotation mark");
    ++at_;
    return absl::OkStatus();
  }

  absl::Status Convert(Node& node, size_t start, const std::string& text) {
    Value& value = node.value;
    const auto number = [&](auto& out) {
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
      return error == std::errc() && end == text.data() + text.size();
    };
    switch (node.target.kind) {
      case Kind::kString:
      case Kind::kMap:
        return ConvertText(node, start, text);
      case Kind::kInteger:
        return number(value.integer) ? absl::OkStatus() : Invalid(start, text, "a whole number");
      case Kind::kNumber:
        return number(value.number) && std::isfinite(value.number) ? absl::OkStatus()
                                                                   : Invalid(start, text, "a number");
      case Kind::kBool:
        value.integer = text == "true";
        return text == "true" || text == "false" ? absl::OkStatus() : Invalid(start, text, "true or false");
      case Kind::kEnum:
        return ConvertEnum(node, start, text);
      case Kind::kTime: {
        Timestamp time;
        if (text.size() > 64 || !google::protobuf::util::TimeUtil::FromString(text, &time))
          return Invalid(start, text, "a time of RFC 3339, for example 2026-01-02T03:04:05Z");
        value.integer = Microseconds(time);
        return absl::OkStatus();
      }
    }
    return absl::OkStatus();
  }

  absl::Status ConvertText(Node& node, size_t start, const std::string& text) {
    Value& value = node.value;
    std::string_view rest = text;
    const bool wild = node.comparator == Comparator::kEqual || node.comparator == Comparator::kNotEqual;
    if (wild && !rest.empty() && rest.front() == '*') {
      value.any_before = true;
      rest.remove_prefix(1);
    }
    if (wild && !rest.empty() && rest.back() == '*') {
      value.any_after = true;
      rest.remove_suffix(1);
    }
    if (rest.find('*') != std::string_view::npos)
      return Invalid(start, text, "a * at the beginning or the end only");
    value.text = rest;
    return absl::OkStatus();
  }

  // Names with and without the prefix that their values share: STATE_FAILED and FAILED.
  absl::Status ConvertEnum(Node& node, size_t start, const std::string& text) {
    const auto& type = *node.target.path.back()->enum_type();
    std::string names;
    const std::string zero = type.value(0)->name();  // <PREFIX>_UNSPECIFIED
    const size_t prefix = zero.size() > 11 ? zero.size() - 11 : 0;
    for (int i = 0; i < type.value_count(); ++i) {
      const std::string& name = type.value(i)->name();
      const std::string short_name = name.size() > prefix ? name.substr(prefix) : name;
      if (text == name || text == short_name) {
        node.value.integer = type.value(i)->number();
        return absl::OkStatus();
      }
      if (i > 0) names += (names.empty() ? "" : ", ") + short_name;
    }
    return Invalid(start, text, names);
  }

  void SkipSpace() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }

  bool Take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool PeekWord(std::string_view word) const {
    if (text_.substr(at_, word.size()) != word) return false;
    const size_t end = at_ + word.size();
    return end == text_.size() || (!IsWord(text_[end]) && text_[end] != '.');
  }

  // AND, OR or NOT as a word of its own.
  bool TakeWord(std::string_view word) {
    SkipSpace();
    if (!PeekWord(word)) return false;
    at_ += word.size();
    return true;
  }

  // The word or sign at the current position.
  std::string Seen() const {
    size_t end = at_;
    while (end < text_.size() && IsWord(text_[end])) ++end;
    return std::string(text_.substr(at_, std::max<size_t>(end - at_, 1)));
  }

  const std::string_view text_;
  const FilterFields& fields_;
  size_t at_ = 0;
};

}  // namespace

FilterFields::FilterFields(const Descriptor& type, std::vector<std::string> paths)
    : type_(&type), paths_(std::move(paths)) {
  for (const std::string& path : paths_)
    assert(!Resolve(type, path).empty() && "a path that cannot be compared");
}

absl::StatusOr<Filter> Filter::Parse(std::string_view text, const FilterFields& fields) {
  if (text.size() > kFilterBytesMax) {
    return Invalid(kFilterBytesMax, std::to_string(text.size()) + " bytes",
                   "at most " + std::to_string(kFilterBytesMax) + " bytes");
  }
  Filter filter;
  if (std::all_of(text.begin(), text.end(), IsSpace)) return filter;
  auto root = Parser(text, fields).Parse();
  if (!root.ok()) return root.status();
  filter.root_ = *std::move(root);
  return filter;
}

bool Filter::Matches(const Message& message) const {
  return root_ == nullptr || root_->Matches(message);
}

}  // namespace retort::services
