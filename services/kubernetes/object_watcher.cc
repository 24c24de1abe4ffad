#include "services/kubernetes/object_watcher.h"

#include <algorithm>
#include <utility>

namespace retort::kubernetes {
namespace {

// The server ends a watch after this long; then the next goes on. A watch that lasts longer is dead.
constexpr int kWatchSeconds = 300;
constexpr std::chrono::seconds kWatchGrace(30);

}  // namespace

ObjectWatcher::ObjectWatcher(ApiClient& client, Kind kind, std::string path, std::string label_selector,
                             std::function<void(const Object&)> on_change)
    : client_(client),
      kind_(kind),
      path_(std::move(path)),
      selector_(std::move(label_selector)),
      on_change_(std::move(on_change)) {}

void ObjectWatcher::Forget() {
  transfer_.reset();
  synced_ = false;
  version_.clear();
  pause_.Reset();
}

void ObjectWatcher::Advance() {
  if (transfer_ != nullptr) {
    if (watching_) TakeLines();
    if (watching_ && transfer_ != nullptr && transfer_->status() == 200) trouble_ = absl::OkStatus();
    if (transfer_ != nullptr && transfer_->done()) watching_ ? EndWatch() : EndList();
  }
  if (transfer_ == nullptr && pause_.Over()) version_.empty() ? BeginList() : BeginWatch();
}

void ObjectWatcher::BeginList() {
  watching_ = false;
  auto transfer = client_.Open(path_, {{"labelSelector", selector_}}, {});
  if (!transfer.ok()) return Trouble(transfer.status());
  transfer_ = *std::move(transfer);
}

void ObjectWatcher::BeginWatch() {
  watching_ = true;
  splitter_.TakeRest();
  splitter_.TakeWasCut();
  lines_.clear();
  HttpCall call;
  call.timeout = std::chrono::seconds(kWatchSeconds) + kWatchGrace;
  call.on_data = [this](std::string_view piece) { splitter_.Add(piece, lines_); };
  auto transfer = client_.Open(path_,
                               {{"labelSelector", selector_},
                                {"watch", "1"},
                                {"resourceVersion", version_},
                                {"allowWatchBookmarks", "true"},
                                {"timeoutSeconds", std::to_string(kWatchSeconds)}},
                               std::move(call));
  if (!transfer.ok()) return Trouble(transfer.status());
  transfer_ = *std::move(transfer);
}

void ObjectWatcher::Trouble(const absl::Status& status) {
  transfer_.reset();
  trouble_ = status;
  pause_.Begin(status);
}

void ObjectWatcher::Set(Object object) {
  if (on_change_) on_change_(object);
  objects_[object.uid] = std::move(object);
}

bool ObjectWatcher::IsMine(const Object& object) const {
  return std::holds_alternative<JobState>(object.state) == (kind_ == Kind::kJobs);
}

void ObjectWatcher::EndList() {
  const auto transfer = std::move(transfer_);
  if (!transfer->outcome().ok()) return Trouble(transfer->outcome());
  if (transfer->status() != 200) {
    return Trouble(ErrorOf("list " + path_, transfer->status(), transfer->body(), transfer->retry_after()));
  }
  auto list = ParseList(transfer->body());
  if (!list.ok()) return Trouble(list.status());
  if (!std::all_of(list->items.begin(), list->items.end(), [this](const Object& o) { return IsMine(o); })) {
    return Trouble(absl::UnknownError("list " + path_ + ": objects of another kind"));
  }
  // What is not in the list has gone while nobody watched.
  std::map<std::string, Object> before = std::exchange(objects_, {});
  for (Object& object : list->items) {
    const auto known = before.find(object.uid);
    const bool same = known != before.end() && known->second.resource_version == object.resource_version;
    if (same) {
      objects_[object.uid] = std::move(object);
    } else {
      Set(std::move(object));
    }
  }
  version_ = list->resource_version;
  synced_ = true;
  trouble_ = absl::OkStatus();
  pause_.Reset();
}

void ObjectWatcher::TakeLines() {
  if (splitter_.TakeWasCut()) {
    version_.clear();  // what the line said is not known: list
    return Trouble(absl::UnknownError("a line of a watch is longer than its bound"));
  }
  for (const std::string& line : std::exchange(lines_, {})) {
    if (line.empty()) continue;
    auto event = ParseWatchLine(line);
    if (event.ok() && event->object && !IsMine(*event->object)) {
      event = absl::UnknownError("watch " + path_ + ": an object of another kind");
    }
    if (!event.ok()) {
      // Too old a version, or anything else that a watch cannot go on from.
      version_.clear();
      Trouble(event.status());
      if (absl::IsOutOfRange(event.status()))
        trouble_ = absl::OkStatus();  // only forgotten; nothing is wrong
      return;
    }
    version_ = event->resource_version;
    trouble_ = absl::OkStatus();
    pause_.Reset();
    if (event->type == WatchEvent::Type::kBookmark) continue;
    if (event->type == WatchEvent::Type::kChanged) {
      Set(*std::move(event->object));
      continue;
    }
    if (on_change_) on_change_(*event->object);
    objects_.erase(event->object->uid);
  }
}

void ObjectWatcher::EndWatch() {
  const auto transfer = std::move(transfer_);
  if (transfer->outcome().ok() && transfer->status() == 200) {  // its time was over
    trouble_ = absl::OkStatus();
    pause_.Begin(trouble_);  // a server that ends every watch at once is not asked in a tight loop
    return;
  }
  if (!transfer->outcome().ok()) return Trouble(transfer->outcome());
  const absl::Status refused =
      ErrorOf("watch " + path_, transfer->status(), transfer->body(), transfer->retry_after());
  Trouble(refused);
  if (absl::IsOutOfRange(refused)) {
    version_.clear();
    trouble_ = absl::OkStatus();
  }
}

}  // namespace retort::kubernetes
