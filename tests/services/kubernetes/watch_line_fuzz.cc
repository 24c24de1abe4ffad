// Any bytes as a line of a watch, a list, a pod and a line of a log: an object that can be used, or an error.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "services/kubernetes/log_follower.h"
#include "services/kubernetes/objects.h"

namespace {

void CheckObject(const retort::kubernetes::Object& object) {
  if (object.name.empty() || object.uid.empty() || object.resource_version.empty()) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort::kubernetes;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  LineSplitter splitter(4096);
  std::vector<std::string> lines;
  splitter.Add(bytes.substr(0, size / 2), lines);
  splitter.Add(bytes.substr(size / 2), lines);
  lines.push_back(splitter.TakeRest());
  for (const std::string& line : lines) {
    if (line.size() > 4096) abort();
    const auto event = ParseWatchLine(line);
    if (event.ok()) {
      if (event->resource_version.empty()) abort();
      if (event->object.has_value() == (event->type == WatchEvent::Type::kBookmark)) abort();
      if (event->object) CheckObject(*event->object);
    } else if (event.status().message().empty()) {
      abort();
    }
    if (const auto log = ParseLogLine(line); log && log->nanoseconds < 0) abort();
    if (const auto position = LogPosition::Parse(line)) {
      const auto again = LogPosition::Parse(position->ToString());
      if (!again || again->nanoseconds != position->nanoseconds || again->count != position->count) abort();
    }
  }
  if (const auto list = ParseList(bytes); list.ok()) {
    for (const Object& object : list->items) CheckObject(object);
  }
  if (const auto object = ParseObject(bytes); object.ok()) CheckObject(*object);
  ParseOwnPod(bytes).IgnoreError();
  ParseWorkloadWaits(bytes).IgnoreError();
  return 0;
}
