// A YAML document as a tree with the place of every node, before it is known what message it stands for. Only
// the loader (proto/strict_yaml.h) uses it.
#ifndef PROTO_INTERNAL_YAML_TREE_H_
#define PROTO_INTERNAL_YAML_TREE_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::internal {

struct YamlPlace {
  int line = 1, column = 1;  // from 1; columns count bytes
};

struct YamlNode {
  enum class Kind { kNothing, kScalar, kSequence, kMapping };
  Kind kind = Kind::kNothing;
  YamlPlace place;
  bool quoted = false;  // a scalar in quotes or a block scalar: text only, never a number or bool
  std::string text;     // of a scalar

  struct Member {
    std::string key;
    YamlPlace place;  // of the key
    std::unique_ptr<YamlNode> value;
  };
  std::vector<Member> members;                      // of a mapping, in order, keys distinct
  std::vector<std::unique_ptr<YamlNode>> elements;  // of a sequence
};

// "file:line:column: path: saw <seen>, wanted <wanted>", with an empty path left out.
absl::Status YamlError(const std::string& file_name, YamlPlace place, std::string_view path,
                       std::string_view seen, std::string_view wanted);

// `text` between quotes, unprintable bytes as '?', cut at 64 bytes.
std::string QuoteSeen(std::string_view text);

// Parses one document; null when there is none. InvalidArgument as strict_yaml.h says, for what does not
// depend on the message: syntax, size, depth, encoding, duplicate keys, anchors, aliases, tags, directives,
// several documents.
absl::StatusOr<std::unique_ptr<YamlNode>> ParseYamlTree(std::string_view yaml, const std::string& file_name,
                                                        size_t size_max, int depth_max);

}  // namespace retort::internal

#endif  // PROTO_INTERNAL_YAML_TREE_H_
