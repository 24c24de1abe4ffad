#include "student/training/manifest.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

namespace retort::student {
namespace {

TrainingManifest Valid() {
  TrainingManifest manifest;
  manifest.run = "logits";
  manifest.student = "kitchen-nano";
  manifest.shape = "nano";
  manifest.vocabulary_size = 49152;
  manifest.tokenizer_sha256 = std::string(64, 'a');
  manifest.steps = 300;
  manifest.batch_tokens = 2048;
  manifest.sequence_length = 512;
  manifest.warmup_steps = 15;
  manifest.checkpoint_every = 30;
  manifest.seed = 7;
  manifest.learning_rate = 0.002;
  manifest.cross_entropy_weight = 0.25;
  return manifest;
}

// Written by hand from docs/formats/student.md; the digest is sha256sum of it.
constexpr char kValid[] =
    R"({"balance_loss_weight":"0.0001","batch_tokens":2048,"beta1":"0.9","beta2":"0.95","bias_update_rate":"0.001",)"
    R"("checkpoint_every":30,"clip_norm":"1","cross_entropy_weight":"0.25","epsilon":"0.00000001",)"
    R"("final_rate_fraction":"0.1","format":"retort-training-manifest/1","learning_rate":"0.002","run":"logits","seed":7,)"
    R"("sequence_length":512,"shape":"nano","steps":300,"student":"kitchen-nano",)"
    R"("tokenizer_sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","vocabulary_size":49152,)"
    R"("warmup_steps":15,"weight_decay":"0"})";

TEST(TrainingManifestTest, WritesTheDocumentedBytes) {
  EXPECT_EQ(Valid().ToJson(), kValid);
  EXPECT_EQ(Valid().Digest(), "a0ebb27054b235837c28d7e1c2e80a369aba64b228d002056b78b220570fa122");
}

TEST(TrainingManifestTest, ReadsBackWhatItWrote) {
  const auto parsed = TrainingManifest::Parse(kValid);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->ToJson(), kValid);
  EXPECT_EQ(parsed->learning_rate, 0.002);
  EXPECT_EQ(parsed->epsilon, 1e-8);
}

TEST(TrainingManifestTest, MultiTokenPredictionAddsTwoMembers) {
  TrainingManifest manifest = Valid();
  manifest.prediction_layers = 1;
  manifest.prediction_loss_weight = 0.3;
  std::string text = kValid;
  const std::string next = "\"run\":";
  text.insert(text.find(next), "\"prediction_layers\":1,\"prediction_loss_weight\":\"0.3\",");
  EXPECT_EQ(manifest.ToJson(), text);
  const auto parsed = TrainingManifest::Parse(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->prediction_layers, 1);
  EXPECT_EQ(parsed->prediction_loss_weight, 0.3);
}

struct Wrong {
  const char* name;
  std::function<void(TrainingManifest&)> spoil;
};
class TrainingManifestRangeTest : public testing::TestWithParam<Wrong> {};

TEST_P(TrainingManifestRangeTest, NamesTheMember) {
  TrainingManifest manifest = Valid();
  GetParam().spoil(manifest);
  const auto status = manifest.Validate();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(status.message()).find(std::string(" ") + GetParam().name + ": "), std::string::npos)
      << status;
}

INSTANTIATE_TEST_SUITE_P(
    All, TrainingManifestRangeTest,
    testing::Values(
        Wrong{"run", [](auto& m) { m.run = "both"; }}, Wrong{"student", [](auto& m) { m.student = "../x"; }},
        Wrong{"student", [](auto& m) { m.student = std::string(97, 'a'); }},
        Wrong{"shape", [](auto& m) { m.shape = "huge"; }},
        Wrong{"vocabulary_size", [](auto& m) { m.vocabulary_size = 1; }},
        Wrong{"tokenizer_sha256", [](auto& m) { m.tokenizer_sha256 = std::string(64, 'A'); }},
        Wrong{"steps", [](auto& m) { m.steps = 0; }},
        Wrong{"batch_tokens", [](auto& m) { m.batch_tokens = 63; }},
        Wrong{"batch_tokens", [](auto& m) { m.batch_tokens = 2049; }},
        Wrong{"sequence_length", [](auto& m) { m.sequence_length = 8193; }},
        Wrong{"warmup_steps", [](auto& m) { m.warmup_steps = 301; }},
        Wrong{"checkpoint_every", [](auto& m) { m.checkpoint_every = 301; }},
        Wrong{"seed", [](auto& m) { m.seed = uint64_t{1} << 53; }},
        Wrong{"learning_rate", [](auto& m) { m.learning_rate = 0; }},
        Wrong{"learning_rate", [](auto& m) { m.learning_rate = std::numeric_limits<double>::quiet_NaN(); }},
        Wrong{"cross_entropy_weight", [](auto& m) { m.cross_entropy_weight = 1.5; }},
        Wrong{"cross_entropy_weight", [](auto& m) { m.run = "text_only"; }},
        Wrong{"cross_entropy_weight", [](auto& m) { m.cross_entropy_weight = 1e-200; }},
        Wrong{"prediction_layers",
              [](auto& m) {
                m.prediction_layers = 5;
                m.prediction_loss_weight = 0.3;
              }},
        Wrong{"prediction_layers", [](auto& m) { m.prediction_layers = -1; }},
        Wrong{"prediction_loss_weight", [](auto& m) { m.prediction_layers = 1; }},
        Wrong{"prediction_loss_weight", [](auto& m) { m.prediction_loss_weight = 0.3; }},
        Wrong{"prediction_loss_weight",
              [](auto& m) {
                m.prediction_layers = 1;
                m.prediction_loss_weight = 1.5;
              }},
        Wrong{"beta2", [](auto& m) { m.beta2 = 1; }}, Wrong{"clip_norm", [](auto& m) { m.clip_norm = 0; }},
        Wrong{"weight_decay", [](auto& m) { m.weight_decay = -1; }}));

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

struct WrongText {
  std::string from, to, wanted;
};
class TrainingManifestTextTest : public testing::TestWithParam<WrongText> {};

TEST_P(TrainingManifestTextTest, IsRefused) {
  const auto parsed = TrainingManifest::Parse(Replaced(kValid, GetParam().from, GetParam().to));
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(parsed.status().message()).find(GetParam().wanted), std::string::npos)
      << parsed.status();
}

INSTANTIATE_TEST_SUITE_P(
    All, TrainingManifestTextTest,
    testing::Values(
        WrongText{"\"seed\":7,", "", "seed"}, WrongText{"\"seed\":7", "\"seed\":7,\"seed\":7", "twice"},
        WrongText{"\"seed\":7", "\"extra\":1,\"seed\":7", "extra"},
        WrongText{"\"seed\":7", "\"seed\":\"7\"", "seed"}, WrongText{"\"seed\":7", "\"seed\":7.5", "seed"},
        WrongText{"\"seed\":7", "\"seed\": 7", "canonical"},
        WrongText{"\"0.002\"", "\"0.0020\"", "learning_rate"},
        WrongText{"\"0.002\"", "\"2e-3\"", "learning_rate"}, WrongText{"\"0.002\"", "0.002", "learning_rate"},
        WrongText{"\"0.002\"", "\"-0\"", "learning_rate"}, WrongText{"manifest/1", "manifest/2", "format"},
        WrongText{"\"run\"", "\"prediction_layers\":1,\"run\"", "prediction_loss_weight"},
        WrongText{"\"run\"", "\"prediction_loss_weight\":\"0.3\",\"run\"", "prediction_loss_weight"},
        WrongText{"\"run\"", "\"prediction_layers\":0,\"prediction_loss_weight\":\"0.3\",\"run\"",
                  "prediction_layers"},
        WrongText{"\"run\"", "\"prediction_layers\":1,\"prediction_loss_weight\":\"2\",\"run\"",
                  "prediction_loss_weight"},
        WrongText{"\"steps\":300", "\"steps\":18446744073709551615", "steps"}, WrongText{"{", "[{", "JSON"}));

TEST(TrainingManifestTest, RefusesAnOversizedText) {
  EXPECT_EQ(TrainingManifest::Parse(std::string(kManifestBytesMax + 1, ' ')).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::student
