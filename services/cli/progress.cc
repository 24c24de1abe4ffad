#include "services/cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace retort::services {
namespace {

using retort::jobs::v1::Job;

std::string Fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

void AddDetail(std::string& detail, const std::string& text) {
  if (!detail.empty()) detail += ", ";
  detail += text;
}

std::string ExtractionDetail(const retort::jobs::v1::Progress& p) {
  std::string detail;
  if (p.extraction_seconds() > 0 && p.teacher_tokens() > 0) {
    AddDetail(detail, Fixed(static_cast<double>(p.teacher_tokens()) / p.extraction_seconds(), 0) + " tok/s");
  }
  if (p.samples_review() > 0) AddDetail(detail, "review " + std::to_string(p.samples_review()));
  if (p.samples_denied() > 0) AddDetail(detail, "denied " + std::to_string(p.samples_denied()));
  if (p.samples_failed() > 0) AddDetail(detail, "failed " + std::to_string(p.samples_failed()));
  return detail;
}

// Utilisation, power and temperature, and the share of the interval that each phase took.
void AddReport(const retort::jobs::v1::TrainingReport& report, std::string& detail) {
  if (report.has_prediction_loss()) AddDetail(detail, "MTP " + Fixed(report.prediction_loss(), 3));
  if (report.has_mfu()) AddDetail(detail, "MFU " + Fixed(100 * report.mfu(), 1) + " %");
  if (report.has_watts()) {
    AddDetail(detail,
              Fixed(report.watts(), 0) + (report.energy_source() == "declared" ? " W declared" : " W"));
  }
  if (report.has_celsius()) AddDetail(detail, Fixed(report.celsius(), 0) + " C");
  if (report.seconds() <= 0) return;
  const auto& phases = report.phases();
  for (const auto& [name, seconds] :
       std::initializer_list<std::pair<const char*, double>>{{"fwd", phases.forward()},
                                                             {"bwd", phases.backward()},
                                                             {"opt", phases.optimizer()},
                                                             {"comm", phases.communication()},
                                                             {"data", phases.data()},
                                                             {"ckpt", phases.checkpoint()}}) {
    const double percent = 100 * seconds / report.seconds();
    if (percent >= 0.5) AddDetail(detail, name + (" " + Fixed(percent, 0)) + " %");
  }
}

std::string TrainingDetail(const retort::jobs::v1::Progress& p) {
  std::string detail;
  if (p.has_training_report()) {
    AddDetail(detail, Fixed(p.training_report().tokens_per_second(), 0) + " tok/s");
  } else if (p.training_seconds() > 0 && p.training_tokens() > 0) {
    AddDetail(detail, Fixed(static_cast<double>(p.training_tokens()) / p.training_seconds(), 0) + " tok/s");
  }
  if (p.loss() > 0) AddDetail(detail, "loss " + Fixed(p.loss(), 3));
  if (p.has_training_report()) AddReport(p.training_report(), detail);
  return detail;
}

}  // namespace

std::string StateName(Job::State state) {
  std::string name = Job::State_Name(state);
  constexpr std::string_view kPrefix = "STATE_";
  if (name.compare(0, kPrefix.size(), kPrefix) != 0)
    return "state " + std::to_string(static_cast<int>(state));
  name.erase(0, kPrefix.size());
  for (char& c : name) c = c == '_' ? ' ' : static_cast<char>(c + ('a' - 'A'));
  return name;
}

ProgressView ViewOf(const Job& job) {
  const auto& p = job.progress();
  ProgressView view;
  view.stage = StateName(job.state());
  switch (job.state()) {
    case Job::STATE_EXTRACTING:
      view.done = p.samples_done();
      view.total = p.samples_total();
      view.unit = "samples";
      view.detail = ExtractionDetail(p);
      break;
    case Job::STATE_TRAINING:
      if (!p.training_run().empty()) view.stage += " (" + p.training_run() + ")";
      view.done = p.steps_done();
      view.total = p.steps_total();
      view.unit = "steps";
      view.detail = job.state_message().empty() ? TrainingDetail(p) : job.state_message();
      break;
    default:
      view.detail = job.state_message();
  }
  return view;
}

std::string Duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "-";
  const auto total = static_cast<long long>(std::llround(seconds));
  char text[64];
  if (total >= 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", total / 3600, total / 60 % 60, total % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", total / 60, total % 60);
  }
  return text;
}

std::string FormatProgress(const ProgressView& view, bool bar, int width) {
  constexpr int kBarWidth = 24;
  std::string line = view.stage;
  if (view.total > 0) {
    const double share =
        std::clamp(static_cast<double>(view.done) / static_cast<double>(view.total), 0.0, 1.0);
    if (bar) {
      line.resize(std::max<size_t>(line.size(), 20), ' ');
      const int filled = static_cast<int>(share * kBarWidth);
      line += " [" + std::string(filled, '#') + std::string(kBarWidth - filled, '.') + "]";
    }
    line += " " + std::to_string(view.done) + "/" + std::to_string(view.total) + " " + view.unit;
    if (view.rate > 0) {
      line += ", " + Fixed(view.rate, 1) + "/s, " +
              Duration(static_cast<double>(view.total - view.done) / view.rate) + " left";
    }
  }
  if (!view.detail.empty()) line += (view.total > 0 ? ", " : ": ") + view.detail;
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r' || c == '\x1b'; }, ' ');
  if (width > 0 && line.size() > static_cast<size_t>(width)) line.resize(width);
  return line;
}

void ProgressPrinter::Update(const Job& job, Time now) {
  ProgressView view = ViewOf(job);
  const bool new_stage = view.stage != stage_;
  if (new_stage) {
    Finish();
    stage_ = view.stage;
    stage_begin_ = now;
    stage_first_ = view.done;
  }
  const double elapsed = std::chrono::duration<double>(now - stage_begin_).count();
  if (elapsed > 0.5 && view.done > stage_first_)
    view.rate = static_cast<double>(view.done - stage_first_) / elapsed;

  if (terminal_) {
    Draw(FormatProgress(view, true, width_ - 1));
    return;
  }
  const bool complete = view.total > 0 && view.done == view.total;
  const std::string line = FormatProgress(view, false, 0);
  if (!new_stage && !complete && now - printed_ < kPlainInterval) return;
  if (line == last_line_) return;
  printed_ = now;
  last_line_ = line;
  out_ << line << std::endl;
}

void ProgressPrinter::Note(const std::string& text) {
  if (open_line_) out_ << "\r\x1b[K";
  open_line_ = false;
  out_ << text << std::endl;
  if (terminal_ && !last_line_.empty()) Draw(last_line_);
}

void ProgressPrinter::Finish() {
  if (open_line_) out_ << std::endl;
  open_line_ = false;
  last_line_.clear();
}

void ProgressPrinter::Draw(const std::string& line) {
  out_ << '\r' << line << "\x1b[K" << std::flush;
  open_line_ = true;
  last_line_ = line;
}

bool IsTerminal(int fd) {
  const char* term = std::getenv("TERM");
  return isatty(fd) == 1 && term != nullptr && *term != '\0' && std::string_view(term) != "dumb";
}

int TerminalWidth(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
  return 80;
}

}  // namespace retort::services
