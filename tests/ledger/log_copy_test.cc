// Copies of a log that is being written, and what they refuse.
#include "ledger/log_copy.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "ledger/internal/store.h"
#include "ledger/log.h"
#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

namespace fs = std::filesystem;
using internal::Family;

constexpr char kCopiedSubject[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

class LogCopyTest : public testing::Test {
 protected:
  std::string Path() const { return folder_ / "log"; }
  std::string Copy() const { return folder_ / "copy"; }

  // The deployment's key: the same key as the log's, under another name.
  VerifyingKey Key() const { return *VerifyingKey::Parse(keys_.log.WithName("test/log")->vkey()); }

  std::unique_ptr<Log> OpenLog(const std::string& path) {
    absl::StatusOr<std::unique_ptr<Log>> log = Log::Open(MakeOptions(keys_, path));
    EXPECT_TRUE(log.ok()) << log.status();
    return log.ok() ? *std::move(log) : nullptr;
  }
  void Fill(Log& log, int first, int entries) {
    for (int i = first; i < first + entries; ++i) {
      ASSERT_TRUE(log.Append(MakeDecision(keys_, kCopiedSubject, "deny", i)).ok());
    }
  }
  // Changes stored bytes of the source behind the log's back.
  void Overwrite(Family family, const std::string& key, const std::string& value) {
    absl::StatusOr<std::unique_ptr<internal::Store>> store = internal::Store::Open(Path(), nullptr);
    ASSERT_TRUE(store.ok()) << store.status();
    internal::Store::Batch batch(**store);
    batch.Put(family, key, value);
    ASSERT_TRUE((*store)->WriteSynced(batch).ok());
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_ / "")) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  TemporaryFolder folder_;
  TestKeys keys_ = TestKeys::Make();
};

TEST_F(LogCopyTest, CopyOpensAndHoldsEverything) {
  const std::string large(20'000, 'x');  // above the size from which payloads are kept beside the tables
  Checkpoint head;
  {
    const std::unique_ptr<Log> log = OpenLog(Path());
    ASSERT_TRUE(log->Append(MakeSample(keys_, {.index = 1, .completion = "small"})).ok());
    ASSERT_TRUE(log->Append(MakeSample(keys_, {.index = 2, .completion = large})).ok());
    ASSERT_TRUE(log->Append(MakePolicyPack(keys_, "a pack")).ok());
    Fill(*log, 0, 600);  // more than two full tiles
    head = log->CheckpointNote().checkpoint;
    const auto copy = CopyLog(Path(), Copy(), Key());  // the log is open, its lock is held
    ASSERT_TRUE(copy.ok()) << copy.status();
    EXPECT_EQ(copy->origin, kOrigin);
    EXPECT_EQ(copy->size, head.size);
    EXPECT_EQ(copy->signed_size, head.size);
    EXPECT_EQ(copy->root, head.root);
    Fill(*log, 600, 5);  // what comes later is not in it
  }
  EXPECT_EQ(Names(), (std::vector<std::string>{"copy", "log"}));  // and no scratch is left
  fs::remove_all(Path());
  const std::unique_ptr<Log> copied = OpenLog(Copy());
  ASSERT_NE(copied, nullptr);
  EXPECT_EQ(copied->CheckpointNote().checkpoint, head);
  int samples = 0;
  ASSERT_TRUE(copied
                  ->ForEachEntry(0, head.size, EntryKind::kSample,
                                 [&](const StoredEntry& entry) {
                                   const auto payload = copied->ReadPayload(entry.index);
                                   EXPECT_TRUE(payload.ok()) << payload.status();
                                   if (samples++ == 1)
                                     EXPECT_NE(payload->payload.find(large), std::string::npos);
                                   return absl::OkStatus();
                                 })
                  .ok());
  EXPECT_EQ(samples, 2);
  int packs = 0;
  ASSERT_TRUE(copied
                  ->ForEachAttachment([&](const Digest&, std::string_view content) {
                    packs += content == "a pack";
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(packs, 1);
  // A request that the log has seen is not appended twice to its copy either.
  const auto again = copied->Append(MakeDecision(keys_, kCopiedSubject, "deny", 3));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->repeated);
}

// The writer is another process, as in production: the copier shares no memory with it.
TEST_F(LogCopyTest, CopiesWhileAnotherProcessAppends) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto log = Log::Open(MakeOptions(keys_, Path()));
    if (!log.ok()) _exit(3);
    for (int number = 0;; ++number) {
      if (!(*log)->Append(MakeDecision(keys_, kCopiedSubject, "deny", number)).ok()) _exit(4);
      if (write(ends[1], &number, sizeof number) != sizeof number) _exit(5);
    }
  }
  close(ends[1]);
  uint64_t before = 0;
  for (int round = 0; round < 5; ++round) {
    int number = 0;
    for (int i = 0; i < 50; ++i) ASSERT_EQ(read(ends[0], &number, sizeof number), ssize_t{sizeof number});
    const std::string target = folder_ / ("copy" + std::to_string(round));
    const auto copy = CopyLog(Path(), target, Key());
    ASSERT_TRUE(copy.ok()) << copy.status();
    // Everything that was acknowledged before the copy began is in it: the keys, and number + 1 decisions.
    EXPECT_GE(copy->size, static_cast<uint64_t>(number) + 1 + 6);
    EXPECT_GT(copy->size, before);
    before = copy->size;
    const std::unique_ptr<Log> copied = OpenLog(target);
    ASSERT_NE(copied, nullptr);
    EXPECT_EQ(copied->CheckpointNote().checkpoint.size, copy->size);
  }
  kill(child, SIGKILL);
  close(ends[0]);
  waitpid(child, nullptr, 0);
}

TEST_F(LogCopyTest, AnotherKeyIsRefusedBeforeAnythingIsCopied) {
  { const std::unique_ptr<Log> log = OpenLog(Path()); }
  const auto copy = CopyLog(Path(), Copy(), *VerifyingKey::Parse(keys_.teacher.vkey()));
  EXPECT_EQ(copy.status().code(), absl::StatusCode::kFailedPrecondition) << copy.status();
  EXPECT_NE(copy.status().message().find("test/teacher"), std::string::npos) << copy.status();
  EXPECT_EQ(Names(), std::vector<std::string>{"log"});
}

TEST_F(LogCopyTest, NothingToCopyAndNothingToOverwrite) {
  EXPECT_EQ(CopyLog(Path(), Copy(), Key()).status().code(), absl::StatusCode::kNotFound);
  { const std::unique_ptr<Log> log = OpenLog(Path()); }
  fs::create_directory(Copy());
  EXPECT_EQ(CopyLog(Path(), Copy(), Key()).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(fs::is_empty(Copy()));
}

TEST_F(LogCopyTest, ChangedEntryIsDataLoss) {
  {
    const std::unique_ptr<Log> log = OpenLog(Path());
    Fill(*log, 0, 300);
  }
  Overwrite(Family::kEntries, internal::BigEndian(20), "another leaf");
  const auto copy = CopyLog(Path(), Copy(), Key());
  EXPECT_EQ(copy.status().code(), absl::StatusCode::kDataLoss) << copy.status();
  EXPECT_EQ(Names(), std::vector<std::string>{"log"});
}

TEST_F(LogCopyTest, EntryBeyondTheHeadIsDataLoss) {
  uint64_t size = 0;
  {
    const std::unique_ptr<Log> log = OpenLog(Path());
    size = log->CheckpointNote().checkpoint.size;
  }
  Overwrite(Family::kEntries, internal::BigEndian(size), "smuggled");
  EXPECT_EQ(CopyLog(Path(), Copy(), Key()).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(LogCopyTest, ChangedTileIsDataLoss) {
  {
    const std::unique_ptr<Log> log = OpenLog(Path());
    Fill(*log, 0, 300);
  }
  Overwrite(Family::kTiles, internal::TileKey(0, 0), std::string(256 * 32, 't'));
  EXPECT_EQ(CopyLog(Path(), Copy(), Key()).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(LogCopyTest, CheckpointOfAnotherTreeIsDataLoss) {
  Checkpoint checkpoint;
  {
    const std::unique_ptr<Log> log = OpenLog(Path());
    Fill(*log, 0, 3);
    checkpoint = log->CheckpointNote().checkpoint;
  }
  Checkpoint other = checkpoint;
  other.root[0] ^= 1;
  Overwrite(Family::kIndex, internal::MetaKey("note"), SignCheckpoint(other, keys_.log));
  EXPECT_EQ(CopyLog(Path(), Copy(), Key()).status().code(), absl::StatusCode::kDataLoss);
  // One that promises entries which are not there: a log whose tail was cut off.
  other = checkpoint;
  other.size += 1;
  Overwrite(Family::kIndex, internal::MetaKey("note"), SignCheckpoint(other, keys_.log));
  EXPECT_EQ(CopyLog(Path(), Copy(), Key()).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(LogCopyTest, AnOlderFormatIsCopiedAsItIs) {
  {
    const std::unique_ptr<Log> log = OpenLog(Path());
    Fill(*log, 0, 3);
  }
  Overwrite(Family::kIndex, internal::MetaKey("format"), "retort-log-1");
  const auto copied = CopyLog(Path(), Copy(), Key());
  EXPECT_TRUE(copied.ok()) << copied.status();
}

TEST_F(LogCopyTest, UnknownFormatIsRefused) {
  { const std::unique_ptr<Log> log = OpenLog(Path()); }
  Overwrite(Family::kIndex, internal::MetaKey("format"), "retort-log-99");
  EXPECT_EQ(CopyLog(Path(), Copy(), Key()).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace retort::ledger
