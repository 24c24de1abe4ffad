#include "student/training/trainer.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "student/export/hugging_face.h"
#include "student/formats/atomic_file.h"
#include "student/training/checkpoint.h"
#include "tests/student/training/approved_samples.h"
#include "tests/student/training/byte_tokenizer.h"

namespace retort::student {
namespace {

namespace fs = std::filesystem;

TrainingManifest SmallRun() {
  TrainingManifest manifest;
  manifest.run = "logits";
  manifest.student = "test";
  manifest.shape = "unit";
  manifest.vocabulary_size = kTestVocabulary;
  manifest.tokenizer_sha256 = "";
  for (int i = 0; i < 32; ++i) manifest.tokenizer_sha256 += "ab";
  manifest.steps = 8;
  manifest.batch_tokens = 128;
  manifest.sequence_length = 64;
  manifest.checkpoint_every = 2;
  manifest.seed = 11;
  manifest.learning_rate = 0.003;
  manifest.cross_entropy_weight = 0.25;
  return manifest;
}

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = testing::TempDir() + "trainer_XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    root_ = path;
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string Dir(const std::string& name) const { return root_ + "/" + name; }

  std::unique_ptr<Trainer> Open(const TrainingManifest& manifest, const std::string& dir, int threads = 1) {
    TrainerOptions options;
    options.run_dir = Dir(dir);
    options.threads = threads;
    options.log = [this](std::string_view line) { log_ += std::string(line) + "\n"; };
    auto trainer = Trainer::Create(manifest, TestSamples(12), options);
    EXPECT_TRUE(trainer.ok()) << trainer.status();
    return trainer.ok() ? *std::move(trainer) : nullptr;
  }

  // Trains up to `step`, saving what is due, and returns the state there.
  CheckpointInfo TrainTo(Trainer& trainer, int64_t step) {
    for (;;) {
      if (trainer.CheckpointDue()) {
        EXPECT_TRUE(trainer.Save().ok());
      }
      if (trainer.step() == step) break;
      const auto done = trainer.Step();
      EXPECT_TRUE(done.ok()) << done.status();
      if (!done.ok()) break;
      loss_ = done->loss;
    }
    return *trainer.Describe();
  }

  std::string root_, log_;
  double loss_ = 0;
};

TEST_F(TrainerTest, LearnsTheTeacher) {
  TrainingManifest manifest = SmallRun();
  manifest.steps = 120;
  manifest.checkpoint_every = 120;
  const auto trainer = Open(manifest, "run");
  const auto held_out = trainer->HeldOutDocuments({[] {
    auto content = TestContent(1000, 4, 30);
    content.held_out = true;
    return ledger::ApprovedSampleTestAccess::Make(1000, content);
  }()});
  ASSERT_TRUE(held_out.ok()) << held_out.status();
  const auto before = trainer->EvaluateUntrained(*held_out);
  ASSERT_TRUE(before.ok()) << before.status();
  TrainTo(*trainer, 120);
  const auto after = trainer->Evaluate(*held_out);
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(after->tokens, 30);
  EXPECT_LT(after->kl, before->kl);
  EXPECT_LT(loss_, 3.0);  // from about log 512 = 6.2
  const auto again = trainer->EvaluateUntrained(*held_out);
  EXPECT_EQ(again->kl, before->kl);
}

TEST_F(TrainerTest, ResumesByteForByte) {
  const CheckpointInfo whole = TrainTo(*Open(SmallRun(), "whole"), 8);
  for (const int64_t stop : {2, 3, 5}) {  // at a scheduled checkpoint, and between two
    const std::string dir = "stopped" + std::to_string(stop);
    {
      const auto trainer = Open(SmallRun(), dir);
      TrainTo(*trainer, stop);
      ASSERT_TRUE(trainer->Save().ok());
    }
    const auto resumed = Open(SmallRun(), dir);
    EXPECT_EQ(resumed->step(), stop);
    const CheckpointInfo end = TrainTo(*resumed, 8);
    EXPECT_EQ(end.digest, whole.digest) << stop;
    EXPECT_EQ(end.previous_digest, whole.previous_digest);
    EXPECT_EQ(end.transcript_digest, whole.transcript_digest);
    EXPECT_EQ(*ReadWholeFile(CheckpointPath(Dir(dir), 8), 1 << 30),
              *ReadWholeFile(CheckpointPath(Dir("whole"), 8), 1 << 30));
  }
}

TrainingManifest PredictingRun() {
  TrainingManifest manifest = SmallRun();
  manifest.steps = 4;
  manifest.prediction_layers = 2;
  manifest.prediction_loss_weight = 0.3;
  return manifest;
}

TEST_F(TrainerTest, MultiTokenPredictionResumesByteForByte) {
  const auto whole = Open(PredictingRun(), "whole", 2);
  EXPECT_EQ(whole->config().prediction_layers, 2);
  ASSERT_TRUE(whole->Save().ok());
  const auto first = whole->Step();
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(first->prediction_loss);
  EXPECT_NEAR(*first->prediction_loss, std::log(kTestVocabulary), 0.5);
  EXPECT_EQ(first->expert_tokens.size(), 4u * 8);  // two layers and two modules
  const CheckpointInfo end = TrainTo(*whole, 4);
  {
    const auto trainer = Open(PredictingRun(), "stopped");
    TrainTo(*trainer, 3);
    ASSERT_TRUE(trainer->Save().ok());
  }
  EXPECT_EQ(TrainTo(*Open(PredictingRun(), "stopped"), 4).digest, end.digest);
  // Other modules or another weight are another run.
  TrainingManifest one = PredictingRun(), heavier = PredictingRun();
  one.prediction_layers = 1;
  heavier.prediction_loss_weight = 0.5;
  EXPECT_NE(TrainTo(*Open(one, "one"), 4).digest, end.digest);
  EXPECT_NE(TrainTo(*Open(heavier, "heavier"), 4).digest, end.digest);
  EXPECT_FALSE([&] {
    const auto plain = Open(SmallRun(), "plain");
    EXPECT_TRUE(plain->Save().ok());
    return plain->Step()->prediction_loss.has_value();
  }());
}

TEST_F(TrainerTest, MultiTokenPredictionIsExportedAndVerified) {
  const auto tokenizer = ByteTokenizer();
  const auto trainer = Open(PredictingRun(), "run");
  const CheckpointInfo end = TrainTo(*trainer, 4);
  const std::string folder = Dir("student"), file = folder + "/mtp.safetensors";
  ASSERT_TRUE(trainer->Export(folder, *tokenizer).ok());
  const auto verified = VerifyStudent(folder, end.digest);
  EXPECT_TRUE(verified.ok()) << verified;
  const std::string bytes = *ReadWholeFile(file, 1 << 30);
  std::string flipped = bytes;
  flipped[flipped.size() - 3] ^= 4;
  std::ofstream(file, std::ios::binary) << flipped;
  const auto refused = VerifyStudent(folder, end.digest);
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(refused.message().find("mtp.safetensors"), std::string::npos) << refused;
  fs::remove(file);
  EXPECT_EQ(VerifyStudent(folder, end.digest).code(), absl::StatusCode::kNotFound);
  // A config.json that denies them does not hide that they are gone.
  std::string config = *ReadWholeFile(folder + "/config.json", 1 << 20);
  const std::string field = "\"num_nextn_predict_layers\": ";
  config.replace(config.find(field) + field.size(), 1, "0");
  std::ofstream(folder + "/config.json") << config;
  EXPECT_EQ(VerifyStudent(folder, end.digest).code(), absl::StatusCode::kDataLoss);
}

TEST_F(TrainerTest, IsTheSameForAnyNumberOfThreads) {
  const CheckpointInfo one = TrainTo(*Open(SmallRun(), "one", 1), 8);
  const CheckpointInfo two = TrainTo(*Open(SmallRun(), "two", 2), 8);
  const CheckpointInfo three = TrainTo(*Open(SmallRun(), "three", 3), 8);
  EXPECT_EQ(one.digest, two.digest);
  EXPECT_EQ(one.digest, three.digest);
  EXPECT_EQ(one.loss, two.loss);
}

TEST_F(TrainerTest, DigestFollowsSeedDataAndManifest) {
  const CheckpointInfo base = TrainTo(*Open(SmallRun(), "base"), 2);
  TrainingManifest seed = SmallRun();
  seed.seed = 12;
  EXPECT_NE(TrainTo(*Open(seed, "seed"), 2).digest, base.digest);
  TrainingManifest rate = SmallRun();
  rate.learning_rate = 0.004;
  EXPECT_NE(TrainTo(*Open(rate, "rate"), 2).digest, base.digest);
  EXPECT_NE(TrainTo(*Open(rate, "rate2"), 2).transcript_digest, base.transcript_digest);
}

TEST_F(TrainerTest, KeepsTwoCheckpointsAndWantsThoseDue) {
  const auto trainer = Open(SmallRun(), "run");
  EXPECT_TRUE(trainer->CheckpointDue());
  EXPECT_EQ(trainer->Step().status().code(), absl::StatusCode::kFailedPrecondition);
  TrainTo(*trainer, 8);
  EXPECT_EQ(ListCheckpoints(Dir("run")),
            (std::vector<std::string>{CheckpointPath(Dir("run"), 8), CheckpointPath(Dir("run"), 6)}));
  EXPECT_EQ(trainer->Step().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TrainerTest, FallsBackFromADamagedCheckpoint) {
  const CheckpointInfo whole = TrainTo(*Open(SmallRun(), "whole"), 8);
  TrainTo(*Open(SmallRun(), "run"), 4);
  const std::string newest = CheckpointPath(Dir("run"), 4);
  for (const bool truncate : {false, true}) {
    auto bytes = *ReadWholeFile(newest, 1 << 30);
    if (truncate) {
      bytes.resize(bytes.size() / 2);
    } else {
      bytes[bytes.size() - 5] ^= 1;
    }
    std::ofstream(newest, std::ios::binary) << bytes;
    log_.clear();
    const auto trainer = Open(SmallRun(), "run");
    EXPECT_EQ(trainer->step(), 2);
    EXPECT_NE(log_.find("checkpoint-000000004"), std::string::npos) << log_;
    EXPECT_EQ(TrainTo(*trainer, 4).step, 4);
  }
  EXPECT_EQ(TrainTo(*Open(SmallRun(), "run"), 8).digest, whole.digest);
}

TEST_F(TrainerTest, SaysWhenNoCheckpointIsGood) {
  TrainTo(*Open(SmallRun(), "run"), 4);
  for (const auto& path : ListCheckpoints(Dir("run"))) std::ofstream(path, std::ios::binary) << "nothing";
  TrainerOptions options;
  options.run_dir = Dir("run");
  options.threads = 1;
  EXPECT_EQ(Trainer::Create(SmallRun(), TestSamples(12), options).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(TrainerTest, RefusesAnotherRunsFolder) {
  TrainTo(*Open(SmallRun(), "run"), 2);
  TrainerOptions options;
  options.run_dir = Dir("run");
  options.threads = 1;
  TrainingManifest other = SmallRun();
  other.seed = 99;
  const auto manifest = Trainer::Create(other, TestSamples(12), options);
  EXPECT_EQ(manifest.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(std::string(manifest.status().message()).find(other.Digest()), std::string::npos);
  const auto samples = Trainer::Create(SmallRun(), TestSamples(11), options);
  EXPECT_EQ(samples.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TrainerTest, RefusesWhatItCannotTrainOn) {
  TrainerOptions options;
  options.run_dir = Dir("run");
  options.threads = 1;
  EXPECT_EQ(Trainer::Create(SmallRun(), {}, options).status().code(), absl::StatusCode::kFailedPrecondition);
  auto content = TestContent(1, 4, 4);
  content.held_out = true;
  EXPECT_EQ(Trainer::Create(SmallRun(), {ledger::ApprovedSampleTestAccess::Make(1, content)}, options)
                .status()
                .code(),
            absl::StatusCode::kFailedPrecondition);
  TrainingManifest invalid = SmallRun();
  invalid.steps = 0;
  EXPECT_EQ(Trainer::Create(invalid, TestSamples(2), options).status().code(),
            absl::StatusCode::kInvalidArgument);
  options.threads = -1;
  EXPECT_EQ(Trainer::Create(SmallRun(), TestSamples(2), options).status().code(),
            absl::StatusCode::kInvalidArgument);
  options.threads = 1;
  options.run_dir = "/proc/none/run";
  EXPECT_EQ(Trainer::Create(SmallRun(), TestSamples(2), options).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(TrainerTest, HoldsItsFolderAlone) {
  const auto first = Open(SmallRun(), "run");
  TrainerOptions options;
  options.run_dir = Dir("run");
  options.threads = 1;
  const auto second = Trainer::Create(SmallRun(), TestSamples(12), options);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(std::string(second.status().message()).find("another trainer"), std::string::npos);
}

TEST_F(TrainerTest, SplitsLongSamplesAndSaysSo) {
  TrainerOptions options;
  options.run_dir = Dir("run");
  options.threads = 1;
  std::string log;
  options.log = [&](std::string_view line) { log += line; };
  const auto trainer = Trainer::Create(SmallRun(), {TestSample(1, 10, 100), TestSample(2, 10, 20)}, options);
  ASSERT_TRUE(trainer.ok()) << trainer.status();
  EXPECT_EQ((*trainer)->split_documents(), 1);
  EXPECT_NE(log.find("1 of 2 samples are longer than 64"), std::string::npos) << log;
}

// A child is killed at many moments while it writes checkpoint after checkpoint; every time what is left is
// loadable and finishes as an undisturbed run does.
TEST_F(TrainerTest, SurvivesSigkillWhileSaving) {
  const CheckpointInfo whole = TrainTo(*Open(SmallRun(), "whole"), 8);
  for (int round = 0; round < 8; ++round) {
    const std::string dir = "killed" + std::to_string(round);
    TrainTo(*Open(SmallRun(), dir), 3);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto trainer = Open(SmallRun(), dir);
      if (trainer == nullptr) _exit(1);
      for (;;) {
        if (!trainer->Save().ok()) _exit(1);
      }
    }
    usleep(static_cast<useconds_t>(20'000 + 3'000 * round));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
    const auto trainer = Open(SmallRun(), dir);
    ASSERT_NE(trainer, nullptr);
    EXPECT_EQ(TrainTo(*trainer, 8).digest, whole.digest);
    for (const auto& entry : fs::directory_iterator(Dir(dir)))
      EXPECT_NE(entry.path().extension(), ".partial");
  }
}

TEST_F(TrainerTest, ExportsWhatTheDigestNames) {
  const auto tokenizer = ByteTokenizer();
  const auto trainer = Open(SmallRun(), "run");
  const CheckpointInfo end = TrainTo(*trainer, 4);
  ASSERT_TRUE(trainer->Export(Dir("student"), *tokenizer).ok());
  const auto verified = VerifyStudent(Dir("student"), end.digest);
  EXPECT_TRUE(verified.ok()) << verified;
  EXPECT_EQ(VerifyStudent(Dir("student"), std::string(64, '0')).code(), absl::StatusCode::kDataLoss);
  // One flipped bit in the weights is noticed, and named.
  const std::string weights = Dir("student") + "/model.safetensors";
  auto bytes = *ReadWholeFile(weights, 1 << 30);
  bytes[bytes.size() - 3] ^= 4;
  std::ofstream(weights, std::ios::binary) << bytes;
  EXPECT_EQ(VerifyStudent(Dir("student"), end.digest).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace retort::student
