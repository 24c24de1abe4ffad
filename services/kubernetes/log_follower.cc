#include "services/kubernetes/log_follower.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "services/kubernetes/api_error.h"

namespace retort::kubernetes {
namespace {

constexpr size_t kTimeBytesMax = 40;
constexpr size_t kConnectionBytesMax = 64 << 20;  // then the next connection goes on
constexpr std::chrono::hours kConnectionLife(1);  // a stream may be silent for as long as a step takes

bool NotBeyond(const LogPosition& a, const LogPosition& b) {
  return a.nanoseconds < b.nanoseconds || (a.nanoseconds == b.nanoseconds && a.count <= b.count);
}

}  // namespace

std::optional<LogLine> ParseLogLine(std::string_view line) {
  const size_t space = line.substr(0, kTimeBytesMax + 1).find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const std::string_view time = line.substr(0, space);
  absl::Time parsed;
  std::string error;
  if (time.find_first_not_of("0123456789-:.+TZ") != std::string_view::npos ||
      !absl::ParseTime(absl::RFC3339_full, std::string(time), &parsed, &error)) {
    return std::nullopt;
  }
  // Nanoseconds since 1970 fit until the year 2262.
  if (parsed < absl::UnixEpoch() || parsed > absl::FromUnixSeconds(INT64_MAX / 1'000'000'000 - 1))
    return std::nullopt;
  return LogLine{absl::ToUnixNanos(parsed), line.substr(space + 1)};
}

std::string LogPosition::ToString() const {
  return absl::StrCat(pod_uid, " ", nanoseconds, " ", count);
}

std::optional<LogPosition> LogPosition::Parse(std::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(std::string(text), ' ');
  LogPosition position;
  if (parts.size() != 3 || parts[0].empty() || !absl::SimpleAtoi(parts[1], &position.nanoseconds) ||
      !absl::SimpleAtoi(parts[2], &position.count) || position.nanoseconds < 0 || position.count < 1) {
    return std::nullopt;
  }
  position.pod_uid = parts[0];
  return position;
}

LogFollower::LogFollower(ApiClient& client, std::string pod_path, std::string pod_uid, std::string container,
                         std::string_view position, OnLine on_line)
    : client_(client),
      pod_path_(std::move(pod_path)),
      pod_uid_(std::move(pod_uid)),
      container_(std::move(container)),
      on_line_(std::move(on_line)) {
  worked_on_ = LogPosition::Parse(position);
  if (worked_on_ && worked_on_->pod_uid != pod_uid_) worked_on_.reset();  // of a pod that was replaced
}

void LogFollower::Advance(bool ended, bool gone) {
  if (complete_) return;
  if (transfer_ != nullptr) {
    TakeLines();
    if (transfer_->done() || bytes_ > kConnectionBytesMax) End(gone);
  }
  if (!complete_ && transfer_ == nullptr && pause_.Over()) {
    if (gone) {
      complete_ = true;
    } else {
      Begin(ended);
    }
  }
}

void LogFollower::Begin(bool ended) {
  begun_after_end_ = ended;
  bytes_ = 0;
  here_ = {pod_uid_, -1, 0};
  beyond_ = !had_;
  splitter_.TakeRest();
  lines_.clear();
  Query query = {{"container", container_},
                 {"follow", "true"},
                 {"timestamps", "true"},
                 {"limitBytes", absl::StrCat(kConnectionBytesMax)}};
  if (had_) {
    query.emplace_back(
        "sinceTime",
        absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixNanos(had_->nanoseconds), absl::UTCTimeZone()));
  }
  HttpCall call;
  call.timeout = kConnectionLife;
  call.on_data = [this](std::string_view piece) {
    bytes_ += piece.size();
    splitter_.Add(piece, lines_);
  };
  auto transfer = client_.Open(pod_path_ + "/log", query, std::move(call));
  if (!transfer.ok()) {
    trouble_ = transfer.status();
    pause_.Begin(trouble_);
    return;
  }
  transfer_ = *std::move(transfer);
}

void LogFollower::TakeLines() {
  for (const std::string& line : std::exchange(lines_, {})) Take(line);
}

void LogFollower::Take(const std::string& line) {
  const auto parsed = ParseLogLine(line);
  if (!parsed) return;  // a line without a time cannot be told from one that was had already
  here_.count = parsed->nanoseconds == here_.nanoseconds ? here_.count + 1 : 1;
  here_.nanoseconds = parsed->nanoseconds;
  if (!beyond_ && NotBeyond(here_, *had_)) return;
  // From here on everything is new, even when the node's clock goes back.
  beyond_ = true;
  had_ = here_;
  const bool replayed = worked_on_ && NotBeyond(here_, *worked_on_);
  if (!replayed) worked_on_.reset();
  trouble_ = absl::OkStatus();
  pause_.Reset();
  on_line_(parsed->text, here_.ToString(), replayed);
}

void LogFollower::End(bool gone) {
  const auto transfer = std::move(transfer_);
  const bool whole = transfer->done() && transfer->outcome().ok() && transfer->status() == 200;
  if (whole && begun_after_end_) {
    // The container's last line may have no newline.
    if (const std::string rest = splitter_.TakeRest(); !rest.empty()) Take(rest);
    complete_ = true;
    return;
  }
  if (transfer->done() && transfer->outcome().ok() && transfer->status() == 404 && gone) {
    complete_ = true;
    return;
  }
  trouble_ = absl::OkStatus();
  if (!transfer->done()) return;  // over its bound
  if (!transfer->outcome().ok()) {
    trouble_ = transfer->outcome();
  } else if (transfer->status() != 200) {
    trouble_ = ErrorOf("read the log of " + pod_path_, transfer->status(), transfer->body(),
                       transfer->retry_after());
  }
  pause_.Begin(trouble_);
}

}  // namespace retort::kubernetes
