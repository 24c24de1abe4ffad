#include "ledger/entry.h"

#include <gtest/gtest.h>

#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

Entry SampleEntry() {
  const TestKeys keys = TestKeys::Make();
  return {.kind = EntryKind::kSample,
          .time_us = 1'767'323'045'000'006,
          .statements = MakeSample(keys, {}).statements};
}

TEST(EntryTest, RoundTrip) {
  const Entry entry = SampleEntry();
  const auto leaf = EncodeEntry(entry);
  ASSERT_TRUE(leaf.ok()) << leaf.status();
  const auto parsed = ParseEntry(*leaf);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, entry);
}

TEST(EntryTest, HandMadeBytes) {
  Entry entry{.kind = EntryKind::kKey, .time_us = 0x0102030405060708};
  entry.statements.push_back({.statement = "{}"});
  entry.statements[0].key_id.fill(0xAA);
  entry.statements[0].signature.fill(0xBB);
  const std::string wanted = std::string("RTE1\x08\x01\x01\x02\x03\x04\x05\x06\x07\x08\x08\0\0\0\x02{}", 21) +
                             std::string(32, '\xAA') + std::string(64, '\xBB');
  EXPECT_EQ(*EncodeEntry(entry), wanted);
}

TEST(EntryTest, EveryFlippedBitChangesOrBreaksTheEntry) {
  const Entry entry = SampleEntry();
  const std::string leaf = *EncodeEntry(entry);
  for (size_t bit = 0; bit < leaf.size() * 8; ++bit) {
    std::string changed = leaf;
    changed[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const auto parsed = ParseEntry(changed);
    if (!parsed.ok()) {
      EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    EXPECT_FALSE(*parsed == entry) << bit;
    EXPECT_EQ(*EncodeEntry(*parsed), changed) << bit;  // one byte string for each entry
  }
}

TEST(EntryTest, EveryTruncationIsNoticed) {
  const std::string leaf = *EncodeEntry(SampleEntry());
  for (size_t length = 0; length < leaf.size(); ++length) {
    EXPECT_EQ(ParseEntry(leaf.substr(0, length)).status().code(), absl::StatusCode::kInvalidArgument)
        << length;
  }
  EXPECT_EQ(ParseEntry(leaf + "x").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(EntryTest, HoldsExactlyTheLargestSize) {
  Entry entry{.kind = EntryKind::kKey};
  entry.statements.push_back({.statement = std::string(65'535 - 14 - 101, 'x')});
  const auto leaf = EncodeEntry(entry);
  ASSERT_TRUE(leaf.ok()) << leaf.status();
  EXPECT_EQ(leaf->size(), 65'535u);
  EXPECT_TRUE(ParseEntry(*leaf).ok());
  entry.statements[0].statement += "x";
  EXPECT_EQ(EncodeEntry(entry).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(EntryTest, RefusesWrongStatementsAndTimes) {
  Entry entry = SampleEntry();
  entry.time_us = -1;
  EXPECT_EQ(EncodeEntry(entry).status().code(), absl::StatusCode::kInvalidArgument);
  entry = SampleEntry();
  entry.statements.pop_back();
  EXPECT_EQ(EncodeEntry(entry).status().code(), absl::StatusCode::kInvalidArgument);
  entry.kind = static_cast<EntryKind>(0);
  EXPECT_EQ(EncodeEntry(entry).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(EntryTest, NamesKindsAndRoles) {
  EXPECT_EQ(EntryKindName(EntryKind::kPolicyPack), "POLICY_PACK");
  EXPECT_EQ(EntryKindName(static_cast<EntryKind>(200)), "kind 200");
  EXPECT_EQ(SignerRoleOf(StatementType::kDecision), "policy");
  EXPECT_TRUE(StatementTypesOf(static_cast<EntryKind>(200)).empty());
  EXPECT_EQ(StatementTypesOf(EntryKind::kSample).size(), 2u);
}

}  // namespace
}  // namespace retort::ledger
