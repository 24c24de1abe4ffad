// The one loader of everything a person writes: YAML of a protobuf message, with nothing let through.
//
//   jobs::v1::JobSpec spec;
//   if (auto s = LoadYamlFile("job.yaml", &spec); !s.ok()) return s;
//   // InvalidArgument "job.yaml:7:3: purpose.distribted: saw an unknown key, wanted a field of StudentFacts
//   (did you mean
//   // distributed?)"
//
// How YAML becomes a message: a mapping is a message or a map field, a sequence a repeated field, a scalar a
// value. Keys are field names as the .proto spells them. A bool is `true` or `false`; an integer is decimal
// digits with an optional minus; a float also takes an exponent and must be finite; bytes are standard base64
// with padding; an enum value is its name with or without the enum's prefix in any case
// (`CHANNEL_OPEN_WEIGHTS`, `open_weights`), and never the zero value UNSPECIFIED; google.protobuf.Timestamp
// is RFC 3339 in UTC ("2026-01-02T03:04:05Z", up to nine fractional digits) or a date ("2026-01-02", midnight
// UTC); google.protobuf.Duration is seconds with `s` ("5s", "0.25s"). Strings are UTF-8; a plain scalar is
// taken as it stands, so `version: 1.10` stays "1.10". An empty value or `~` is refused: leave the key out.
//
// Refused, always with the place: unknown and duplicate keys, wrong types, integers out of range, two members
// of one oneof, anchors, aliases, tags, several documents, nesting deeper than 32, and inputs above the size
// limit. Whether a required field is there is for the caller's own validation to say: the loader cannot know.
//
// Functions are pure and safe to call from any thread.
#ifndef PROTO_STRICT_YAML_H_
#define PROTO_STRICT_YAML_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace retort {

inline constexpr size_t kYamlSizeMax = size_t{1} << 20;  // 1 MiB; a job with 10,000 prompts may ask for more
inline constexpr int kYamlDepthMax = 32;

// Replaces `*out` by what `yaml` says. An empty document is an empty message. On an error `*out` is
// unspecified. `file_name` is only used in messages. InvalidArgument: "file:line:column: key.path: saw X,
// wanted Y (did you mean Z?)"; lines and columns count from 1; the value seen is cut at 64 bytes. Everything
// that is wrong with the text has this code.
absl::Status LoadYaml(std::string_view yaml, const std::string& file_name, google::protobuf::Message* out,
                      size_t size_max = kYamlSizeMax);

// Same for a file. NotFound: no such file; Unavailable: it cannot be read; InvalidArgument: as above, too
// large included.
absl::Status LoadYamlFile(const std::string& path, google::protobuf::Message* out,
                          size_t size_max = kYamlSizeMax);

}  // namespace retort

#endif  // PROTO_STRICT_YAML_H_
