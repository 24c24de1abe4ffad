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

// A report with one member replaced or, when `value` is empty, left out.
std::string ReportLine(const std::string& name = "", const std::string& value = "") {
  std::string line = "{";
  for (const auto& [member, text] : std::initializer_list<std::pair<std::string, std::string>>{
           {"event", "\"report\""},
           {"step", "3"},
           {"steps", "9"},
           {"loss", "1.5"},
           {"tokens", "640"},
           {"seconds", "2"},
           {"tokens_per_second", "320"},
           {"phases",
            R"({"data":0.1,"forward":0.5,"backward":1,"optimizer":0.2,"communication":0,"checkpoint":0.1})"},
           {"flops_per_second", "1e12"},
           {"prediction_loss", "4.5"},
           {"peak_flops_per_second", "4e12"},
           {"mfu", "0.25"},
           {"expert_load", "[1.5,1.25]"},
           {"resident_bytes", "1000000"},
           {"device_memory_bytes", "2000000"},
           {"celsius", "-1.5"},
           {"watts", "65.5"},
           {"energy_source", "\"rapl\""},
           {"joules", "131"}}) {
    if (member == name && value.empty()) continue;
    line += (line.size() > 1 ? ",\"" : "\"") + member + "\":" + (member == name ? value : text);
  }
  return line + "}";
}

TEST(ParseTrainerEventTest, ReadsReports) {
  const auto event = ParseTrainerEvent(ReportLine());
  ASSERT_TRUE(event.ok()) << event.status();
  const auto& report = std::get<TrainerReport>(*event);
  EXPECT_EQ(report.step, 3);
  EXPECT_EQ(report.seconds, 2);
  EXPECT_EQ(report.forward, 0.5);
  EXPECT_EQ(report.checkpoint, 0.1);
  EXPECT_EQ(report.prediction_loss, 4.5);
  EXPECT_EQ(report.mfu, 0.25);
  EXPECT_EQ(report.expert_load, (std::vector<double>{1.5, 1.25}));
  EXPECT_EQ(report.device_memory_bytes, 2'000'000);
  EXPECT_EQ(report.celsius, -1.5);
  EXPECT_EQ(report.watts, 65.5);
  EXPECT_EQ(report.energy_source, "rapl");
  EXPECT_EQ(report.joules, 131);
}

TEST(ParseTrainerEventTest, WhatWasNotMeasuredIsAbsent) {
  for (const char* name : {"prediction_loss", "peak_flops_per_second", "mfu", "device_memory_bytes",
                           "celsius", "watts", "joules", "tokens"}) {
    EXPECT_TRUE(ParseTrainerEvent(ReportLine(name)).ok()) << name;
  }
  EXPECT_FALSE(std::get<TrainerReport>(*ParseTrainerEvent(ReportLine("watts"))).watts);
}

TEST(ParseTrainerEventTest, RefusesReportsOutOfBounds) {
  std::string loads = "[1";
  for (size_t i = 0; i < kExpertLoadsMax; ++i) loads += ",1";
  const std::pair<const char*, std::string> bad[] = {
      {"step", "-1"},
      {"steps", ""},
      {"loss", "\"nan\""},
      {"seconds", "-1"},
      {"tokens_per_second", "null"},
      {"phases", ""},
      {"phases", "[]"},
      {"phases", R"({"data":0.1})"},
      {"phases", R"({"data":-1,"forward":1,"backward":1,"optimizer":1,"communication":1,"checkpoint":1})"},
      {"flops_per_second", "-1"},
      {"prediction_loss", "\"nan\""},
      {"prediction_loss", "-1"},
      {"mfu", "\"high\""},
      {"mfu", "-0.1"},
      {"expert_load", "1"},
      {"expert_load", "[\"x\"]"},
      {"expert_load", "[-1]"},
      {"expert_load", loads + "]"},
      {"resident_bytes", "1.5"},
      {"device_memory_bytes", "-1"},
      {"celsius", "[]"},
      {"watts", "-3"},
      {"energy_source", "\"guess\""},
      {"energy_source", ""},
      {"joules", "{}"},
  };
  for (const auto& [name, value] : bad) {
    const auto event = ParseTrainerEvent(ReportLine(name, value));
    EXPECT_EQ(event.status().code(), absl::StatusCode::kInvalidArgument)
        << name << " " << value.substr(0, 40);
    EXPECT_NE(event.status().message().find(std::string("member ") + name), std::string::npos)
        << event.status();
  }
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
