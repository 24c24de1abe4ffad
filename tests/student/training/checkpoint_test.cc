#include "student/training/checkpoint.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "student/formats/safetensors.h"
#include "student/formats/sha256.h"

namespace retort::student {
namespace {

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest()
      : pool_(2),
        layout_(ParameterLayout::Create(UnitConfig())),
        training_{ParameterSet(layout_), ParameterSet(layout_), ParameterSet(layout_), 7},
        path_(testing::TempDir() + "checkpoint_test_" + std::to_string(getpid()) + ".safetensors") {
    InitializeParameters(3, &training_.weights);
    InitializeParameters(4, &training_.first_moment);
    InitializeParameters(5, &training_.second_moment);
    state_ = {
        7,         28, std::string(64, 'a'), std::string(64, 'b'), std::string(64, 'c'), std::string(64, 'd'),
        "1.234567"};
  }
  ~CheckpointTest() override { std::filesystem::remove(path_); }

  TrainingState Fresh() const {
    return {ParameterSet(layout_), ParameterSet(layout_), ParameterSet(layout_), 0};
  }

  std::string Write() {
    const std::string description = DescribeState(state_, training_, pool_);
    EXPECT_TRUE(WriteCheckpoint(path_, description, training_).ok());
    return description;
  }

  ThreadPool pool_;
  std::shared_ptr<const ParameterLayout> layout_;
  TrainingState training_;
  CheckpointState state_;
  std::string path_;
};

TEST_F(CheckpointTest, ReadsBackEverything) {
  const std::string description = Write();
  TrainingState training = Fresh();
  const auto read = ReadCheckpoint(path_, pool_, training);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->description, description);
  EXPECT_EQ(read->digest, HexOf(Sha256Of(description)));
  EXPECT_EQ(read->state.step, 7);
  EXPECT_EQ(read->state.next_row, 28);
  EXPECT_EQ(read->state.loss, "1.234567");
  EXPECT_EQ(training.steps_taken, 7);
  EXPECT_TRUE(std::equal(training.weights.storage().begin(), training.weights.storage().end(),
                         training_.weights.storage().begin()));
  const auto moment = training.second_moment.storage();
  // Untrained tensors have no moments; InitializeParameters sets those to zero too.
  EXPECT_TRUE(std::equal(moment.begin(), moment.end(), training_.second_moment.storage().begin()));
}

TEST_F(CheckpointTest, TheDeviceIsNamedWhenItIsNotTheCpu) {
  const std::string on_cpu = DescribeState(state_, training_, pool_);
  EXPECT_EQ(on_cpu.find("computed_on"), std::string::npos);  // as states were before there were devices
  state_.computed_on = "bf16 Some Device";
  EXPECT_NE(Write(), on_cpu);
  TrainingState training = Fresh();
  const auto read = ReadCheckpoint(path_, pool_, training);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->state.computed_on, "bf16 Some Device");
  state_.computed_on = std::string(200, 'x');
  Write();
  EXPECT_EQ(ReadCheckpoint(path_, pool_, training).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CheckpointTest, DigestCoversEveryPart) {
  const std::string base = DescribeState(state_, training_, pool_);
  training_.weights.tensor(5)[0] += 1;
  EXPECT_NE(DescribeState(state_, training_, pool_), base);
  training_.weights.tensor(5)[0] -= 1;
  for (size_t i = 0; i < layout_->tensors().size(); ++i) {
    if (layout_->tensors()[i].trained()) continue;
    training_.weights.tensor(static_cast<int>(i))[1] = 0.5f;  // a router's bias
    EXPECT_NE(DescribeState(state_, training_, pool_), base);
    training_.weights.tensor(static_cast<int>(i))[1] = 0;
  }
  training_.first_moment.tensor(2)[3] += 1;
  EXPECT_NE(DescribeState(state_, training_, pool_), base);
}

TEST_F(CheckpointTest, NoticesEveryFlippedByteOfASample) {
  Write();
  std::string good;
  {
    std::ifstream in(path_, std::ios::binary);
    good.assign(std::istreambuf_iterator<char>(in), {});
  }
  TrainingState training = Fresh();
  for (size_t at = 0; at < good.size(); at += good.size() / 40 + 1) {
    std::string bad = good;
    bad[at] ^= 0x10;
    std::ofstream(path_, std::ios::binary) << bad;
    EXPECT_FALSE(ReadCheckpoint(path_, pool_, training).ok()) << at;
  }
  for (const size_t size : {size_t{0}, size_t{7}, good.size() / 3, good.size() - 1}) {
    std::ofstream(path_, std::ios::binary) << good.substr(0, size);
    EXPECT_EQ(ReadCheckpoint(path_, pool_, training).status().code(), absl::StatusCode::kInvalidArgument)
        << size;
  }
}

TEST_F(CheckpointTest, TellsFlippedWeightsFromAnotherForm) {
  Write();
  std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(-1, std::ios::end);
  file.put('\x7e');
  file.close();
  TrainingState training = Fresh();
  EXPECT_EQ(ReadCheckpoint(path_, pool_, training).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReadCheckpoint(path_ + ".absent", pool_, training).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteSafetensors(path_, {}, {{"format", "pt"}}).ok());
  EXPECT_EQ(ReadCheckpoint(path_, pool_, training).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ListCheckpointsTest, ListsNewestFirstAndNothingElse) {
  const std::string folder = testing::TempDir() + "list_checkpoints_" + std::to_string(getpid());
  std::filesystem::create_directory(folder);
  for (const char* name :
       {"checkpoint-000000002.safetensors", "checkpoint-000000010.safetensors", "checkpoint-2.safetensors",
        "checkpoint-000000011.safetensors.partial", "manifest.json"}) {
    std::ofstream(folder + "/" + name) << "x";
  }
  EXPECT_EQ(ListCheckpoints(folder),
            (std::vector<std::string>{CheckpointPath(folder, 10), CheckpointPath(folder, 2)}));
  std::filesystem::remove_all(folder);
  EXPECT_TRUE(ListCheckpoints(folder).empty());
}

}  // namespace
}  // namespace retort::student
