#include "proto/canonical_json.h"

#include <cassert>
#include <charconv>
#include <utility>

#include "absl/status/status.h"

namespace retort {
namespace {

constexpr char kHex[] = "0123456789abcdef";

// Length of the UTF-8 sequence at the start of `text`, or 0 when there is none (RFC 3629: no overlong forms,
// no surrogates, nothing above U+10FFFF).
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) -> unsigned { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  const auto tail = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned first = byte(0);
  if (text.empty()) return 0;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (first == 0xE0 && byte(1) < 0xA0) return 0;
    if (first == 0xED && byte(1) > 0x9F) return 0;
    return tail(1) && tail(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (first == 0xF0 && byte(1) < 0x90) return 0;
    if (first == 0xF4 && byte(1) > 0x8F) return 0;
    return tail(1) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

// The one-letter escape of a control character, or 0.
char ShortEscape(char c) {
  switch (c) {
    case '\b':
      return 'b';
    case '\t':
      return 't';
    case '\n':
      return 'n';
    case '\f':
      return 'f';
    case '\r':
      return 'r';
    default:
      return 0;
  }
}

void WriteString(const std::string& value, std::string& out) {
  out += '"';
  for (size_t i = 0; i < value.size();) {
    const char c = value[i];
    const auto byte = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
      ++i;
    } else if (byte < 0x20) {
      out += '\\';
      if (const char letter = ShortEscape(c)) {
        out += letter;
      } else {
        out += "u00";
        out += kHex[byte >> 4];
        out += kHex[byte & 15];
      }
      ++i;
    } else {
      const size_t length = byte < 0x80 ? 1 : Utf8Length(std::string_view(value).substr(i));
      assert(length > 0 && "canonical JSON strings are UTF-8");
      out.append(value, i, length);
      i += length;
    }
  }
  out += '"';
}

void WriteValue(const nlohmann::json& value, std::string& out) {
  switch (value.type()) {
    case nlohmann::json::value_t::null:
      out += "null";
      return;
    case nlohmann::json::value_t::boolean:
      out += value.get<bool>() ? "true" : "false";
      return;
    case nlohmann::json::value_t::string:
      WriteString(value.get_ref<const std::string&>(), out);
      return;
    case nlohmann::json::value_t::number_unsigned:
      assert(value.get<uint64_t>() <= static_cast<uint64_t>(kCanonicalIntegerMax));
      out += std::to_string(value.get<uint64_t>());
      return;
    case nlohmann::json::value_t::number_integer: {
      const int64_t number = value.get<int64_t>();
      assert(number <= kCanonicalIntegerMax && number >= -kCanonicalIntegerMax);
      out += std::to_string(number);
      return;
    }
    case nlohmann::json::value_t::array: {
      out += '[';
      bool first = true;
      for (const nlohmann::json& item : value) {
        if (!first) out += ',';
        first = false;
        WriteValue(item, out);
      }
      out += ']';
      return;
    }
    case nlohmann::json::value_t::object: {
      out += '{';
      bool first = true;
      for (const auto& [key, item] : value.get_ref<const nlohmann::json::object_t&>()) {  // ordered by bytes
        for (const char c : key) assert(static_cast<uint8_t>(c) < 0x80 && "canonical JSON keys are ASCII");
        if (!first) out += ',';
        first = false;
        WriteString(key, out);
        out += ':';
        WriteValue(item, out);
      }
      out += '}';
      return;
    }
    default:
      assert(false && "canonical JSON has no floating point and no binary");
  }
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  absl::StatusOr<nlohmann::json> ParseDocument() {
    nlohmann::json value;
    if (absl::Status status = ParseValue(0, value); !status.ok()) return status;
    if (at_ != text_.size()) return Broken("bytes after the value");
    return value;
  }

 private:
  absl::Status Broken(std::string_view rule) const {
    return absl::InvalidArgumentError("canonical JSON, byte " + std::to_string(at_) + ": " +
                                      std::string(rule));
  }

  bool Take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool TakeWord(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  absl::Status ParseValue(int depth, nlohmann::json& out) {
    if (at_ >= text_.size()) return Broken("text ends where a value is wanted");
    switch (text_[at_]) {
      case '{':
        return ParseObject(depth + 1, out);
      case '[':
        return ParseArray(depth + 1, out);
      case '"': {
        std::string value;
        if (absl::Status status = ParseString(value); !status.ok()) return status;
        out = std::move(value);
        return absl::OkStatus();
      }
      case 't':
        out = true;
        return TakeWord("true") ? absl::OkStatus() : Broken("unknown word");
      case 'f':
        out = false;
        return TakeWord("false") ? absl::OkStatus() : Broken("unknown word");
      case 'n':
        out = nullptr;
        return TakeWord("null") ? absl::OkStatus() : Broken("unknown word");
      default:
        return ParseInteger(out);
    }
  }

  absl::Status ParseInteger(nlohmann::json& out) {
    const size_t start = at_;
    const bool negative = Take('-');
    const size_t digits = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    if (at_ == digits) return Broken("a value is wanted (white space is not allowed)");
    if (text_[digits] == '0' && (at_ - digits > 1 || negative))
      return Broken("integer with a leading zero, or minus zero");
    if (at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E')) {
      return Broken("floating point; only integers are allowed");
    }
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text_.data() + start, text_.data() + at_, number);
    if (error != std::errc() || number > kCanonicalIntegerMax || number < -kCanonicalIntegerMax) {
      return Broken("integer outside +-(2^53 - 1)");
    }
    out = number;
    return absl::OkStatus();
  }

  absl::Status ParseString(std::string& out) {
    ++at_;  // the quote
    while (true) {
      if (at_ >= text_.size()) return Broken("text ends inside a string");
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return absl::OkStatus();
      }
      if (c == '\\') {
        if (absl::Status status = ParseEscape(out); !status.ok()) return status;
      } else if (static_cast<uint8_t>(c) < 0x20) {
        return Broken("unescaped control character");
      } else if (static_cast<uint8_t>(c) < 0x80) {
        out += c;
        ++at_;
      } else {
        const size_t length = Utf8Length(text_.substr(at_));
        if (length == 0) return Broken("invalid UTF-8");
        out.append(text_, at_, length);
        at_ += length;
      }
    }
  }

  // Accepts exactly the escapes that WriteString makes.
  absl::Status ParseEscape(std::string& out) {
    const std::string_view rest = text_.substr(at_);
    const char letter = rest.size() > 1 ? rest[1] : '\0';
    if (letter == '"' || letter == '\\') {
      out += letter;
      at_ += 2;
      return absl::OkStatus();
    }
    for (const char control : {'\b', '\t', '\n', '\f', '\r'}) {
      if (letter != ShortEscape(control)) continue;
      out += control;
      at_ += 2;
      return absl::OkStatus();
    }
    if (letter != 'u' || rest.size() < 6 || rest.substr(2, 2) != "00")
      return Broken("an escape that is not canonical");
    const size_t high = std::string_view("01").find(rest[4]);
    const size_t low = std::string_view(kHex, 16).find(rest[5]);
    if (high == std::string_view::npos || low == std::string_view::npos)
      return Broken("an escape that is not canonical");
    const char control = static_cast<char>(high * 16 + low);
    if (ShortEscape(control) != 0) return Broken("an escape that is not canonical");
    out += control;
    at_ += 6;
    return absl::OkStatus();
  }

  absl::Status ParseArray(int depth, nlohmann::json& out) {
    if (depth > kCanonicalDepthMax) return Broken("nesting deeper than 32");
    ++at_;
    out = nlohmann::json::array();
    if (Take(']')) return absl::OkStatus();
    auto& items = out.get_ref<nlohmann::json::array_t&>();
    while (true) {
      items.emplace_back();
      if (absl::Status status = ParseValue(depth, items.back()); !status.ok()) return status;
      if (Take(']')) return absl::OkStatus();
      if (!Take(',')) return Broken("a comma or ] is wanted");
    }
  }

  absl::Status ParseObject(int depth, nlohmann::json& out) {
    if (depth > kCanonicalDepthMax) return Broken("nesting deeper than 32");
    ++at_;
    out = nlohmann::json::object();
    if (Take('}')) return absl::OkStatus();
    auto& members = out.get_ref<nlohmann::json::object_t&>();
    while (true) {
      if (at_ >= text_.size() || text_[at_] != '"') return Broken("a key is wanted");
      const size_t key_at = at_;
      std::string key;
      if (absl::Status status = ParseString(key); !status.ok()) return status;
      for (const char c : key) {
        if (static_cast<uint8_t>(c) >= 0x80) return Broken("a key outside ASCII");
      }
      if (!members.empty() && key <= members.rbegin()->first) {
        at_ = key_at;
        return Broken(key == members.rbegin()->first ? "duplicate key" : "keys are not in ascending order");
      }
      if (!Take(':')) return Broken("a colon is wanted");
      const auto member = members.emplace_hint(members.end(), std::move(key), nullptr);
      if (absl::Status status = ParseValue(depth, member->second); !status.ok()) return status;
      if (Take('}')) return absl::OkStatus();
      if (!Take(',')) return Broken("a comma or } is wanted");
    }
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::string WriteCanonicalJson(const nlohmann::json& value) {
  std::string out;
  WriteValue(value, out);
  return out;
}

absl::StatusOr<nlohmann::json> ParseCanonicalJson(std::string_view text, size_t size_max) {
  if (text.size() > size_max) {
    return absl::InvalidArgumentError("canonical JSON of " + std::to_string(text.size()) +
                                      " bytes; at most " + std::to_string(size_max) + " are allowed");
  }
  return Parser(text).ParseDocument();
}

}  // namespace retort
