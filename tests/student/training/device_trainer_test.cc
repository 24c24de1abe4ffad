// The trainer on a device, by the rig of tests/cuda_on_cpu: checkpoints cross devices, and a device that is
// lost costs no more than the steps since the last one.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "student/device/cuda/cuda_backend.h"
#include "student/formats/atomic_file.h"
#include "student/training/checkpoint.h"
#include "student/training/trainer.h"
#include "tests/cuda_on_cpu/rig.h"
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
  for (int i = 0; i < 32; ++i) manifest.tokenizer_sha256 += "ab";
  manifest.steps = 3;
  manifest.batch_tokens = 64;
  manifest.sequence_length = 64;
  manifest.checkpoint_every = 1;
  manifest.seed = 11;
  manifest.learning_rate = 0.003;
  manifest.cross_entropy_weight = 0.25;
  return manifest;
}

class DeviceTrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = testing::TempDir() + "device_trainer_XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    root_ = path;
  }
  void TearDown() override {
    cuda_on_cpu::FailDevice(0);
    fs::remove_all(root_);
  }

  // A trainer on a device that was opened for it, or on the CPU.
  absl::StatusOr<std::unique_ptr<Trainer>> Open(const std::string& dir, const char* device) {
    TrainerOptions options;
    options.run_dir = root_ + "/" + dir;
    options.threads = 1;
    options.log = [this](std::string_view line) { log_ += std::string(line) + "\n"; };
    if (std::string_view(device) != "cpu") {
      const bool bf16 = std::string_view(device) == "bf16";
      std::string problem;
      backends_.push_back(OpenCudaBackend(0, bf16 ? Element::kBf16 : Element::kF32, &problem));
      EXPECT_NE(backends_.back(), nullptr) << problem;
      options.backend = backends_.back().get();
    }
    return Trainer::Create(SmallRun(), TestSamples(6), options);
  }

  // Trains up to `step` and saves there; the last loss.
  static double TrainTo(Trainer& trainer, int64_t step) {
    double loss = 0;
    while (trainer.step() < step || trainer.CheckpointDue()) {
      if (trainer.CheckpointDue()) {
        const auto saved = trainer.Save();
        EXPECT_TRUE(saved.ok()) << saved.status();
        continue;
      }
      const auto done = trainer.Step();
      EXPECT_TRUE(done.ok()) << done.status();
      if (!done.ok()) return loss;
      loss = done->loss;
    }
    return loss;
  }

  ReadState StateAt(const std::string& dir, int64_t step) {
    ModelConfig config = UnitConfig();
    config.vocabulary = static_cast<int>(kTestVocabulary);
    const auto layout = ParameterLayout::Create(config);
    TrainingState training{ParameterSet(layout), ParameterSet(layout), ParameterSet(layout), 0};
    ThreadPool pool(1);
    auto read = ReadCheckpoint(CheckpointPath(root_ + "/" + dir, step), pool, training);
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() ? *read : ReadState{};
  }

  std::vector<std::unique_ptr<Backend>> backends_;
  std::string root_, log_;
};

TEST_F(DeviceTrainerTest, CheckpointsCrossDevices) {
  auto cpu = Open("cpu", "cpu");
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  const double expected = TrainTo(**cpu, 3);
  EXPECT_EQ(StateAt("cpu", 3).state.computed_on, "");

  // One step on the device, one on the CPU, one on the device in bf16.
  for (const auto& [device, step] : {std::pair{"fp32", 1}, std::pair{"cpu", 2}, std::pair{"bf16", 3}}) {
    auto trainer = Open("crossing", device);
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    EXPECT_EQ((*trainer)->step(), step - 1);
    const double loss = TrainTo(**trainer, step);
    if (step == 3) {
      EXPECT_NEAR(loss, expected, 0.02 * expected);
    }
    const std::string computed_on = StateAt("crossing", step).state.computed_on;
    const std::string wanted = std::string_view(device) == "cpu" ? "" : std::string(device) + " ";
    EXPECT_EQ(computed_on.substr(0, wanted.size()), wanted);
    EXPECT_EQ(computed_on.empty(), wanted.empty());
  }
  // The chain tells what every stretch was computed on, and what was trained on is the same.
  EXPECT_EQ(StateAt("crossing", 3).state.transcript_sha256, StateAt("cpu", 3).state.transcript_sha256);
}

TEST_F(DeviceTrainerTest, TheSameRunTwiceHasTheSameDigest) {
  std::string digests[2];
  for (int i = 0; i < 2; ++i) {
    auto trainer = Open("run" + std::to_string(i), "bf16");
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    TrainTo(**trainer, 2);
    digests[i] = StateAt("run" + std::to_string(i), 2).digest;
  }
  EXPECT_EQ(digests[0], digests[1]);
}

TEST_F(DeviceTrainerTest, ALostDeviceIsUnavailableAndTheCheckpointStays) {
  {
    auto trainer = Open("run", "fp32");
    ASSERT_TRUE(trainer.ok()) << trainer.status();
    TrainTo(**trainer, 1);
    cuda_on_cpu::FailDevice(46);  // cudaErrorDevicesUnavailable
    const auto step = (*trainer)->Step();
    EXPECT_EQ(step.status().code(), absl::StatusCode::kUnavailable) << step.status();
    EXPECT_NE(step.status().message().find("(46)"), std::string::npos) << step.status();
    EXPECT_EQ((*trainer)->step(), 1);
    EXPECT_EQ((*trainer)->Save().status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ((*trainer)->Step().status().code(), absl::StatusCode::kUnavailable);
  }
  cuda_on_cpu::FailDevice(0);
  auto again = Open("run", "fp32");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->step(), 1);
  TrainTo(**again, 2);
  EXPECT_EQ((*again)->step(), 2);
}

TEST_F(DeviceTrainerTest, TooLittleMemoryIsRefusedWithNumbers) {
  cuda_on_cpu::SetDeviceMemory(std::size_t{64} << 20);
  const auto trainer = Open("run", "fp32");
  cuda_on_cpu::SetDeviceMemory(std::size_t{4} << 30);
  EXPECT_EQ(trainer.status().code(), absl::StatusCode::kResourceExhausted) << trainer.status();
  EXPECT_NE(trainer.status().message().find("of 64 MiB are free"), std::string::npos) << trainer.status();
}

}  // namespace
}  // namespace retort::student
