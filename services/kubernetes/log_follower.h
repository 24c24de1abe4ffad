// Follows the log of one pod from its first line to its last, each line once, over connections that drop.
//
// The kubelet puts a time before every line. A connection that drops is taken up again from the second of the
// last line, and what has been had of that second is left out by its times. A line that a connection cut is
// not passed on until it has come whole.
//
// A position ("<pod uid> <nanoseconds> <count>") says how far the lines have been worked on: the time of a
// line, and how many lines of that time there were until it. Given one from an earlier process, lines up to
// it are passed on once more and marked as replayed.
//
// For the thread of the client.
#ifndef SERVICES_KUBERNETES_LOG_FOLLOWER_H_
#define SERVICES_KUBERNETES_LOG_FOLLOWER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/kubernetes/api_client.h"
#include "services/kubernetes/objects.h"
#include "services/kubernetes/pause.h"

namespace retort::kubernetes {

// Longest line that is passed on; the rest of a longer one is dropped.
inline constexpr size_t kLogLineBytesMax = 64 << 10;

// A line of a log as the kubelet sends it with timestamps=true.
struct LogLine {
  int64_t nanoseconds = 0;  // since 1970
  std::string_view text;
};

// Nothing when the line does not begin with an RFC 3339 time and a space.
std::optional<LogLine> ParseLogLine(std::string_view line);

// How far a log has been worked on.
struct LogPosition {
  std::string pod_uid;
  int64_t nanoseconds = 0;
  int64_t count = 0;

  std::string ToString() const;
  // Nothing when the text is not of that form.
  static std::optional<LogPosition> Parse(std::string_view text);
};

class LogFollower {
 public:
  using OnLine = std::function<void(std::string_view text, const std::string& position, bool replayed)>;

  // Follows `container` of the pod at `pod_path` (/api/v1/namespaces/n/pods/p). `position` is ToString of an
  // earlier one, or anything else for none.
  LogFollower(ApiClient& client, std::string pod_path, std::string pod_uid, std::string container,
              std::string_view position, OnLine on_line);

  // Takes in what has arrived and begins what is due. To be called after each Poll. `ended`: the container
  // has ended; the log then is complete once it has been read to its end. `gone`: the pod is no more.
  void Advance(bool ended, bool gone);

  // True when no line can come any more.
  bool complete() const { return complete_; }

  // OK, or why there is no connection.
  const absl::Status& trouble() const { return trouble_; }

  const std::string& pod_uid() const { return pod_uid_; }

 private:
  void Begin(bool ended);
  void TakeLines();
  void Take(const std::string& line);
  void End(bool gone);

  ApiClient& client_;
  const std::string pod_path_, pod_uid_, container_;
  const OnLine on_line_;
  std::unique_ptr<Transfers::Transfer> transfer_;
  LineSplitter splitter_{kLogLineBytesMax + 64};  // and the time
  std::vector<std::string> lines_;
  std::optional<LogPosition> had_;        // the newest line that was passed on
  std::optional<LogPosition> worked_on_;  // of an earlier process; reset once a line beyond it has come
  LogPosition here_;                      // the newest line of this connection
  bool beyond_ = false;                   // this connection has come to lines that were not passed on yet
  bool begun_after_end_ = false, complete_ = false;
  size_t bytes_ = 0;
  absl::Status trouble_;
  Pause pause_;
};

}  // namespace retort::kubernetes

#endif  // SERVICES_KUBERNETES_LOG_FOLLOWER_H_
