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
        weights_(layout_),
        optimizer_(layout_, {}, pool_),
        path_(testing::TempDir() + "checkpoint_test_" + std::to_string(getpid()) + ".safetensors") {
    InitializeParameters(3, &weights_);
    InitializeParameters(4, &optimizer_.first_moment());
    InitializeParameters(5, &optimizer_.second_moment());
    state_ = {
        7,         28, std::string(64, 'a'), std::string(64, 'b'), std::string(64, 'c'), std::string(64, 'd'),
        "1.234567"};
  }
  ~CheckpointTest() override { std::filesystem::remove(path_); }

  std::string Write() {
    const std::string description = DescribeState(state_, weights_, optimizer_, pool_);
    EXPECT_TRUE(WriteCheckpoint(path_, description, weights_, optimizer_).ok());
    return description;
  }

  ThreadPool pool_;
  std::shared_ptr<const ParameterLayout> layout_;
  ParameterSet weights_;
  AdamW optimizer_;
  CheckpointState state_;
  std::string path_;
};

TEST_F(CheckpointTest, ReadsBackEverything) {
  const std::string description = Write();
  ParameterSet weights(layout_);
  AdamW optimizer(layout_, {}, pool_);
  const auto read = ReadCheckpoint(path_, pool_, weights, optimizer);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->description, description);
  EXPECT_EQ(read->digest, HexOf(Sha256Of(description)));
  EXPECT_EQ(read->state.step, 7);
  EXPECT_EQ(read->state.next_row, 28);
  EXPECT_EQ(read->state.loss, "1.234567");
  EXPECT_EQ(optimizer.steps_taken(), 7);
  EXPECT_TRUE(std::equal(weights.storage().begin(), weights.storage().end(), weights_.storage().begin()));
  const auto moment = optimizer.second_moment().storage();
  // Untrained tensors have no moments; InitializeParameters sets those to zero too.
  EXPECT_TRUE(std::equal(moment.begin(), moment.end(), optimizer_.second_moment().storage().begin()));
}

TEST_F(CheckpointTest, DigestCoversEveryPart) {
  const std::string base = DescribeState(state_, weights_, optimizer_, pool_);
  weights_.tensor(5)[0] += 1;
  EXPECT_NE(DescribeState(state_, weights_, optimizer_, pool_), base);
  weights_.tensor(5)[0] -= 1;
  for (size_t i = 0; i < layout_->tensors().size(); ++i) {
    if (layout_->tensors()[i].trained()) continue;
    weights_.tensor(static_cast<int>(i))[1] = 0.5f;  // a router's bias
    EXPECT_NE(DescribeState(state_, weights_, optimizer_, pool_), base);
    weights_.tensor(static_cast<int>(i))[1] = 0;
  }
  optimizer_.first_moment().tensor(2)[3] += 1;
  EXPECT_NE(DescribeState(state_, weights_, optimizer_, pool_), base);
}

TEST_F(CheckpointTest, NoticesEveryFlippedByteOfASample) {
  Write();
  std::string good;
  {
    std::ifstream in(path_, std::ios::binary);
    good.assign(std::istreambuf_iterator<char>(in), {});
  }
  ParameterSet weights(layout_);
  AdamW optimizer(layout_, {}, pool_);
  for (size_t at = 0; at < good.size(); at += good.size() / 40 + 1) {
    std::string bad = good;
    bad[at] ^= 0x10;
    std::ofstream(path_, std::ios::binary) << bad;
    EXPECT_FALSE(ReadCheckpoint(path_, pool_, weights, optimizer).ok()) << at;
  }
  for (const size_t size : {size_t{0}, size_t{7}, good.size() / 3, good.size() - 1}) {
    std::ofstream(path_, std::ios::binary) << good.substr(0, size);
    EXPECT_EQ(ReadCheckpoint(path_, pool_, weights, optimizer).status().code(),
              absl::StatusCode::kInvalidArgument)
        << size;
  }
}

TEST_F(CheckpointTest, TellsFlippedWeightsFromAnotherForm) {
  Write();
  std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(-1, std::ios::end);
  file.put('\x7e');
  file.close();
  ParameterSet weights(layout_);
  AdamW optimizer(layout_, {}, pool_);
  EXPECT_EQ(ReadCheckpoint(path_, pool_, weights, optimizer).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReadCheckpoint(path_ + ".absent", pool_, weights, optimizer).status().code(),
            absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteSafetensors(path_, {}, {{"format", "pt"}}).ok());
  EXPECT_EQ(ReadCheckpoint(path_, pool_, weights, optimizer).status().code(),
            absl::StatusCode::kInvalidArgument);
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
