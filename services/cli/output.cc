#include "services/cli/output.h"

#include <algorithm>
#include <cassert>
#include <cstdio>

#include "google/protobuf/util/json_util.h"

namespace retort::services {

Table::Table(std::vector<std::string> header, std::vector<size_t> right) : right_(std::move(right)) {
  rows_.push_back(std::move(header));
}

void Table::Add(std::vector<std::string> row) {
  assert(row.size() == rows_.front().size());
  for (std::string& cell : row) {
    cell = Printable(std::move(cell));
    std::replace(cell.begin(), cell.end(), '\n', ' ');
  }
  rows_.push_back(std::move(row));
}

void Table::Print(std::ostream& out) const {
  std::vector<size_t> width(rows_.front().size(), 0);
  for (const auto& row : rows_) {
    for (size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
  }
  for (const auto& row : rows_) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string pad(width[c] - row[c].size(), ' ');
      const bool right = std::find(right_.begin(), right_.end(), c) != right_.end();
      if (c > 0) line += "  ";
      line += right ? pad + row[c] : row[c] + pad;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  }
}

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  std::string json;
  // Fails only on a malformed Any, Timestamp or Duration, which then is worth seeing as such.
  if (auto s = google::protobuf::util::MessageToJsonString(message, &json, options); !s.ok()) {
    return "{\"error\":\"this message has no JSON form\"}\n";
  }
  return json;
}

std::string JsonItems(const std::vector<std::string>& items) {
  std::string json = "{\"items\":[";
  for (size_t i = 0; i < items.size(); ++i) json += (i == 0 ? "\n" : ",\n") + items[i];
  return json + "]}\n";
}

std::string Printable(std::string text) {
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f) c = '?';
  }
  return text;
}

std::string Hex(const std::string& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (unsigned char byte : bytes) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

std::string Decimal(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace retort::services
