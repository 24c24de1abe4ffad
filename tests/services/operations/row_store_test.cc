#include "services/storage/row_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace retort::services {
namespace {

class RowStoreTest : public testing::Test {
 protected:
  RowStoreTest() : folder_(testing::TempDir() + "/row_store_" + std::to_string(getpid())) {
    std::filesystem::remove_all(folder_);
  }
  ~RowStoreTest() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<RowStore> Open() {
    auto rows = RowStore::Open(folder_, "test database");
    EXPECT_TRUE(rows.ok()) << rows.status();
    return *std::move(rows);
  }

  const std::string folder_;
};

TEST_F(RowStoreTest, KeepsWhatWasWritten) {
  std::string key;
  {
    auto rows = Open();
    key = rows->token_key();
    RowStore::Batch batch;
    batch.Put("a/1", "one");
    batch.Put("a/2", "two");
    batch.Put("b/1", "three");
    ASSERT_TRUE(rows->Write(batch).ok());
    RowStore::Batch second;
    second.Delete("a/1");
    ASSERT_TRUE(rows->Write(second).ok());
  }
  auto rows = Open();
  EXPECT_EQ(rows->token_key(), key);
  EXPECT_EQ(key.size(), 32u);
  EXPECT_FALSE(rows->Get("a/1")->has_value());
  EXPECT_EQ(**rows->Get("a/2"), "two");
}

TEST_F(RowStoreTest, ScansAPrefixInOrder) {
  auto rows = Open();
  RowStore::Batch batch;
  for (const char* key : {"x/3", "x/1", "x/2", "y/1"}) batch.Put(key, key);
  ASSERT_TRUE(rows->Write(batch).ok());
  std::string seen;
  const auto take = [&](std::string_view key, std::string_view) {
    seen += std::string(key) + " ";
    return true;
  };
  ASSERT_TRUE(rows->Scan("x/", "", take).ok());
  EXPECT_EQ(seen, "x/1 x/2 x/3 ");
  seen.clear();
  ASSERT_TRUE(rows->Scan("x/", "x/2", take).ok());
  EXPECT_EQ(seen, "x/2 x/3 ");
}

TEST_F(RowStoreTest, SecondOwnerIsRefused) {
  auto rows = Open();
  const auto second = RowStore::Open(folder_, "test database");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition) << second.status();
}

TEST_F(RowStoreTest, AnOlderFormatIsTakenOverAndANewerOneRefused) {
  {
    auto rows = Open();
    EXPECT_EQ(**rows->Get("meta/format"), "1");
    RowStore::Batch before;  // as programs wrote it that knew no formats
    before.Delete("meta/format");
    before.Put("a/1", "one");
    ASSERT_TRUE(rows->Write(before).ok());
  }
  {
    auto rows = Open();
    EXPECT_EQ(**rows->Get("a/1"), "one");
    EXPECT_EQ(**rows->Get("meta/format"), "1");
    RowStore::Batch newer;
    newer.Put("meta/format", "2");
    ASSERT_TRUE(rows->Write(newer).ok());
  }
  const auto refused = RowStore::Open(folder_, "test database");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(refused.status().message().find("saw storage format 2, wanted 1 or older"), std::string::npos)
      << refused.status();
}

TEST_F(RowStoreTest, NumbersSortAsBytes) {
  EXPECT_LT(SortableNumber(255), SortableNumber(256));
  EXPECT_LT(SortableNumber(0), SortableNumber(~uint64_t{0}));
}

}  // namespace
}  // namespace retort::services
