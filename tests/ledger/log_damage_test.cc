// What a log does when the process dies, the disk is full, or the files were changed.
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <random>
#include <thread>

#include "ledger/hex.h"
#include "ledger/internal/store.h"
#include "ledger/log.h"
#include "ledger/merkle.h"
#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

namespace fs = std::filesystem;
using internal::Family;

constexpr char kSubject[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

class LogDamageTest : public testing::Test {
 protected:
  std::string Path() const { return folder_ / "log"; }

  std::unique_ptr<Log> MustOpen() {
    absl::StatusOr<std::unique_ptr<Log>> log = Log::Open(MakeOptions(keys_, Path()));
    EXPECT_TRUE(log.ok()) << log.status();
    return log.ok() ? *std::move(log) : nullptr;
  }
  absl::Status OpenStatus(const LogOptions& options) { return Log::Open(options).status(); }

  void Fill(int entries) {
    const std::unique_ptr<Log> log = MustOpen();
    for (int i = 0; i < entries; ++i) {
      ASSERT_TRUE(log->Append(MakeDecision(keys_, kSubject, "deny", i)).ok());
    }
  }

  // Changes the stored bytes behind the log's back, checksums and all.
  void Overwrite(Family family, const std::string& key, const std::function<void(std::string&)>& change) {
    absl::StatusOr<std::unique_ptr<internal::Store>> store = internal::Store::Open(Path(), nullptr);
    ASSERT_TRUE(store.ok()) << store.status();
    const auto value = (*store)->Get(family, key);
    ASSERT_TRUE(value.ok() && value->has_value());
    std::string changed = **value;
    change(changed);
    internal::Store::Batch batch(**store);
    batch.Put(family, key, changed);
    ASSERT_TRUE((*store)->WriteSynced(batch).ok());
  }

  TemporaryFolder folder_;
  TestKeys keys_ = TestKeys::Make();
};

// The child appends from four threads and writes the number of each acknowledged request to a pipe.
[[noreturn]] void RunChild(const LogOptions& options, const TestKeys& keys, int first, int out) {
  absl::StatusOr<std::unique_ptr<Log>> log = Log::Open(options);
  if (!log.ok()) _exit(3);
  std::atomic<int> next{first};
  std::vector<std::thread> writers;
  for (int w = 0; w < 4; ++w) {
    writers.emplace_back([&] {
      while (true) {
        const int number = next.fetch_add(1);
        if (!(*log)->Append(MakeDecision(keys, kSubject, "deny", number)).ok()) _exit(4);
        if (write(out, &number, sizeof number) != sizeof number) _exit(5);
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  _exit(6);
}

// A log from before reviews and the record of access: the next program takes it over, and then the one before
// refuses it, as this one refuses the next's.
TEST_F(LogDamageTest, AnOlderFormatIsTakenOverAndANewerOneRefused) {
  Fill(3);
  const auto size = [](const Log& log) { return log.CheckpointNote().checkpoint.size; };
  const uint64_t before = size(*MustOpen());
  const std::string key = internal::MetaKey("format");
  Overwrite(Family::kIndex, key, [](std::string& format) { format = "retort-log-1"; });
  {
    const std::unique_ptr<Log> log = MustOpen();
    ASSERT_NE(log, nullptr);
    EXPECT_EQ(size(*log), before);
    ASSERT_TRUE(log->Append(MakeDecision(keys_, kSubject, "deny", 3)).ok());
    EXPECT_EQ(size(*log), before + 1);
  }
  Overwrite(Family::kIndex, key, [](std::string& format) {
    EXPECT_EQ(format, "retort-log-2");
    format = "retort-log-3";
  });
  const absl::Status refused = OpenStatus(MakeOptions(keys_, Path()));
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(refused.message().find("saw storage format 'retort-log-3', wanted retort-log-2 or older"),
            std::string::npos)
      << refused;
  Overwrite(Family::kIndex, key, [](std::string& format) {
    EXPECT_EQ(format, "retort-log-3") << "a refusal changes nothing";
    format = "retort-log-2";
  });
  EXPECT_NE(MustOpen(), nullptr);
}

TEST_F(LogDamageTest, KilledAtAnyMomentKeepsWhatItAcknowledged) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer does not follow a process that forks while threads run; log_test has the "
                  "same writers";
#endif
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::vector<int> acknowledged;
  for (int round = 0; round < 10; ++round) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(ends[0]);
      RunChild(MakeOptions(keys_, Path()), keys_, round * 1'000'000, ends[1]);
    }
    close(ends[1]);
    int number = 0;
    // Once it has begun to answer, somewhere in the next milliseconds.
    if (read(ends[0], &number, sizeof number) == sizeof number) acknowledged.push_back(number);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    kill(child, SIGKILL);
    while (read(ends[0], &number, sizeof number) == sizeof number) acknowledged.push_back(number);
    close(ends[0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself with " << WEXITSTATUS(status);

    const std::unique_ptr<Log> log = MustOpen();
    ASSERT_NE(log, nullptr);
    std::map<std::string, int> seen;
    std::vector<Digest> hashes;
    ASSERT_TRUE(log->ForEachEntry(0, ~uint64_t{0}, {},
                                  [&](const StoredEntry& entry) {
                                    hashes.push_back(entry.leaf_hash);
                                    ++seen[entry.entry.statements[0].statement];
                                    return absl::OkStatus();
                                  })
                    .ok());
    EXPECT_EQ(RootOf(hashes), log->CheckpointNote().checkpoint.root);
    for (const auto& [statement, times] : seen) EXPECT_EQ(times, 1);
    for (const int wanted : acknowledged) {
      EXPECT_EQ(seen.count(MakeDecision(keys_, kSubject, "deny", wanted).statements[0].statement), 1u)
          << wanted;
    }
  }
  EXPECT_GE(acknowledged.size(), 10u);
}

TEST_F(LogDamageTest, OneProcessAtATime) {
  const std::unique_ptr<Log> log = MustOpen();
  const absl::Status status = OpenStatus(MakeOptions(keys_, Path()));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(std::string(status.message()).find("another process holds the log open"), std::string::npos)
      << status;
}

TEST_F(LogDamageTest, OtherIdentityIsRefused) {
  Fill(1);
  LogOptions options = MakeOptions(keys_, Path());
  options.vault_key.fill(8);
  EXPECT_EQ(OpenStatus(options).code(), absl::StatusCode::kFailedPrecondition);
  options = MakeOptions(keys_, Path());
  options.project = "projects/other";
  EXPECT_EQ(OpenStatus(options).code(), absl::StatusCode::kFailedPrecondition);
  options = MakeOptions(keys_, Path());
  const SigningKey other = *SigningKey::FromSeed(kOrigin, AsView(Sha256("other")));
  options.log_key = &other;
  EXPECT_EQ(OpenStatus(options).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(MustOpen(), nullptr);
}

TEST_F(LogDamageTest, BadOptionsAreRefused) {
  LogOptions options = MakeOptions(keys_, Path());
  options.now_us = nullptr;
  EXPECT_EQ(OpenStatus(options).code(), absl::StatusCode::kInvalidArgument);
  options = MakeOptions(keys_, Path());
  options.origin = "another";
  EXPECT_EQ(OpenStatus(options).code(), absl::StatusCode::kInvalidArgument);
  options = MakeOptions(keys_, Path());
  options.trusted_keys[0].role = "log";
  EXPECT_EQ(OpenStatus(options).code(), absl::StatusCode::kInvalidArgument);
  options = MakeOptions(keys_, Path());
  options.trusted_keys.push_back(options.trusted_keys[0]);
  EXPECT_EQ(OpenStatus(options).code(), absl::StatusCode::kInvalidArgument);
  options = MakeOptions(keys_, Path());
  options.queue_max = 0;
  EXPECT_EQ(OpenStatus(options).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(LogDamageTest, AFlippedBitInTheTailStopsTheOpening) {
  Fill(20);
  Overwrite(Family::kEntries, internal::BigEndian(12), [](std::string& leaf) { leaf[40] ^= 1; });
  const absl::Status status = OpenStatus(MakeOptions(keys_, Path()));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
}

TEST_F(LogDamageTest, AMissingEntryStopsTheOpening) {
  Fill(3);
  Overwrite(Family::kIndex, internal::MetaKey("head"), [](std::string& head) { ++head[7]; });
  EXPECT_EQ(OpenStatus(MakeOptions(keys_, Path())).code(), absl::StatusCode::kDataLoss);
}

TEST_F(LogDamageTest, ASignedHeadIsNeverTakenBack) {
  Fill(3);
  std::string old_head;
  Overwrite(Family::kIndex, internal::MetaKey("head"), [&](std::string& head) { old_head = head; });
  Fill(6);
  Overwrite(Family::kIndex, internal::MetaKey("head"), [&](std::string& head) { head = old_head; });
  const absl::Status status = OpenStatus(MakeOptions(keys_, Path()));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(std::string(status.message()).find("was signed, but the log holds"), std::string::npos) << status;
}

TEST_F(LogDamageTest, OldEntriesAreCheckedWhenRead) {
  Fill(600);
  Overwrite(Family::kEntries, internal::BigEndian(50), [](std::string& leaf) { leaf[40] ^= 1; });
  const std::unique_ptr<Log> log = MustOpen();
  ASSERT_NE(log, nullptr);
  EXPECT_EQ(log->ReadEntry(50).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(log->ReadEntry(51).ok());
}

TEST_F(LogDamageTest, ChangedPayloadsAndAttachmentsAreDataLoss) {
  {
    const std::unique_ptr<Log> log = MustOpen();
    ASSERT_TRUE(log->Append(MakeSample(keys_, {})).ok());
    ASSERT_TRUE(log->Append(MakePolicyPack(keys_, "pack")).ok());
  }
  Overwrite(Family::kPayloads, internal::BigEndian(6), [](std::string& sealed) { sealed[3] ^= 1; });
  Overwrite(Family::kAttachments, std::string(AsView(Sha256("pack"))),
            [](std::string& pack) { pack[0] ^= 1; });
  const std::unique_ptr<Log> log = MustOpen();
  EXPECT_EQ(log->ReadPayload(6).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(log->ReadAttachment(Sha256("pack")).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(LogDamageTest, DamagedDatabaseFilesAreDataLoss) {
  Fill(300);
  { MustOpen(); }  // moves the entries from the write-ahead log into table files
  int damaged = 0;
  for (const auto& file : fs::directory_iterator(Path())) {
    const std::string extension = file.path().extension().string();
    if (extension != ".sst" || file.file_size() < 20'000) continue;
    std::string bytes = ReadWholeFile(file.path().string());
    for (size_t i = 1000; i < bytes.size() - 1000; i += 500) bytes[i] ^= 1;
    WriteWholeFile(file.path().string(), bytes);
    ++damaged;
  }
  ASSERT_GT(damaged, 0);
  EXPECT_EQ(OpenStatus(MakeOptions(keys_, Path())).code(), absl::StatusCode::kDataLoss);
}

TEST_F(LogDamageTest, AMissingTableFileIsNotOverlooked) {
  Fill(300);
  { MustOpen(); }
  for (const auto& file : fs::directory_iterator(Path())) {
    if (file.path().extension() == ".sst") fs::remove(file.path());
  }
  EXPECT_EQ(OpenStatus(MakeOptions(keys_, Path())).code(), absl::StatusCode::kDataLoss);
}

// The storage seam: a disk that has no room for the write-ahead log while `full` is set.
class FullDiskFile : public rocksdb::WritableFileWrapper {
 public:
  FullDiskFile(std::unique_ptr<rocksdb::WritableFile> file, const std::atomic<bool>& full)
      : WritableFileWrapper(file.get()), file_(std::move(file)), full_(full) {}
  rocksdb::Status Append(const rocksdb::Slice& data) override {
    if (full_) return rocksdb::Status::NoSpace("test disk");
    return file_->Append(data);
  }
  rocksdb::Status Append(const rocksdb::Slice& data, const rocksdb::DataVerificationInfo&) override {
    return Append(data);
  }

 private:
  std::unique_ptr<rocksdb::WritableFile> file_;
  const std::atomic<bool>& full_;
};

class FullDisk : public rocksdb::EnvWrapper {
 public:
  FullDisk() : EnvWrapper(rocksdb::Env::Default()) {}
  const char* Name() const override { return "FullDisk"; }
  rocksdb::Status NewWritableFile(const std::string& path, std::unique_ptr<rocksdb::WritableFile>* file,
                                  const rocksdb::EnvOptions& options) override {
    const rocksdb::Status status = EnvWrapper::NewWritableFile(path, file, options);
    if (status.ok()) *file = std::make_unique<FullDiskFile>(std::move(*file), full);
    return status;
  }
  std::atomic<bool> full{false};
};

TEST_F(LogDamageTest, AFullDiskTurnsTheLogReadOnlyUntilItIsOpenedAgain) {
  FullDisk disk;
  LogOptions options = MakeOptions(keys_, Path());
  options.storage = &disk;
  absl::StatusOr<std::unique_ptr<Log>> log = Log::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  const absl::StatusOr<AppendedEntry> first = (*log)->Append(MakeSample(keys_, {.index = 0}));
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string note = (*log)->CheckpointNote().note;
  disk.full = true;
  EXPECT_EQ((*log)->Append(MakeSample(keys_, {.index = 1})).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE((*log)->read_only());
  EXPECT_EQ((*log)->CheckpointNote().note, note);
  disk.full = false;
  EXPECT_EQ((*log)->Append(MakeSample(keys_, {.index = 1})).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(
      (*log)->Append(MakeSample(keys_, {.index = 0}))->repeated);  // what is there can still be asked for
  EXPECT_TRUE((*log)->ReadEntry(first->index).ok());
  log->reset();
  log = Log::Open(options);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_TRUE((*log)->Append(MakeSample(keys_, {.index = 1})).ok());
}

TEST_F(LogDamageTest, AFolderThatCannotBeMadeIsUnavailable) {
  WriteWholeFile(folder_ / "file", "x");
  LogOptions options = MakeOptions(keys_, folder_ / "file/log");
  EXPECT_EQ(OpenStatus(options).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace retort::ledger
