// docs/formats/ledger.md must be true: its example is read from the page and recomputed.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "ledger/checkpoint.h"
#include "ledger/entry.h"
#include "ledger/hex.h"
#include "ledger/key_registry.h"
#include "ledger/merkle.h"
#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

// Contents of the fenced blocks of one language.
std::vector<std::string> Blocks(const std::string& page, const std::string& language) {
  std::vector<std::string> blocks;
  const std::string fence = "\n```" + language + "\n";
  for (size_t at = page.find(fence); at != std::string::npos; at = page.find(fence, at)) {
    at += fence.size();
    blocks.push_back(page.substr(at, page.find("```", at) - at));
  }
  return blocks;
}

std::string WithoutNewlines(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), '\n'), text.end());
  return text;
}

TEST(WorkedExampleTest, EveryBlockOfThePageRecomputes) {
  const std::string page = ReadWholeFile(std::string(RETORT_SOURCE_DIR) + "/docs/formats/ledger.md");
  const std::vector<std::string> statements = Blocks(page, "statement"), leaves = Blocks(page, "leaf"),
                                 hashes = Blocks(page, "hash");
  ASSERT_EQ(statements.size(), 2u);
  ASSERT_EQ(leaves.size(), 2u);
  ASSERT_EQ(hashes.size(), 2u);
  const SigningKey key = *SigningKey::FromSeed("example/demo", AsView(Sha256("log")));
  EXPECT_EQ(key.vkey(), WithoutNewlines(Blocks(page, "vkey").at(0)));
  KeyRegistry registry(*VerifyingKey::Parse(key.vkey()));
  std::vector<Digest> leaf_hashes;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const std::string leaf = *HexDecode(WithoutNewlines(leaves[i]));
    const absl::StatusOr<Entry> entry = ParseEntry(leaf);
    ASSERT_TRUE(entry.ok()) << entry.status();
    EXPECT_EQ(entry->kind, EntryKind::kKey);
    EXPECT_EQ(entry->time_us, static_cast<int64_t>(1'767'323'045'000'006 + i));
    const std::string statement = WithoutNewlines(statements[i]);
    EXPECT_EQ(entry->statements[0], SignStatement(key, StatementType::kKey, statement));
    EXPECT_TRUE(registry.Check(i, StatementType::kKey, entry->statements[0]).ok());
    EXPECT_TRUE(registry.Register(i, *KeyStatement::Parse(statement)).ok());
    leaf_hashes.push_back(LeafHash(leaf));
    EXPECT_EQ(HexEncode(leaf_hashes[i]), WithoutNewlines(hashes[i]));
  }
  EXPECT_EQ(HexEncode(RootOf(leaf_hashes)), WithoutNewlines(Blocks(page, "root").at(0)));
  const Checkpoint checkpoint{.origin = "example/demo", .size = 2, .root = RootOf(leaf_hashes)};
  EXPECT_EQ(SignCheckpoint(checkpoint, key), Blocks(page, "note").at(0));
}

}  // namespace
}  // namespace retort::ledger
