// Filters of listings: a subset of AIP-160, over the fields of a message (docs/formats/filter.md).
//
//   const FilterFields fields(*v1::Job::descriptor(), {"name", "state", "create_time", "labels"});
//   auto filter = Filter::Parse(request.filter(), fields);     // state = FAILED AND (labels.team = a OR
//   labels.team = b) if (!filter.ok()) return filter.status();                  // InvalidArgument,
//   FILTER_INVALID, with the position if (filter->Matches(job)) ...
//
// A filter is checked against the fields when it is parsed, so that matching cannot fail. OR binds tighter
// than AND. At most kFilterBytesMax bytes and kFilterDepthMax open parentheses and negations. Values are
// immutable and safe on any thread; nothing here is quadratic in the length of a filter or of a field.
#ifndef SERVICES_EDGE_FILTER_H_
#define SERVICES_EDGE_FILTER_H_

#include <google/protobuf/message.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::services {

inline constexpr size_t kFilterBytesMax = 2048;
inline constexpr int kFilterDepthMax = 16;

// What a listing lets filters ask about: paths of fields of one message type, through singular messages. A
// path may lead to a scalar, an enum, a Timestamp, a repeated scalar, or a map of strings, whose keys then
// follow.
class FilterFields {
 public:
  // Every path must lead to such a field: a mistake of the program, which asserts.
  FilterFields(const google::protobuf::Descriptor& type, std::vector<std::string> paths);

  const google::protobuf::Descriptor& type() const { return *type_; }
  const std::vector<std::string>& paths() const { return paths_; }

 private:
  const google::protobuf::Descriptor* type_;
  std::vector<std::string> paths_;
};

class Filter {
 public:
  // Matches everything.
  Filter() = default;

  // Parses `text`; empty matches everything. InvalidArgument with FILTER_INVALID, naming position (bytes from
  // 1), what was seen and what is wanted: too long or too deep, not of the grammar, an unknown field, an
  // operator or a value that does not fit the field's type.
  static absl::StatusOr<Filter> Parse(std::string_view text, const FilterFields& fields);

  // True when the message, of the type that the filter was parsed for, fits.
  bool Matches(const google::protobuf::Message& message) const;

  struct Node;  // of the parsed tree

 private:
  std::shared_ptr<const Node>
      root_;  // shared: filters are copied with the query that holds them and never change
};

}  // namespace retort::services

#endif  // SERVICES_EDGE_FILTER_H_
