#include "services/kubernetes/objects.h"

#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "services/kubernetes/api_error.h"

namespace retort::kubernetes {
namespace {

using Json = nlohmann::json;

constexpr size_t kWordBytesMax = 256;      // names, reasons, phases
constexpr size_t kSentenceBytesMax = 500;  // messages for people
constexpr size_t kLabelsMax = 256;
constexpr char kIndexAnnotation[] = "batch.kubernetes.io/job-completion-index";

// Reads members of an object and remembers the first that is of another type than wanted. A missing member,
// or null, is the empty value of its type, as everywhere in the Kubernetes API.
class Reader {
 public:
  const Json& Member(const Json& object, const char* name, Json::value_t type) {
    static const Json kNothing;
    if (!object.is_object()) return kNothing;
    const auto member = object.find(name);
    if (member == object.end() || member->is_null()) return kNothing;
    const bool same =
        member->type() == type || (type == Json::value_t::number_integer && member->is_number_integer());
    if (!same) {
      Fail(name, type == Json::value_t::object    ? "an object"
                 : type == Json::value_t::array   ? "a list"
                 : type == Json::value_t::boolean ? "true or false"
                 : type == Json::value_t::string  ? "a string"
                                                  : "an integer");
      return kNothing;
    }
    return *member;
  }
  const Json& Child(const Json& object, const char* name) {
    return Member(object, name, Json::value_t::object);
  }
  const Json& List(const Json& object, const char* name) {
    const Json& list = Member(object, name, Json::value_t::array);
    if (list.size() <= kListItemsMax) return list;
    static const Json kEmpty;
    Fail(name, "at most 4096 items");
    return kEmpty;
  }
  std::string Text(const Json& object, const char* name, size_t bytes_max = kWordBytesMax) {
    const Json& text = Member(object, name, Json::value_t::string);
    return text.is_string() ? Readable(text.get_ref<const std::string&>(), bytes_max) : std::string();
  }
  // A text that is compared or sent back, so it must be whole.
  std::string Exact(const Json& object, const char* name) {
    const Json& text = Member(object, name, Json::value_t::string);
    if (!text.is_string()) return "";
    const auto& value = text.get_ref<const std::string&>();
    if (value.size() > kWordBytesMax || Readable(value, kWordBytesMax) != value) {
      Fail(name, "at most 256 printable bytes");
      return "";
    }
    return value;
  }
  bool Flag(const Json& object, const char* name) {
    const Json& flag = Member(object, name, Json::value_t::boolean);
    return flag.is_boolean() && flag.get<bool>();
  }
  std::optional<int> Integer(const Json& object, const char* name) {
    const Json& number = Member(object, name, Json::value_t::number_integer);
    if (!number.is_number_integer()) return std::nullopt;
    if ((number.is_number_unsigned() && number.get<uint64_t>() > INT32_MAX) ||
        (!number.is_number_unsigned() && number.get<int64_t>() < INT32_MIN)) {
      Fail(name, "a 32-bit integer");
      return std::nullopt;
    }
    return number.get<int>();
  }
  std::map<std::string, std::string> Words(const Json& object, const char* name) {
    std::map<std::string, std::string> words;
    const Json& members = Child(object, name);
    if (!members.is_object()) return words;
    for (const auto& [key, value] : members.items()) {
      if (words.size() >= kLabelsMax) break;
      if (!value.is_string()) {
        Fail(name, "strings");
        break;
      }
      words[key] = value.get_ref<const std::string&>().substr(0, 4 * kWordBytesMax);
    }
    return words;
  }
  void Fail(const char* name, const char* wanted) {
    if (problem_.empty()) problem_ = absl::StrCat(name, ": wanted ", wanted);
  }
  absl::Status status() const {
    if (problem_.empty()) return absl::OkStatus();
    return absl::UnknownError("the API server's answer: " + problem_);
  }

 private:
  std::string problem_;
};

JobState JobStateOf(const Json& json, Reader& reader) {
  JobState job;
  job.suspended = reader.Flag(reader.Child(json, "spec"), "suspend");
  for (const Json& condition : reader.List(reader.Child(json, "status"), "conditions")) {
    if (reader.Text(condition, "status") != "True") continue;
    const std::string type = reader.Text(condition, "type");
    if (type == "Complete") job.complete = true;
    if (type != "Failed") continue;
    job.failed = true;
    job.reason = reader.Text(condition, "reason");
    job.message = reader.Text(condition, "message", kSentenceBytesMax);
  }
  return job;
}

std::string Because(const std::string& reason, const std::string& message) {
  return reason + (message.empty() ? "" : ": " + message);
}

PodState PodStateOf(const Json& json, const Object& object, Reader& reader) {
  PodState pod;
  const Json& status = reader.Child(json, "status");
  pod.phase = reader.Text(status, "phase");
  if (const auto index = object.annotations.find(kIndexAnnotation);
      index != object.annotations.end() && !absl::SimpleAtoi(index->second, &pod.index)) {
    reader.Fail(kIndexAnnotation, "a number");
  }
  for (const Json& condition : reader.List(status, "conditions")) {
    if (reader.Text(condition, "type") != "PodScheduled" || reader.Text(condition, "status") != "False")
      continue;
    pod.waiting =
        Because(reader.Text(condition, "reason"), reader.Text(condition, "message", kSentenceBytesMax));
  }
  for (const Json& container : reader.List(status, "containerStatuses")) {
    const Json& state = reader.Child(container, "state");
    const Json& running = reader.Child(state, "running");
    const Json& waiting = reader.Child(state, "waiting");
    const Json& terminated = reader.Child(state, "terminated");
    if (waiting.is_object()) {
      const std::string reason = reader.Text(waiting, "reason");
      // The two that every pod goes through say nothing.
      if (reason != "ContainerCreating" && reason != "PodInitializing") {
        pod.waiting = Because(reason, reader.Text(waiting, "message", kSentenceBytesMax));
      }
    }
    if (running.is_object()) pod.started = true;
    if (!terminated.is_object()) continue;
    pod.started = true;
    pod.end.emplace();
    pod.end->exit_code = reader.Integer(terminated, "exitCode").value_or(0);
    pod.end->reason = reader.Text(terminated, "reason");
    pod.end->message = reader.Text(terminated, "message", 4 * kSentenceBytesMax);
  }
  return pod;
}

// Items of a list carry no kind of their own.
absl::StatusOr<Object> ObjectOf(const Json& json, const std::string& kind) {
  Reader reader;
  Object object;
  if (!json.is_object()) return absl::UnknownError("the API server's answer: wanted objects");
  const Json& metadata = reader.Child(json, "metadata");
  object.name = reader.Exact(metadata, "name");
  object.uid = reader.Exact(metadata, "uid");
  object.resource_version = reader.Exact(metadata, "resourceVersion");
  object.deleting = !reader.Text(metadata, "deletionTimestamp").empty();
  object.labels = reader.Words(metadata, "labels");
  object.annotations = reader.Words(metadata, "annotations");
  if (kind == "Job") {
    object.state = JobStateOf(json, reader);
  } else if (kind == "Pod") {
    object.state = PodStateOf(json, object, reader);
  } else {
    reader.Fail("kind", "Job or Pod");
  }
  if (object.name.empty() || object.uid.empty() || object.resource_version.empty()) {
    reader.Fail("metadata", "name, uid and resourceVersion");
  }
  if (auto status = reader.status(); !status.ok()) return status;
  return object;
}

absl::StatusOr<Json> ParseBody(std::string_view body) {
  Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::UnknownError("the API server's answer: wanted a JSON object");
  return json;
}

}  // namespace

std::string ContainerEnd::Describe() const {
  std::string text;
  if (exit_code > 128 && exit_code <= 128 + 64) {
    text = "signal " + std::to_string(exit_code - 128);
  } else {
    text = "exit code " + std::to_string(exit_code);
  }
  return text + (reason.empty() ? "" : " (" + reason + ")");
}

absl::StatusOr<ObjectList> ParseList(std::string_view body) {
  auto json = ParseBody(body);
  if (!json.ok()) return json.status();
  Reader reader;
  ObjectList list;
  std::string kind = reader.Text(*json, "kind");
  if (kind != "JobList" && kind != "PodList") reader.Fail("kind", "JobList or PodList");
  kind.resize(std::min<size_t>(kind.size(), 3));
  const Json& metadata = reader.Child(*json, "metadata");
  list.resource_version = reader.Exact(metadata, "resourceVersion");
  if (list.resource_version.empty()) reader.Fail("metadata.resourceVersion", "a version");
  if (!reader.Text(metadata, "continue").empty()) reader.Fail("metadata.continue", "the whole list");
  const Json& items = reader.List(*json, "items");
  if (auto status = reader.status(); !status.ok()) return status;
  for (const Json& item : items) {
    auto object = ObjectOf(item, kind);
    if (!object.ok()) return object.status();
    list.items.push_back(*std::move(object));
  }
  return list;
}

absl::StatusOr<Object> ParseObject(std::string_view body) {
  auto json = ParseBody(body);
  if (!json.ok()) return json.status();
  Reader reader;
  const std::string kind = reader.Text(*json, "kind");
  if (auto status = reader.status(); !status.ok()) return status;
  return ObjectOf(*json, kind);
}

absl::StatusOr<WatchEvent> ParseWatchLine(std::string_view line) {
  if (line.size() > kWatchLineBytesMax) return absl::UnknownError("a line of a watch: longer than its bound");
  auto json = ParseBody(line);
  if (!json.ok()) return json.status();
  Reader reader;
  const std::string type = reader.Text(*json, "type");
  const Json& object = reader.Child(*json, "object");
  if (!object.is_object()) reader.Fail("object", "an object");
  if (auto status = reader.status(); !status.ok()) return status;
  if (type == "ERROR") {
    const int code = reader.Integer(object, "code").value_or(500);
    return ErrorOf("watch", code >= 400 && code < 600 ? code : 500,
                   object.dump(-1, ' ', false, Json::error_handler_t::replace), std::nullopt);
  }
  WatchEvent event;
  if (type == "BOOKMARK") {
    event.type = WatchEvent::Type::kBookmark;
    event.resource_version = reader.Exact(reader.Child(object, "metadata"), "resourceVersion");
    if (event.resource_version.empty()) reader.Fail("metadata.resourceVersion", "a version");
    if (auto status = reader.status(); !status.ok()) return status;
    return event;
  }
  if (type != "ADDED" && type != "MODIFIED" && type != "DELETED") {
    return absl::UnknownError("a line of a watch: type: wanted ADDED, MODIFIED, DELETED, BOOKMARK or ERROR");
  }
  const std::string kind = reader.Text(object, "kind");
  if (auto status = reader.status(); !status.ok()) return status;
  auto parsed = ObjectOf(object, kind);
  if (!parsed.ok()) return parsed.status();
  event.type = type == "DELETED" ? WatchEvent::Type::kDeleted : WatchEvent::Type::kChanged;
  event.resource_version = parsed->resource_version;
  event.object = *std::move(parsed);
  return event;
}

void LineSplitter::Add(std::string_view bytes, std::vector<std::string>& lines) {
  const auto keep = [&](std::string_view piece) {
    const size_t room = line_bytes_max_ - line_.size();
    if (piece.size() > room) cut_ = true;
    line_.append(piece.substr(0, room));
  };
  for (size_t end; (end = bytes.find('\n')) != std::string_view::npos; bytes.remove_prefix(end + 1)) {
    keep(bytes.substr(0, end));
    lines.push_back(std::move(line_));
    line_.clear();
  }
  keep(bytes);
}

std::string LineSplitter::TakeRest() {
  return std::exchange(line_, std::string());
}

bool LineSplitter::TakeWasCut() {
  return std::exchange(cut_, false);
}

absl::StatusOr<std::string> ParseWorkloadWaits(std::string_view body) {
  auto json = ParseBody(body);
  if (!json.ok()) return json.status();
  Reader reader;
  std::string waits;
  for (const Json& workload : reader.List(*json, "items")) {
    for (const Json& condition : reader.List(reader.Child(workload, "status"), "conditions")) {
      const std::string type = reader.Text(condition, "type"), status = reader.Text(condition, "status");
      const bool pending = type == "QuotaReserved" && status == "False";
      const bool evicted = type == "Evicted" && status == "True";
      if (!pending && !evicted) continue;
      const std::string reason = reader.Text(condition, "reason");
      const std::string message = reader.Text(condition, "message", kSentenceBytesMax);
      absl::StrAppend(&waits, waits.empty() ? "" : "; ", pending ? "no quota is reserved" : "evicted",
                      reason.empty() ? "" : " (" + reason + ")", message.empty() ? "" : ": " + message);
    }
  }
  if (auto status = reader.status(); !status.ok()) return status;
  return Readable(waits, 2 * kSentenceBytesMax);
}

absl::StatusOr<OwnPod> ParseOwnPod(std::string_view body) {
  auto json = ParseBody(body);
  if (!json.ok()) return json.status();
  Reader reader;
  OwnPod own;
  const Json& spec = reader.Child(*json, "spec");
  std::map<std::string, std::string> claims;  // by the volume's name
  for (const Json& volume : reader.List(spec, "volumes")) {
    const std::string claim = reader.Exact(reader.Child(volume, "persistentVolumeClaim"), "claimName");
    if (!claim.empty()) claims[reader.Exact(volume, "name")] = claim;
  }
  for (const Json& container : reader.List(spec, "containers")) {
    for (const Json& mount : reader.List(container, "volumeMounts")) {
      const auto claim = claims.find(reader.Exact(mount, "name"));
      if (claim == claims.end()) continue;
      own.mounts.push_back({claim->second, reader.Exact(mount, "mountPath"), reader.Exact(mount, "subPath")});
    }
  }
  for (const Json& owner : reader.List(reader.Child(*json, "metadata"), "ownerReferences")) {
    if (!reader.Flag(owner, "controller")) continue;
    own.controller_reference = Json{
        {"apiVersion", reader.Exact(owner, "apiVersion")},
        {"kind", reader.Exact(owner, "kind")},
        {"name", reader.Exact(owner, "name")},
        {"uid", reader.Exact(
                    owner, "uid")}}.dump();
  }
  if (auto status = reader.status(); !status.ok()) return status;
  return own;
}

}  // namespace retort::kubernetes
