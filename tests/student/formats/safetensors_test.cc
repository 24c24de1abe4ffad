#include "student/formats/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "student/formats/atomic_file.h"

namespace retort::student {
namespace {

// A file of one header and some data.
std::vector<uint8_t> FileOf(const std::string& header, const std::string& data) {
  std::vector<uint8_t> bytes(8);
  const uint64_t size = header.size();
  std::memcpy(bytes.data(), &size, 8);
  bytes.insert(bytes.end(), header.begin(), header.end());
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}

std::string TempPath(const std::string& name) {
  return testing::TempDir() + "safetensors_" + std::to_string(getpid()) + "_" + name;
}

template <typename T>
std::span<const uint8_t> BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)};
}

TEST(SafetensorsTest, ReadsHandWrittenFile) {
  // 1.0f and -2.0f, little-endian.
  const auto bytes =
      FileOf(R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"__metadata__":{"k":"v"}})",
             std::string("\0\0\x80\x3f\0\0\0\xc0", 8));
  const auto file = SafetensorsFile::Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), 1u);
  EXPECT_EQ(file->metadata().at("k"), "v");
  std::vector<float> values(2);
  ASSERT_TRUE(file->ReadFloats("a", std::vector<int64_t>{2, 1}, values).ok());
  EXPECT_EQ(values, (std::vector<float>{1.0f, -2.0f}));
}

TEST(SafetensorsTest, WritesWideTypesFirstAndReadsBack) {
  const std::vector<float> floats = {1.5f, -0.0f, std::numeric_limits<float>::max()};
  const std::vector<uint16_t> halves = {0x3f80, 0xc000, 0x7f80};  // bf16: 1, -2, infinity
  const std::string path = TempPath("roundtrip");
  ASSERT_TRUE(WriteSafetensors(path,
                               {{"a.bf16", {SafetensorsType::kBF16, {3}, BytesOf(halves)}},
                                {"z.f32", {SafetensorsType::kF32, {1, 3}, BytesOf(floats)}}},
                               {{"format", "pt"}})
                  .ok());
  const auto raw = ReadWholeFile(path, 1 << 20);
  ASSERT_TRUE(raw.ok());
  EXPECT_EQ(raw->size() % 2, 0u);
  EXPECT_NE(
      raw->find(
          R"({"__metadata__":{"format":"pt"},"z.f32":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]},)"
          R"("a.bf16":{"dtype":"BF16","shape":[3],"data_offsets":[12,18]}})"),
      std::string::npos);
  uint64_t header = 0;
  std::memcpy(&header, raw->data(), 8);
  EXPECT_EQ((8 + header) % 8, 0u);

  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<float> read(3);
  ASSERT_TRUE(file->ReadFloats("z.f32", std::vector<int64_t>{1, 3}, read).ok());
  EXPECT_EQ(std::memcmp(read.data(), floats.data(), 12), 0);
  ASSERT_TRUE(file->ReadFloats("a.bf16", std::vector<int64_t>{3}, read).ok());
  EXPECT_EQ(read, (std::vector<float>{1.0f, -2.0f, std::numeric_limits<float>::infinity()}));
  std::filesystem::remove(path);
}

TEST(SafetensorsTest, SaysWhichTensorDoesNotFit) {
  const auto bytes = FileOf(R"({"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}})", "abcd");
  const auto file = SafetensorsFile::Parse(bytes);
  ASSERT_TRUE(file.ok());
  std::vector<float> one(1);
  EXPECT_EQ(file->ReadFloats("b", std::vector<int64_t>{1}, one).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(file->ReadFloats("a", std::vector<int64_t>{2}, one).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(file->ReadFloats("a", std::vector<int64_t>{1}, one).code(), absl::StatusCode::kInvalidArgument);
}

struct Hostile {
  const char* name;
  std::string header;
  std::string data;
  const char* wanted;  // a part of the message
};

class SafetensorsHostileTest : public testing::TestWithParam<Hostile> {};

TEST_P(SafetensorsHostileTest, IsRefused) {
  const auto bytes = FileOf(GetParam().header, GetParam().data);
  const auto file = SafetensorsFile::Parse(bytes);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(file.status().message()).find(GetParam().wanted), std::string::npos) << file.status();
}

INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsHostileTest,
    testing::Values(
        Hostile{"EmptyHeader", "", "", "'{'"}, Hostile{"LeadingSpace", " {}", "", "'{'"},
        Hostile{"NotJson", "{nonsense", "", "not JSON"}, Hostile{"TrailingText", "{} {}", "", "not JSON"},
        Hostile{
            "DuplicateName",
            R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
            "x", "twice"},
        Hostile{"UnknownType", R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", "abcd", "dtype"},
        Hostile{"UnknownMember", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", "a",
                "unknown member"},
        Hostile{"NegativeDimension", R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", "a",
                "dimension"},
        Hostile{"OverflowingShape",
                R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", "",
                "overflows"},
        Hostile{"ManyDimensions", R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})",
                "a", "shape"},
        Hostile{"OffsetsReversed", R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[1,0]}})", "a",
                "data_offsets"},
        Hostile{"OffsetsPastEnd", R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "a",
                "data_offsets"},
        Hostile{"SizeNotProduct", R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}})", "a", "product"},
        Hostile{"Hole", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "ab", "hole"},
        Hostile{
            "Overlap",
            R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
            "abc", "overlap"},
        Hostile{"TrailingData", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "ab", "2 bytes"},
        Hostile{"MetadataNotStrings", R"({"__metadata__":{"a":1}})", "", "strings"},
        Hostile{"DeepNesting", R"({"a":[[[[[[]]]]]]})", "", "nested"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(SafetensorsTest, RefusesEveryTruncation) {
  const auto bytes = FileOf(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "abcdefgh");
  ASSERT_TRUE(SafetensorsFile::Parse(bytes).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(SafetensorsFile::Parse(std::span(bytes).first(size)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << size;
  }
}

TEST(SafetensorsTest, OpensNothingThatIsNotThere) {
  EXPECT_EQ(SafetensorsFile::Open(TempPath("absent")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(SafetensorsFile::Open(testing::TempDir()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteSafetensors("/nonexistent/folder/x", {}, {}).code(), absl::StatusCode::kUnavailable);
}

TEST(Bf16Test, RoundsToNearestEven) {
  EXPECT_EQ(Bf16FromFloat(1.0f), 0x3f80);
  EXPECT_EQ(Bf16FromFloat(std::bit_cast<float>(0x3f808000u)), 0x3f80);  // halfway, even below
  EXPECT_EQ(Bf16FromFloat(std::bit_cast<float>(0x3f818000u)), 0x3f82);  // halfway, even above
  EXPECT_EQ(Bf16FromFloat(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(Bf16FromFloat(std::numeric_limits<float>::infinity()), 0x7f80);
  EXPECT_TRUE(std::isnan(FloatFromBf16(Bf16FromFloat(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(FloatFromBf16(Bf16FromFloat(std::bit_cast<float>(0x7f800001u)))));
}

TEST(F16Test, WidensEveryClassOfValue) {
  EXPECT_EQ(FloatFromF16(0x3c00), 1.0f);
  EXPECT_EQ(FloatFromF16(0xc000), -2.0f);
  EXPECT_EQ(FloatFromF16(0x0001), std::ldexp(1.0f, -24));
  EXPECT_EQ(FloatFromF16(0x83ff), -std::ldexp(1023.0f, -24));
  EXPECT_EQ(FloatFromF16(0x7bff), 65504.0f);
  EXPECT_TRUE(std::isinf(FloatFromF16(0x7c00)));
  EXPECT_TRUE(std::isnan(FloatFromF16(0x7e00)));
  EXPECT_TRUE(std::signbit(FloatFromF16(0x8000)));
}

}  // namespace
}  // namespace retort::student
