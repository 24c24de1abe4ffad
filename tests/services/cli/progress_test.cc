#include "services/cli/progress.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

namespace retort::services {
namespace {

using retort::jobs::v1::Job;
using std::chrono::milliseconds;
using std::chrono::seconds;

const ProgressPrinter::Time kBegin{};

Job Extracting(int64_t done) {
  Job job;
  job.set_state(Job::STATE_EXTRACTING);
  job.mutable_progress()->set_samples_total(100);
  job.mutable_progress()->set_samples_done(done);
  return job;
}

TEST(DurationTest, PicksTheUnits) {
  EXPECT_EQ(Duration(0), "0:00");
  EXPECT_EQ(Duration(4.6), "0:05");
  EXPECT_EQ(Duration(754), "12:34");
  EXPECT_EQ(Duration(3723), "1:02:03");
  EXPECT_EQ(Duration(-1), "-");
  EXPECT_EQ(Duration(std::nan("")), "-");
  EXPECT_EQ(Duration(INFINITY), "-");
}

TEST(StateNameTest, DropsThePrefix) {
  EXPECT_EQ(StateName(Job::STATE_AWAITING_REVIEW), "awaiting review");
  EXPECT_EQ(StateName(static_cast<Job::State>(77)), "state 77");
}

TEST(FormatProgressTest, DrawsBarRateAndTimeLeft) {
  const ProgressView view{"extracting", 50, 100, "samples", 5, "review 2"};
  EXPECT_EQ(FormatProgress(view, true, 0),
            "extracting           [############............] 50/100 samples, 5.0/s, 0:10 left, review 2");
  EXPECT_EQ(FormatProgress(view, false, 0), "extracting 50/100 samples, 5.0/s, 0:10 left, review 2");
}

TEST(FormatProgressTest, CutsToTheWidth) {
  const ProgressView view{"extracting", 50, 100, "samples", 5, ""};
  EXPECT_EQ(FormatProgress(view, false, 12), "extracting 5");
}

TEST(FormatProgressTest, LeavesOutWhatIsUnknown) {
  EXPECT_EQ(FormatProgress({"queued", 0, 0, "", 0, ""}, true, 0), "queued");
  EXPECT_EQ(FormatProgress({"failed", 0, 0, "", 0, "the teacher timed out"}, true, 0),
            "failed: the teacher timed out");
}

TEST(FormatProgressTest, RemovesWhatMovesTheCursor) {
  EXPECT_EQ(FormatProgress({"failed", 0, 0, "", 0, "a\x1b[2Jb\nc"}, true, 0), "failed: a [2Jb c");
}

TEST(ViewOfTest, ShowsWhatTheTrainerMeasures) {
  Job job;
  job.set_state(Job::STATE_TRAINING);
  auto& progress = *job.mutable_progress();
  progress.set_training_tokens(1000);
  progress.set_training_seconds(100);
  progress.set_loss(1.25);
  EXPECT_EQ(ViewOf(job).detail, "10 tok/s, loss 1.250");
  auto& report = *progress.mutable_training_report();
  report.set_seconds(10);
  report.set_tokens_per_second(640);
  report.mutable_phases()->set_forward(3);
  report.mutable_phases()->set_backward(6);
  report.mutable_phases()->set_optimizer(0.6);
  report.mutable_phases()->set_data(0.01);
  EXPECT_EQ(ViewOf(job).detail, "640 tok/s, loss 1.250, fwd 30 %, bwd 60 %, opt 6 %");
  report.set_mfu(0.415);
  report.set_prediction_loss(2.5);
  report.set_watts(65.4);
  report.set_energy_source("declared");
  report.set_celsius(61);
  EXPECT_EQ(ViewOf(job).detail,
            "640 tok/s, loss 1.250, MTP 2.500, MFU 41.5 %, 65 W declared, 61 C, fwd 30 %, bwd 60 %, opt 6 %");
}

TEST(ViewOfTest, ShowsRefusalsAndTokenRate) {
  Job job = Extracting(40);
  job.mutable_progress()->set_teacher_tokens(4000);
  job.mutable_progress()->set_extraction_seconds(8);
  job.mutable_progress()->set_samples_review(2);
  job.mutable_progress()->set_samples_denied(3);
  job.mutable_progress()->set_samples_failed(1);
  EXPECT_EQ(ViewOf(job).detail, "500 tok/s, review 2, denied 3, failed 1");
}

TEST(ViewOfTest, NamesTheTrainingRun) {
  Job job;
  job.set_state(Job::STATE_TRAINING);
  job.mutable_progress()->set_training_run("logits");
  job.mutable_progress()->set_steps_done(3);
  job.mutable_progress()->set_steps_total(120);
  job.mutable_progress()->set_loss(4.25);
  const ProgressView view = ViewOf(job);
  EXPECT_EQ(view.stage, "training (logits)");
  EXPECT_EQ(view.done, 3);
  EXPECT_EQ(view.total, 120);
  EXPECT_EQ(view.detail, "loss 4.250");
}

TEST(ProgressPrinterTest, PlainLinesComeEveryTenSeconds) {
  std::ostringstream out;
  ProgressPrinter printer(out, /*terminal=*/false, 80);
  printer.Update(Extracting(0), kBegin);
  printer.Update(Extracting(10), kBegin + seconds(5));
  printer.Update(Extracting(20), kBegin + seconds(10));
  printer.Update(Extracting(25), kBegin + seconds(12));
  EXPECT_EQ(out.str(), "extracting 0/100 samples\nextracting 20/100 samples, 2.0/s, 0:40 left\n");
}

TEST(ProgressPrinterTest, PlainLinesShowEveryStageAndItsEnd) {
  std::ostringstream out;
  ProgressPrinter printer(out, /*terminal=*/false, 80);
  printer.Update(Extracting(0), kBegin);
  printer.Update(Extracting(100), kBegin + seconds(2));
  Job job;
  job.set_state(Job::STATE_EVALUATING);
  printer.Update(job, kBegin + seconds(3));
  EXPECT_EQ(out.str(),
            "extracting 0/100 samples\nextracting 100/100 samples, 50.0/s, 0:00 left\nevaluating\n");
}

TEST(ProgressPrinterTest, RateCountsFromWhenItBeganToLook) {
  std::ostringstream out;
  ProgressPrinter printer(out, /*terminal=*/false, 80);
  printer.Update(Extracting(50), kBegin);
  printer.Update(Extracting(60), kBegin + seconds(10));
  EXPECT_EQ(out.str(), "extracting 50/100 samples\nextracting 60/100 samples, 1.0/s, 0:40 left\n");
}

TEST(ProgressPrinterTest, TerminalRedrawsOneLine) {
  std::ostringstream out;
  ProgressPrinter printer(out, /*terminal=*/true, 40);
  printer.Update(Extracting(0), kBegin);
  printer.Update(Extracting(1), kBegin + milliseconds(100));
  printer.Finish();
  const std::string text = out.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 2);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST(ProgressPrinterTest, NoteKeepsTheLineBelow) {
  std::ostringstream out;
  ProgressPrinter printer(out, /*terminal=*/true, 60);
  printer.Update(Extracting(1), kBegin);
  printer.Note("connected again");
  const std::string text = out.str();
  const size_t note = text.find("connected again\n");
  ASSERT_NE(note, std::string::npos);
  EXPECT_NE(text.find("extracting", note), std::string::npos);
}

}  // namespace
}  // namespace retort::services
