// Compares the tokenizer with the `tokenizers` library's results for the embedded teacher (golden/).
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "student/formats/sha256.h"
#include "student/tokenizer/byte_alphabet.h"
#include "student/tokenizer/tokenizer.h"
#include "student/tokenizer/utf8.h"
#include "tests/student/tokenizer/generated_strings.h"
#include "tests/student/tokenizer/read_file.h"
#include "tests/student/tokenizer/teacher_file.h"

namespace retort::student {
namespace {

const nlohmann::json& Golden() {
  static const nlohmann::json golden = nlohmann::json::parse(
      ReadFile(std::string(RETORT_SOURCE_DIR) + "/tests/student/tokenizer/golden/tokenizer_golden.json"));
  return golden;
}

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

void HashIds(const std::vector<int32_t>& ids, Sha256& sha256) {
  std::vector<uint8_t> bytes;
  const auto add = [&bytes](int32_t value) {
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<uint8_t>(value >> shift));
  };
  add(static_cast<int32_t>(ids.size()));
  for (const int32_t id : ids) add(id);
  sha256.Update(std::span<const uint8_t>(bytes));
}

// What decoding gives back: the text without the bytes that have no token.
std::string Kept(const std::string& text) {
  std::string kept;
  for (const char c : RepairUtf8(text)) {
    if (TeacherTokenizer().FindToken(ByteCharacter(static_cast<uint8_t>(c))).has_value()) kept += c;
  }
  return RepairUtf8(kept);
}

TEST(TokenizerGoldenTest, DigestIsThatOfTokensAndMerges) {
  EXPECT_EQ(HexOf(TeacherTokenizer().Digest()), Golden()["digest"].get<std::string>());
}

TEST(TokenizerGoldenTest, TrapsGiveTheLibrarysIds) {
  ASSERT_GE(Golden()["traps"].size(), 40u);
  for (const auto& trap : Golden()["traps"]) {
    const std::string text = FromHex(trap["hex"]);
    EXPECT_EQ(TeacherTokenizer().Encode(text), trap["plain"].get<std::vector<int32_t>>()) << trap["hex"];
    EXPECT_EQ(TeacherTokenizer().Encode(text, true), trap["with_specials"].get<std::vector<int32_t>>())
        << trap["hex"];
    EXPECT_EQ(TeacherTokenizer().Decode(trap["plain"].get<std::vector<int32_t>>()), Kept(text))
        << trap["hex"];
  }
}

TEST(TokenizerGoldenTest, ConversationsGiveTheLibrarysIds) {
  for (const auto& chat : Golden()["chats"]) {
    std::vector<ChatTurn> turns;
    for (const auto& turn : chat["turns"]) turns.push_back({turn[0], turn[1]});
    auto ids = TeacherTokenizer().EncodeChat(turns, chat["prompt"]);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, chat["ids"].get<std::vector<int32_t>>());
  }
}

TEST(TokenizerGoldenTest, TenThousandGeneratedStringsGiveTheLibrarysIds) {
  const auto& groups = Golden()["groups"];
  ASSERT_EQ(groups.size(), 100u);
  for (uint64_t group = 0; group < groups.size(); ++group) {
    Sha256 sha256;
    for (uint64_t index = 100 * group; index < 100 * (group + 1); ++index) {
      const std::string text = GenerateString(index);
      const std::vector<int32_t> ids = TeacherTokenizer().Encode(text);
      HashIds(ids, sha256);
      HashIds(TeacherTokenizer().Encode(text, true), sha256);
      EXPECT_EQ(TeacherTokenizer().Decode(ids), Kept(text));
    }
    EXPECT_EQ(HexOf(sha256.Finish()).substr(0, 32), groups[group].get<std::string>())
        << "strings " << 100 * group << " to " << 100 * group + 99;
  }
}

// The golden script loaded exactly these files with `tokenizers` and transformers and found their ids equal.
TEST(TokenizerGoldenTest, WrittenFilesAreThoseThatWereChecked) {
  const std::string folder = testing::TempDir() + "retort_tokenizer_files";
  std::filesystem::create_directories(folder);
  ASSERT_TRUE(TeacherTokenizer().WriteHuggingFace(folder).ok());
  for (const auto& [name, digest] : Golden()["files"].items()) {
    EXPECT_EQ(HexOf(Sha256Of(ReadFile(folder + "/" + name))), digest.get<std::string>()) << name;
  }
  auto loaded = Tokenizer::FromHuggingFace(folder);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->Digest(), TeacherTokenizer().Digest());
  EXPECT_EQ((*loaded)->end_ids(), TeacherTokenizer().end_ids());
  for (uint64_t index = 0; index < 200; ++index) {
    const std::string text = GenerateString(index);
    EXPECT_EQ((*loaded)->Encode(text, true), TeacherTokenizer().Encode(text, true));
  }
}

}  // namespace
}  // namespace retort::student
