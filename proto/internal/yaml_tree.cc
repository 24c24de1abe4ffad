#include "proto/internal/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <exception>
#include <set>
#include <sstream>

#include "proto/utf8.h"

namespace retort::internal {
namespace {

YamlPlace PlaceOf(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return {mark.line + 1, mark.column + 1};
}

// Thrown through yaml-cpp by the handler below, and caught by ParseYamlTree: an event handler cannot stop the
// parser in any other way.
struct Refusal {
  YamlPlace place;
  std::string path, seen, wanted;
};

// Builds the tree from events. Anchors and aliases are refused when they are read, so no document can grow by
// them.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view yaml, int depth_max) : yaml_(yaml), depth_max_(depth_max) {}

  std::unique_ptr<YamlNode> Take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) throw Refusal{PlaceOf(mark), "", "a second document", "one document"};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (AwaitsKey()) throw Refusal{PlaceOf(mark), Path(), "an empty key", "a name"};
    Attach(mark, YamlNode::Kind::kNothing);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refusal{PlaceOf(mark), Path(), "an alias", "the value itself, without anchors"};
  }
  void OnAnchor(const YAML::Mark& mark, const std::string&) override {
    throw Refusal{PlaceOf(mark), Path(), "an anchor", "the value itself, without anchors"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    RefuseTag(mark, tag);
    if (AwaitsKey()) {
      TakeKey(mark, value);
      return;
    }
    YamlNode* node = Attach(mark, YamlNode::Kind::kScalar);
    node->text = value;
    node->quoted = tag == "!";
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, YamlNode::Kind::kSequence);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, YamlNode::Kind::kMapping);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  struct Level {
    YamlNode* node;
    std::set<std::string> keys;  // of a mapping, all so far
    bool has_key = false;        // a key was read and its value is next
  };

  bool AwaitsKey() const {
    return !open_.empty() && open_.back().node->kind == YamlNode::Kind::kMapping && !open_.back().has_key;
  }

  void TakeKey(const YAML::Mark& mark, const std::string& key) {
    Level& level = open_.back();
    if (!level.keys.insert(key).second) {
      throw Refusal{PlaceOf(mark), Path(), "the key " + QuoteSeen(key) + " a second time", "each key once"};
    }
    level.node->members.push_back({key, PlaceOf(mark), nullptr});
    level.has_key = true;
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YamlNode::Kind kind) {
    RefuseTag(mark, tag);
    if (AwaitsKey()) throw Refusal{PlaceOf(mark), Path(), "a key that is not a name", "a name"};
    if (static_cast<int>(open_.size()) >= depth_max_) {
      throw Refusal{PlaceOf(mark), "", "nesting deeper than " + std::to_string(depth_max_),
                    "at most " + std::to_string(depth_max_) + " levels"};
    }
    YamlNode* node = Attach(mark, kind);
    open_.push_back({node, {}, false});
  }

  YamlNode* Attach(const YAML::Mark& mark, YamlNode::Kind kind) {
    auto node = std::make_unique<YamlNode>();
    node->kind = kind;
    node->place = PlaceOf(mark);
    YamlNode* raw = node.get();
    if (open_.empty()) {
      root_ = std::move(node);
    } else if (Level& level = open_.back(); level.node->kind == YamlNode::Kind::kMapping) {
      level.node->members.back().value = std::move(node);
      level.has_key = false;
    } else {
      level.node->elements.push_back(std::move(node));
    }
    return raw;
  }

  // yaml-cpp gives "?" for a plain untagged node and "!" for a quoted one; the latter is also an explicit
  // tag, which then stands at the mark.
  void RefuseTag(const YAML::Mark& mark, const std::string& tag) const {
    const bool at_tag =
        mark.pos >= 0 && static_cast<size_t>(mark.pos) < yaml_.size() && yaml_[mark.pos] == '!';
    if (tag.empty() || tag == "?" || (tag == "!" && !at_tag)) return;
    throw Refusal{PlaceOf(mark), Path(), "the tag " + QuoteSeen(tag), "a value without a tag"};
  }

  std::string Path() const {
    std::string path;
    for (const Level& level : open_) {
      if (level.node->kind == YamlNode::Kind::kSequence) {
        path += "[" + std::to_string(level.node->elements.size()) + "]";
      } else if (level.has_key) {
        if (!path.empty()) path += ".";
        path += level.node->members.back().key.substr(0, 64);
      }
    }
    return path;
  }

  const std::string_view yaml_;
  const int depth_max_;
  int documents_ = 0;
  std::unique_ptr<YamlNode> root_;
  std::vector<Level> open_;
};

// The first directive line before the first document, or 0. Directives would only serve tags, which are
// refused.
int DirectiveLine(std::string_view yaml) {
  int line = 1;
  while (!yaml.empty()) {
    const size_t end = yaml.find('\n');
    const std::string_view text = yaml.substr(0, end);
    if (text.starts_with('%')) return line;
    if (const size_t first = text.find_first_not_of(" \t\r"); first != text.npos && text[first] != '#')
      return 0;
    if (end == yaml.npos) return 0;
    yaml.remove_prefix(end + 1);
    ++line;
  }
  return 0;
}

// The place of the first byte that is not text: a control character, or not UTF-8. False when there is none.
bool FindBadByte(std::string_view yaml, YamlPlace* place) {
  YamlPlace at;
  size_t line_start = 0;
  for (size_t i = 0; i < yaml.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(yaml[i]);
    at.column = static_cast<int>(i - line_start) + 1;
    if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f) {
      *place = at;
      return true;
    }
    if (c == '\n') {
      if (!IsUtf8(yaml.substr(line_start, i - line_start))) {
        *place = {at.line, 1};
        return true;
      }
      line_start = i + 1;
      ++at.line;
    }
  }
  *place = {at.line, 1};
  return !IsUtf8(yaml.substr(line_start));
}

}  // namespace

absl::Status YamlError(const std::string& file_name, YamlPlace place, std::string_view path,
                       std::string_view seen, std::string_view wanted) {
  std::string message =
      file_name + ":" + std::to_string(place.line) + ":" + std::to_string(place.column) + ": ";
  if (!path.empty()) message.append(path).append(": ");
  message.append("saw ").append(seen).append(", wanted ").append(wanted);
  return absl::InvalidArgumentError(message);
}

std::string QuoteSeen(std::string_view text) {
  constexpr size_t kSeenMax = 64;
  std::string quoted = "\"";
  for (const char c : text.substr(0, kSeenMax)) quoted += c < 0x20 || c == 0x7f ? '?' : c;
  return quoted + (text.size() > kSeenMax ? "…\"" : "\"");
}

absl::StatusOr<std::unique_ptr<YamlNode>> ParseYamlTree(std::string_view yaml, const std::string& file_name,
                                                        size_t size_max, int depth_max) {
  if (yaml.size() > size_max) {
    return YamlError(file_name, {}, "", std::to_string(yaml.size()) + " bytes",
                     "at most " + std::to_string(size_max) + " bytes");
  }
  YamlPlace bad;
  if (FindBadByte(yaml, &bad)) return YamlError(file_name, bad, "", "bytes that are not text", "UTF-8 text");
  if (yaml.starts_with("\xef\xbb\xbf"))
    return YamlError(file_name, {}, "", "a byte order mark", "UTF-8 without one");
  if (const int line = DirectiveLine(yaml); line > 0) {
    return YamlError(file_name, {line, 1}, "", "a directive", "a document without directives");
  }
  TreeBuilder builder(yaml, depth_max);
  try {
    std::istringstream stream{std::string(yaml)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.Take();
  } catch (const Refusal& refusal) {
    return YamlError(file_name, refusal.place, refusal.path, refusal.seen, refusal.wanted);
  } catch (const YAML::Exception& error) {
    return YamlError(file_name, PlaceOf(error.mark), "", "broken YAML (" + error.msg.substr(0, 128) + ")",
                     "well-formed YAML");
  } catch (const std::exception&) {
    return YamlError(file_name, {}, "", "text that the YAML parser gave up on", "well-formed YAML");
  }
}

}  // namespace retort::internal
