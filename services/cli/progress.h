// Progress of a job for people: one line that redraws on a terminal, one plain line every ten seconds
// elsewhere.
//
// Lines show stage, done and total, rate, time left, and what was refused. The rate is what this process saw
// since the stage began (or since it started to look), so it needs no clock of the server's.
#ifndef SERVICES_CLI_PROGRESS_H_
#define SERVICES_CLI_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <ostream>
#include <string>

#include "retort/jobs/v1/jobs.pb.h"

namespace retort::services {

// What one line shows.
struct ProgressView {
  std::string stage;  // "extracting", "training (logits)", ...
  int64_t done = 0;
  int64_t total = 0;   // 0: no bar, no time left
  std::string unit;    // "samples", "steps"
  double rate = 0;     // units a second; 0 when not known yet
  std::string detail;  // tokens a second, loss, refusals
};

// Lower-case name of a state without its prefix: "extracting". Unknown values are "state <number>".
std::string StateName(retort::jobs::v1::Job::State state);

// What to show about a job; `rate` is left at 0.
ProgressView ViewOf(const retort::jobs::v1::Job& job);

// "0:05", "12:34", "1:02:03"; "-" for a negative or not finite number.
std::string Duration(double seconds);

// The line without a newline, at most `width` columns (all view texts are ASCII). With `bar`, a bar of '#'
// and '.'.
std::string FormatProgress(const ProgressView& view, bool bar, int width);

// Draws the progress of one job. Not thread-safe. `out` must outlive it.
class ProgressPrinter {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kPlainInterval{10};

  // `terminal`: redraw one line of `width` columns; otherwise print plain lines.
  ProgressPrinter(std::ostream& out, bool terminal, int width)
      : out_(out), terminal_(terminal), width_(width) {}

  // Shows the job as of `now`. Plain output prints when the stage changes, when the job ends, and every
  // kPlainInterval.
  void Update(const retort::jobs::v1::Job& job, Time now);

  // Prints a line of text of its own, above the progress line on a terminal.
  void Note(const std::string& text);

  // Ends the redrawn line. Further updates start a new one.
  void Finish();

 private:
  void Draw(const std::string& line);

  std::ostream& out_;
  const bool terminal_;
  const int width_;
  std::string stage_;
  Time stage_begin_{};
  int64_t stage_first_ = 0;  // `done` when this process first saw the stage
  Time printed_{};
  bool open_line_ = false;
  std::string last_line_;
};

// True when `fd` is a terminal that can redraw a line (TERM is set and not dumb).
bool IsTerminal(int fd);

// Columns of the terminal `fd`; 80 when unknown.
int TerminalWidth(int fd);

}  // namespace retort::services

#endif  // SERVICES_CLI_PROGRESS_H_
