#include "student/export/hugging_face.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "student/export/config_json.h"
#include "student/formats/atomic_file.h"
#include "student/formats/safetensors.h"
#include "student/model/model.h"
#include "tests/student/export/golden_students.h"
#include "tests/student/training/byte_tokenizer.h"

namespace retort::student {
namespace {

namespace fs = std::filesystem;

class ExportTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = testing::TempDir() + "export_XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    folder_ = path;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string folder_;
};

TEST_F(ExportTest, WritesEveryFile) {
  const auto tokenizer = ByteTokenizer();
  ASSERT_TRUE(WriteStudent(folder_, GoldenWeights(UnitConfig()), *tokenizer, "{}").ok());
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder_)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"config.json", "generation_config.json", "model.safetensors",
                                             "special_tokens_map.json", "tokenizer.json",
                                             "tokenizer_config.json", "training_state.json"}));
  const auto file = SafetensorsFile::Open(folder_ + "/model.safetensors");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->metadata().at("format"), "pt");
}

TEST_F(ExportTest, ReadsBackWhatItWrote) {
  const auto tokenizer = ByteTokenizer();
  for (const GoldenStudent& student : GoldenStudents()) {
    const ParameterSet weights = GoldenWeights(student.config);
    ASSERT_TRUE(WriteStudent(folder_, weights, *tokenizer, "").ok());
    const auto read = ReadStudent(folder_);
    ASSERT_TRUE(read.ok()) << student.name << ": " << read.status();
    EXPECT_EQ(read->config(), student.config) << student.name;
    for (size_t i = 0; i < weights.layout().tensors().size(); ++i) {
      const auto want = weights.tensor(static_cast<int>(i)), got = read->tensor(static_cast<int>(i));
      if (weights.layout().tensors()[i].trained() || student.config.expert_groups == 1) {
        EXPECT_TRUE(std::equal(want.begin(), want.end(), got.begin(), got.end()));
        continue;
      }
      const float least = *std::min_element(want.begin(), want.end());
      for (size_t e = 0; e < want.size(); ++e) EXPECT_EQ(got[e], want[e] - least);
    }
    // The same logits, bit for bit, although the bias was shifted.
    ThreadPool pool(1);
    Model model(student.config, pool);
    const auto ids = GoldenIds(student.config, 12);
    EXPECT_EQ(model.ForwardLogits(*read, ids, std::vector<int32_t>{3, 11}),
              model.ForwardLogits(weights, ids, std::vector<int32_t>{3, 11}));
  }
}

// Modules of multi-token prediction lie in a file of their own, under the names of DeepSeek-V3's released
// weights; what reads the student does not need them.
TEST_F(ExportTest, MultiTokenPredictionIsBesideTheStudent) {
  const auto tokenizer = ByteTokenizer();
  for (const bool tied : {true, false}) {
    ModelConfig config = UnitConfig();
    config.tied_embeddings = tied;
    const ParameterSet plain = GoldenWeights(config);
    config.prediction_layers = 2;
    const ParameterSet weights = GoldenWeights(config);
    ASSERT_TRUE(WriteStudent(folder_, weights, *tokenizer, "").ok());
    const auto file = SafetensorsFile::Open(folder_ + "/mtp.safetensors");
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->metadata().at("format"), "pt");
    EXPECT_EQ(file->tensors().size(), 2u * (42 + 2));  // parameters_test.cc, and two copies
    const auto bytes_of = [&](const char* name) {
      const auto values = weights.tensor(weights.layout().Find(name));
      return std::vector<uint8_t>(reinterpret_cast<const uint8_t*>(values.data()),
                                  reinterpret_cast<const uint8_t*>(values.data() + values.size()));
    };
    const auto data_of = [&](const char* name) {
      const auto data = file->tensors().at(name).data;
      return std::vector<uint8_t>(data.begin(), data.end());
    };
    for (const char* name : {"model.layers.3.eh_proj.weight", "model.layers.4.shared_head.norm.weight",
                             "model.layers.4.mlp.experts.7.down_proj.weight"}) {
      EXPECT_EQ(data_of(name), bytes_of(name)) << name;
    }
    EXPECT_EQ(data_of("model.layers.4.embed_tokens.weight"), bytes_of("model.embed_tokens.weight"));
    EXPECT_EQ(data_of("model.layers.3.shared_head.head.weight"),
              bytes_of(tied ? "model.embed_tokens.weight" : "lm_head.weight"));
    EXPECT_EQ(ParseConfigJson(*ReadWholeFile(folder_ + "/config.json", 1 << 20))->prediction_layers, 2);

    const auto read = ReadStudent(folder_);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->config(), plain.config());
    fs::remove(folder_ + "/mtp.safetensors");
    EXPECT_TRUE(ReadStudent(folder_).ok());
    // A student without modules takes the file of an earlier one away.
    ASSERT_TRUE(WriteStudent(folder_, weights, *tokenizer, "").ok());
    ASSERT_TRUE(WriteStudent(folder_, plain, *tokenizer, "").ok());
    EXPECT_FALSE(fs::exists(folder_ + "/mtp.safetensors"));
  }
}

// Logits of transformers' DeepseekV3ForCausalLM on the same exports. Recorded by
// tests/student/golden/check_export_with_transformers.py, which names the versions in the file's metadata.
TEST_F(ExportTest, AgreesWithTransformers) {
  const char* keep =
      std::getenv("RETORT_GOLDEN_DIR");  // set when the golden file is made: leaves the exports there
  const auto golden =
      SafetensorsFile::Open(RETORT_SOURCE_DIR "/tests/student/golden/export_logits.safetensors");
  const auto tokenizer = ByteTokenizer();
  for (const GoldenStudent& student : GoldenStudents()) {
    const std::string folder = (keep != nullptr ? std::string(keep) : folder_) + "/" + student.name;
    ASSERT_TRUE(WriteStudent(folder, GoldenWeights(student.config), *tokenizer, "").ok());
    const auto ids = GoldenIds(student.config, 24);
    if (keep != nullptr) {
      std::ofstream(folder + "/ids.txt") << [&] {
        std::string text;
        for (const int32_t id : ids) text += std::to_string(id) + " ";
        return text;
      }();
      continue;
    }
    ASSERT_TRUE(golden.ok()) << golden.status();
    const auto read = ReadStudent(folder);
    ASSERT_TRUE(read.ok()) << read.status();
    std::vector<int32_t> rows(ids.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
    std::vector<float> want(rows.size() * static_cast<size_t>(student.config.vocabulary));
    const std::vector<int64_t> shape = {static_cast<int64_t>(rows.size()), student.config.vocabulary};
    const auto found = golden->ReadFloats(student.name + ".logits", shape, want);
    ASSERT_TRUE(found.ok()) << found;
    ThreadPool pool(1);
    Model model(student.config, pool);
    const auto got = model.ForwardLogits(*read, ids, rows);
    float worst = 0, largest = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      worst = std::max(worst, std::abs(got[i] - want[i]));
      largest = std::max(largest, std::abs(want[i]));
    }
    RecordProperty(student.name + "_worst", std::to_string(worst));
    std::printf("%s: largest difference %.2e, largest logit %.2f\n", student.name.c_str(), worst, largest);
    EXPECT_LE(worst, 1e-3f) << student.name;
    EXPECT_GT(largest, 1.0f) << student.name;
  }
}

TEST_F(ExportTest, RefusesATokenizerThatIsTooLarge) {
  ModelConfig config = UnitConfig();
  config.vocabulary = 256;
  const auto tokenizer = ByteTokenizer();  // 259 tokens
  EXPECT_EQ(WriteStudent(folder_, GoldenWeights(config), *tokenizer, "").code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteStudent("/proc/none/x", GoldenWeights(UnitConfig()), *tokenizer, "").code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(ExportTest, RefusesTensorsThatConfigDoesNotGive) {
  const auto tokenizer = ByteTokenizer();
  const std::string weights = folder_ + "/model.safetensors";
  EXPECT_EQ(ReadStudent(folder_).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(WriteStudent(folder_, GoldenWeights(UnitConfig()), *tokenizer, "").ok());
  const auto rewrite = [&](const auto& change) {
    ASSERT_TRUE(WriteStudent(folder_, GoldenWeights(UnitConfig()), *tokenizer, "").ok());
    const auto file = SafetensorsFile::Open(weights);
    auto tensors = file->tensors();
    change(tensors);
    ASSERT_TRUE(WriteSafetensors(weights, tensors, file->metadata()).ok());
  };
  rewrite([](auto& tensors) { tensors.erase("model.norm.weight"); });
  EXPECT_EQ(ReadStudent(folder_).status().code(), absl::StatusCode::kNotFound);
  rewrite([](auto& tensors) { tensors["model.norm.weight"].shape = {1, 64}; });
  EXPECT_EQ(ReadStudent(folder_).status().code(), absl::StatusCode::kInvalidArgument);
  rewrite([](auto& tensors) { tensors["model.surprise"] = tensors["model.norm.weight"]; });
  EXPECT_EQ(ReadStudent(folder_).status().code(), absl::StatusCode::kInvalidArgument);
  const std::vector<float> infinite(64, INFINITY);
  rewrite([&](auto& tensors) {
    tensors["model.norm.weight"].data = {reinterpret_cast<const uint8_t*>(infinite.data()), 256};
  });
  EXPECT_EQ(ReadStudent(folder_).status().code(), absl::StatusCode::kInvalidArgument);
  // A config.json that asks for more than the file can hold is refused before memory is taken for it.
  ASSERT_TRUE(WriteStudent(folder_, GoldenWeights(UnitConfig()), *tokenizer, "").ok());
  std::ofstream(folder_ + "/config.json") << ConfigJson(SmallConfig(), {});
  EXPECT_EQ(ReadStudent(folder_).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ExportTest, VerifiesOnlyWithItsState) {
  const auto tokenizer = ByteTokenizer();
  ASSERT_TRUE(WriteStudent(folder_, GoldenWeights(UnitConfig()), *tokenizer, "").ok());
  EXPECT_EQ(VerifyStudent(folder_, std::string(64, '0')).code(), absl::StatusCode::kNotFound);
}

TEST(ConfigJsonTest, ReadsWhatItWrites) {
  for (const GoldenStudent& student : GoldenStudents()) {
    const auto config = ParseConfigJson(ConfigJson(student.config, {1, 2, 2}));
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(*config, student.config);
  }
  ModelConfig predicting = UnitConfig();
  predicting.prediction_layers = 2;
  EXPECT_EQ(*ParseConfigJson(ConfigJson(predicting, {})), predicting);
}

// A file need not have the field: no modules then.
TEST(ConfigJsonTest, NoFieldMeansNoPredictionModule) {
  std::string text = ConfigJson(UnitConfig(), {});
  const std::string field = "\"num_nextn_predict_layers\": 0,";
  text.erase(text.find(field), field.size());
  const auto config = ParseConfigJson(text);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->prediction_layers, 0);
}

TEST(ConfigJsonTest, ReadsTheNestedRope) {
  std::string text = ConfigJson(UnitConfig(), {});
  const size_t at = text.find("\"rope_theta\": 10000.0");
  ASSERT_NE(at, std::string::npos) << text;
  text.replace(at, 21, "\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 77.0}");
  const auto config = ParseConfigJson(text);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->rope_theta, 77.0);
}

struct Changed {
  const char *from, *to, *named;
};
class ConfigJsonHostileTest : public testing::TestWithParam<Changed> {};

TEST_P(ConfigJsonHostileTest, NamesTheField) {
  std::string text = ConfigJson(UnitConfig(), {});
  const size_t at = text.find(GetParam().from);
  ASSERT_NE(at, std::string::npos) << GetParam().from;
  text.replace(at, std::string(GetParam().from).size(), GetParam().to);
  const auto config = ParseConfigJson(text);
  ASSERT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(config.status().message()).find(GetParam().named), std::string::npos)
      << config.status();
}

INSTANTIATE_TEST_SUITE_P(
    All, ConfigJsonHostileTest,
    testing::Values(
        Changed{"deepseek_v3", "llama", "model_type"}, Changed{"\"silu\"", "\"gelu\"", "hidden_act"},
        Changed{"\"sigmoid\"", "\"softmax\"", "scoring_func"},
        Changed{"\"rope_scaling\": null", "\"rope_scaling\": {\"type\":\"yarn\"}", "rope_scaling"},
        Changed{"\"rope_interleave\": true", "\"rope_interleave\": false", "rope_interleave"},
        Changed{"\"attention_bias\": false", "\"attention_bias\": true", "attention_bias"},
        Changed{"\"hidden_size\": 64", "\"hidden_size\": 63", "hidden"},
        Changed{"\"hidden_size\": 64", "\"hidden_size\": -64", "hidden_size"},
        Changed{"\"hidden_size\": 64", "\"hidden_size\": 1e3", "hidden_size"},
        Changed{"\"hidden_size\": 64,", "", "hidden_size"},
        Changed{"\"vocab_size\": 512", "\"vocab_size\": 99999999999", "vocab_size"},
        Changed{"\"q_lora_rank\": 32,", "", "q_lora_rank"},
        Changed{"\"num_hidden_layers\": 3", "\"num_hidden_layers\": 0", "num_hidden_layers"},
        Changed{"\"n_group\": 4", "\"n_group\": 8", "group"}, Changed{"1e-06", "1e-05", "rms_norm_eps"},
        Changed{"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": 1", "tie_word_embeddings"},
        Changed{"\"num_nextn_predict_layers\": 0", "\"num_nextn_predict_layers\": 5",
                "num_nextn_predict_layers"},
        Changed{"\"num_nextn_predict_layers\": 0", "\"num_nextn_predict_layers\": -1",
                "num_nextn_predict_layers"},
        Changed{"{", "[", "JSON"}));

}  // namespace
}  // namespace retort::student
