// What commands print on standard output: tables for people, JSON for programs.
#ifndef SERVICES_CLI_OUTPUT_H_
#define SERVICES_CLI_OUTPUT_H_

#include <ostream>
#include <string>
#include <vector>

#include "google/protobuf/message.h"

namespace retort::services {

enum class OutputForm { kTable, kJson };

// Rows under a header, columns aligned by two spaces. Cells are made printable: control bytes become '?', so
// that nothing that a server sent can move the cursor. Columns named in `right` (by index) are right-aligned.
class Table {
 public:
  explicit Table(std::vector<std::string> header, std::vector<size_t> right = {});
  // `row` has as many cells as the header.
  void Add(std::vector<std::string> row);
  void Print(std::ostream& out) const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> right_;
};

// The API's proto JSON on one or more lines, with the field names of the .proto files and default values left
// out.
std::string ToJson(const google::protobuf::Message& message);

// {"items":[...]} of the JSON texts in `items`.
std::string JsonItems(const std::vector<std::string>& items);

// `text` with control bytes other than newline and tab replaced by '?', for a terminal.
std::string Printable(std::string text);

std::string Hex(const std::string& bytes);

// Decimal with `digits` after the point, without going through a locale.
std::string Decimal(double value, int digits);

}  // namespace retort::services

#endif  // SERVICES_CLI_OUTPUT_H_
