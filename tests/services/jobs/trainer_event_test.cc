#include "services/jobs/trainer_event.h"

#include <gtest/gtest.h>

namespace retort::jobs {
namespace {

constexpr char kDigest[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

TEST(ParseTrainerEventTest, ReadsEachEvent) {
  auto started =
      ParseTrainerEvent(R"({"event":"started","parameters":10,"active_parameters":4,"resumed_step":2})");
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(std::get<TrainerStarted>(*started).active_parameters, 4);
  auto step = ParseTrainerEvent(
      R"({"event":"step","step":3,"steps":9,"loss":1.5,"tokens":64,"tokens_per_second":7.5})");
  ASSERT_TRUE(step.ok()) << step.status();
  EXPECT_EQ(std::get<TrainerStep>(*step).loss, 1.5);
  auto checkpoint =
      ParseTrainerEvent(std::string(R"({"event":"checkpoint","step":3,"digest":")") + kDigest + "\"}");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(std::get<TrainerCheckpoint>(*checkpoint).digest, kDigest);
  auto quality = ParseTrainerEvent(
      R"({"event":"quality","student":"logits","kl":0.5,"agreement":0.75,"perplexity":3,"tokens":8})");
  ASSERT_TRUE(quality.ok()) << quality.status();
  EXPECT_EQ(std::get<TrainerQuality>(*quality).perplexity, 3);
  auto finished = ParseTrainerEvent(
      std::string(R"({"event":"finished","step":9,"entry":12,"student_dir":"/r","digest":")") + kDigest +
      "\"}");
  ASSERT_TRUE(finished.ok()) << finished.status();
  EXPECT_EQ(std::get<TrainerFinished>(*finished).entry, 12);
  auto error = ParseTrainerEvent(R"({"event":"error","code":"DATA_LOSS","message":"why","more":[1]})");
  ASSERT_TRUE(error.ok()) << error.status();
  EXPECT_EQ(std::get<TrainerError>(*error).code, "DATA_LOSS");
}

TEST(ParseTrainerEventTest, CutsLongMessages) {
  const auto error =
      ParseTrainerEvent(R"({"event":"error","code":"X","message":")" + std::string(2000, 'm') + "\"}");
  ASSERT_TRUE(error.ok());
  EXPECT_EQ(std::get<TrainerError>(*error).message.size(), 500u);
}

TEST(ParseTrainerEventTest, RefusesEverythingElse) {
  const std::string bad[] = {
      "",
      "step 3",
      "[]",
      "{}",
      R"({"event":3})",
      R"({"event":"news"})",
      R"({"event":"step","step":1})",
      R"({"event":"step","step":-1,"steps":9,"loss":1,"tokens":1,"tokens_per_second":1})",
      R"({"event":"step","step":1.5,"steps":9,"loss":1,"tokens":1,"tokens_per_second":1})",
      R"({"event":"step","step":1,"steps":9,"loss":"1","tokens":1,"tokens_per_second":1})",
      R"({"event":"step","step":1,"steps":9,"loss":1e999,"tokens":1,"tokens_per_second":1})",
      R"({"event":"step","step":18446744073709551615,"steps":9,"loss":1,"tokens":1,"tokens_per_second":1})",
      R"({"event":"checkpoint","step":1,"digest":"xyz"})",
      R"({"event":"quality","student":"best","kl":1,"agreement":1,"perplexity":1,"tokens":1})",
      R"({"event":"error","code":"X","message":")" + std::string(70'000, 'm') + "\"}",
      "{\"event\":\"step\",",
      std::string("\0\xff", 2),
      std::string(5000, '['),
  };
  for (const std::string& line : bad) {
    EXPECT_EQ(ParseTrainerEvent(line).status().code(), absl::StatusCode::kInvalidArgument)
        << line.substr(0, 80);
  }
}

}  // namespace
}  // namespace retort::jobs
