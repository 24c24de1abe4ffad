#include "student/formats/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/student/formats/gguf_bytes.h"

namespace retort::student {
namespace {

absl::Status ParseStatus(const std::vector<uint8_t>& bytes) {
  return GgufFile::Parse(bytes).status();
}

void ExpectRefused(const GgufBytes& file, const std::string& field,
                   absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
  const absl::Status status = ParseStatus(file.Bytes());
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_NE(std::string(status.message()).find(field), std::string::npos) << status;
  EXPECT_NE(std::string(status.message()).find("wanted"), std::string::npos) << status;
}

std::vector<uint8_t> U64(uint64_t value) {
  std::vector<uint8_t> bytes(8);
  std::memcpy(bytes.data(), &value, 8);
  return bytes;
}

GgufBytes Good() {
  GgufBytes file;
  file.String("general.name", "good");
  file.Uint32("number", 7);
  file.Float32("real", 0.5f);
  file.Bool("yes", 1);
  file.Strings("words", {"a", "bc"});
  file.Ints("ints", {1, -2});
  file.Tensor("w", {32, 2}, 8, std::vector<uint8_t>(68, 1));
  file.Tensor("v", {4}, 0, std::vector<uint8_t>(16, 0));
  return file;
}

TEST(GgufTest, ReadsWhatIsThere) {
  const std::vector<uint8_t> bytes = Good().Bytes();
  auto file = GgufFile::Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*(*file)->GetString("general.name"), "good");
  EXPECT_EQ(*(*file)->GetUint("number"), 7u);
  EXPECT_EQ(*(*file)->GetFloat("real"), 0.5);
  EXPECT_TRUE(*(*file)->GetBool("yes"));
  EXPECT_EQ(*(*file)->GetStrings("words"), (std::vector<std::string_view>{"a", "bc"}));
  EXPECT_EQ(*(*file)->GetInts("ints"), (std::vector<int64_t>{1, -2}));
  ASSERT_NE((*file)->FindTensor("w"), nullptr);
  EXPECT_EQ((*file)->FindTensor("w")->data.size(), 68u);
  EXPECT_EQ((*file)->FindTensor("w")->rows(), 2u);
  const uint64_t dims[] = {32, 2};
  EXPECT_TRUE((*file)->GetTensor("w", dims).ok());
}

// The worked example of docs/formats/gguf.md.
TEST(GgufTest, ReadsTheDocumentedExample) {
  const uint8_t head[] = {0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0, 1, 0, 0, 0,    0, 0,    0, 0, 1, 0, 0,
                          0,    0,    0,    0,    0, 1, 0, 0, 0, 0, 0, 0,    0, 0x6e, 4, 0, 0, 0, 7,
                          0,    0,    0,    1,    0, 0, 0, 0, 0, 0, 0, 0x77, 1, 0,    0, 0, 4, 0, 0,
                          0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0};
  std::vector<uint8_t> bytes(head, head + sizeof(head));
  bytes.resize(96);
  for (const float value : {1.0f, 2.0f, 3.0f, 4.0f}) {
    uint8_t raw[4];
    std::memcpy(raw, &value, 4);
    bytes.insert(bytes.end(), raw, raw + 4);
  }
  ASSERT_EQ(bytes.size(), 112u);
  auto file = GgufFile::Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*(*file)->GetUint("n"), 7u);
  float last = 0;
  std::memcpy(&last, (*file)->FindTensor("w")->data.data() + 12, 4);
  EXPECT_EQ(last, 4.0f);
}

TEST(GgufTest, TypedReadsRefuseOtherTypes) {
  const std::vector<uint8_t> bytes = Good().Bytes();
  auto parsed = GgufFile::Parse(bytes);
  ASSERT_TRUE(parsed.ok());
  const GgufFile& file = **parsed;
  EXPECT_EQ(file.GetUint("none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(file.GetUint("general.name").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(file.GetUint("words").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(file.GetFloat("number").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(file.GetBool("number").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(file.GetString("number").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(file.GetStrings("ints").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(file.GetInts("words").status().code(), absl::StatusCode::kInvalidArgument);
  const uint64_t dims[] = {32, 3};
  EXPECT_EQ(file.GetTensor("w", dims).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(file.GetTensor("x", dims).status().code(), absl::StatusCode::kNotFound);
}

TEST(GgufTest, RefusesEveryTruncation) {
  const std::vector<uint8_t> bytes = Good().Bytes();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_EQ(ParseStatus(cut).code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

TEST(GgufTest, RefusesBadHeaders) {
  GgufBytes file = Good();
  file.magic = 0x47475546;
  ExpectRefused(file, "magic");
  file = Good();
  file.version = 1;
  ExpectRefused(file, "version", absl::StatusCode::kUnimplemented);
  file = Good();
  file.tensors = uint64_t{1} << 60;
  ExpectRefused(file, "tensor count");
  file = Good();
  file.keys = uint64_t{1} << 60;
  ExpectRefused(file, "metadata count");
}

TEST(GgufTest, RefusesBadMetadata) {
  GgufBytes file = Good();
  file.Uint32("number", 8);
  ExpectRefused(file, "'number'");
  file = Good();
  file.Raw("odd", 13, {});
  ExpectRefused(file, "'odd' type");
  file = Good();
  file.Raw("long", 8, U64(uint64_t{1} << 40));
  ExpectRefused(file, "'long' length");
  file = Good();
  file.Raw("nested", 9, {9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0});
  ExpectRefused(file, "'nested'");
  file = Good();
  std::vector<uint8_t> many = {4, 0, 0, 0};
  for (const uint8_t byte : U64(uint64_t{1} << 50)) many.push_back(byte);
  file.Raw("many", 9, many);
  ExpectRefused(file, "'many' element count");
  file = Good();
  file.Bool("maybe", 2);
  ExpectRefused(file, "'maybe'");
  file = Good();
  file.String("", "x");
  ExpectRefused(file, "key");
  for (const uint32_t alignment : {0u, 4u, 48u, 131'072u}) {
    file = Good();
    file.Uint32("general.alignment", alignment);
    ExpectRefused(file, "general.alignment");
  }
}

TEST(GgufTest, RefusesBadTensors) {
  GgufBytes file = Good();
  file.Tensor("w", {4}, 0, std::vector<uint8_t>(16));
  ExpectRefused(file, "'w'");
  file = Good();
  file.TensorAt("t", {1, 1, 1, 1, 1}, 0, 0);
  ExpectRefused(file, "dimension count");
  file = Good();
  file.TensorAt("t", {}, 0, 0);
  ExpectRefused(file, "dimension count");
  file = Good();
  file.TensorAt(std::string(65, 'n'), {1}, 0, 0);
  ExpectRefused(file, "name");
  file = Good();
  file.TensorAt("t", {0}, 0, 0);
  ExpectRefused(file, "dimension 0");
  file = Good();
  file.TensorAt("t", {uint64_t{1} << 32, uint64_t{1} << 32}, 0, 0);
  ExpectRefused(file, "dimension 0");
  file = Good();
  file.TensorAt("t", {16}, 8, 0);
  ExpectRefused(file, "multiple of 32");
  file = Good();
  file.TensorAt("t", {32}, 7, 0);
  ExpectRefused(file, "Q5_1", absl::StatusCode::kUnimplemented);
  file = Good();
  file.TensorAt("t", {4}, 0, 33);
  ExpectRefused(file, "offset");
  file = Good();
  file.TensorAt("t", {4}, 0, uint64_t{1} << 40);
  ExpectRefused(file, "extent");
  file = Good();
  file.TensorAt("t", {4}, 0, ~uint64_t{0} & ~uint64_t{31});
  ExpectRefused(file, "extent");
  file = Good();
  file.TensorAt("t", {8}, 0, 64);  // inside w, which ends at 68
  ExpectRefused(file, "offset");
}

TEST(GgufTest, OpenSaysWhyNot) {
  EXPECT_EQ(GgufFile::Open("/nonexistent.gguf").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GgufFile::Open("/tmp").status().code(), absl::StatusCode::kInvalidArgument);
  const std::string path = testing::TempDir() + "empty.gguf";
  std::ofstream(path).close();
  EXPECT_EQ(GgufFile::Open(path).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(HalfToFloatTest, CoversTheKinds) {
  EXPECT_EQ(HalfToFloat(0x3c00), 1.0f);
  EXPECT_EQ(HalfToFloat(0xc000), -2.0f);
  EXPECT_EQ(HalfToFloat(0x0001), 0x1p-24f);
  EXPECT_EQ(HalfToFloat(0x7bff), 65504.0f);
  EXPECT_TRUE(std::isinf(HalfToFloat(0xfc00)) && std::signbit(HalfToFloat(0xfc00)));
  EXPECT_TRUE(std::isnan(HalfToFloat(0x7e00)));
  EXPECT_TRUE(std::signbit(HalfToFloat(0x8000)));
}

// golden/gguf_blocks.json: random blocks of every type and the values that the gguf package makes of them,
// bit for bit.
TEST(DequantizeGgufTest, EqualsTheReferenceBitForBit) {
  std::ifstream in(std::string(RETORT_SOURCE_DIR) + "/tests/student/formats/golden/gguf_blocks.json");
  ASSERT_TRUE(in);
  const nlohmann::json golden = nlohmann::json::parse(in);
  ASSERT_EQ(golden["types"].size(), 9u);
  const auto bytes_of = [](const std::string& hex) {
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < hex.size(); i += 2) {
      bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    return bytes;
  };
  for (const auto& type : golden["types"]) {
    const std::vector<uint8_t> blocks = bytes_of(type["blocks"]), expected = bytes_of(type["values"]);
    const GgufTypeTraits* traits = FindGgufType(type["type"]);
    ASSERT_NE(traits, nullptr);
    EXPECT_EQ(traits->name, type["name"].get<std::string>());
    const size_t count = blocks.size() / traits->block_bytes * traits->block_weights;
    ASSERT_EQ(expected.size(), 4 * count);
    std::vector<float> values(count);
    DequantizeGguf(traits->type, blocks.data(), count, values.data());
    EXPECT_EQ(std::memcmp(values.data(), expected.data(), expected.size()), 0) << traits->name;
  }
}

}  // namespace
}  // namespace retort::student
