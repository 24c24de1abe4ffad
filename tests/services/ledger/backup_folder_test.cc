#include "services/ledger/backup_folder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "services/ledger/project_logs.h"

namespace retort::services {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::system_clock;

class BackupFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/backup_folder_test." + std::to_string(getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  ProjectLogsOptions Options(const std::string& ledger_dir) const {
    ProjectLogsOptions options;
    options.data_dir = ledger_dir;
    options.deployment = "retort.example";
    options.log_key = key_.get();
    options.trusted_keys = {{"teacher", teacher_->vkey()}};
    options.now_us = [] { return int64_t{1'700'000'000'000'000}; };
    return options;
  }
  absl::StatusOr<Backup> BackUp(int keep, int hour) const {
    return BackUpLogs(Ledger(), Backups(), LogKey(), keep,
                      system_clock::from_time_t(1'700'000'000) + hours(hour));
  }
  absl::StatusOr<Backup> Restore(const std::string& name, const std::string& ledger_dir,
                                 bool set_aside = false) const {
    return RestoreLogs({Backups(), name, ledger_dir, set_aside}, LogKey(),
                       system_clock::from_time_t(1'800'000'000));
  }
  std::string Ledger() const { return folder_ + "/data/ledger"; }
  std::string Backups() const { return folder_ + "/backups"; }
  ledger::VerifyingKey LogKey() const { return *ledger::VerifyingKey::Parse(key_->vkey()); }

  std::string folder_;
  const std::unique_ptr<ledger::SigningKey> key_ =
      std::make_unique<ledger::SigningKey>(*ledger::SigningKey::Generate("retort.example/log"));
  const std::unique_ptr<ledger::SigningKey> teacher_ =
      std::make_unique<ledger::SigningKey>(*ledger::SigningKey::Generate("retort.example/teacher"));
};

TEST_F(BackupFolderTest, BringsEveryProjectBack) {
  std::map<std::string, ledger::Checkpoint> heads;
  {
    ProjectLogs logs(Options(Ledger()));
    for (const char* project : {"kitchen", "cellar"}) {
      heads[project] = (*logs.Get(project, true))->CheckpointNote().checkpoint;
    }
    const auto backup = BackUp(3, 0);  // the logs are open
    ASSERT_TRUE(backup.ok()) << backup.status();
    EXPECT_EQ(backup->path, Backups() + "/20231114T221320Z");
    ASSERT_EQ(backup->logs.size(), 2u);
    EXPECT_EQ(backup->logs.at("kitchen").origin, "retort.example/kitchen");
  }
  fs::remove_all(Ledger());
  const auto restored = Restore("", Ledger());
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->path, Backups() + "/20231114T221320Z");
  ProjectLogs again(Options(Ledger()));
  ASSERT_EQ(again.OpenAll(), absl::OkStatus());
  for (const auto& [project, head] : heads) {
    EXPECT_EQ((*again.Get(project, false))->CheckpointNote().checkpoint, head) << project;
  }
}

TEST_F(BackupFolderTest, KeepsTheNewest) {
  { ASSERT_TRUE(ProjectLogs(Options(Ledger())).Get("kitchen", true).ok()); }
  for (int hour = 0; hour < 3; ++hour) ASSERT_TRUE(BackUp(2, hour).ok());
  const auto fourth = BackUp(2, 3);
  ASSERT_TRUE(fourth.ok()) << fourth.status();
  EXPECT_EQ(fourth->removed, std::vector<std::string>{"20231114T231320Z"});
  EXPECT_FALSE(fs::exists(Backups() + "/20231114T221320Z"));  // went with the third
  EXPECT_TRUE(fs::exists(Backups() + "/20231115T001320Z"));
}

TEST_F(BackupFolderTest, AnInterruptedOneIsNoBackupAndGoes) {
  { ASSERT_TRUE(ProjectLogs(Options(Ledger())).Get("kitchen", true).ok()); }
  const std::string partial = Backups() + "/.20200101T000000Z.partial";
  fs::create_directories(partial + "/kitchen");
  fs::create_directories(Backups() + "/lost+found");  // not ours: left alone
  EXPECT_EQ(Restore("", folder_ + "/new").status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(BackUp(1, 0).ok());
  EXPECT_FALSE(fs::exists(partial));
  EXPECT_TRUE(fs::exists(Backups() + "/lost+found"));
}

TEST_F(BackupFolderTest, ADamagedLogLeavesTheOldBackups) {
  { ASSERT_TRUE(ProjectLogs(Options(Ledger())).Get("kitchen", true).ok()); }
  ASSERT_TRUE(BackUp(1, 0).ok());
  for (const auto& file : fs::directory_iterator(Ledger() + "/kitchen")) {
    const std::string name = file.path().filename();
    if (name.rfind("MANIFEST", 0) == 0) std::ofstream(file.path(), std::ios::trunc) << "not a manifest";
  }
  const auto backup = BackUp(1, 1);
  EXPECT_FALSE(backup.ok());
  EXPECT_NE(backup.status().message().find("kitchen"), std::string::npos) << backup.status();
  EXPECT_TRUE(fs::exists(Backups() + "/20231114T221320Z/kitchen"));
  EXPECT_FALSE(fs::exists(Backups() + "/20231114T231320Z"));
}

TEST_F(BackupFolderTest, RefusesWhatItWouldOverwrite) {
  { ASSERT_TRUE(ProjectLogs(Options(Ledger())).Get("kitchen", true).ok()); }
  ASSERT_TRUE(BackUp(1, 0).ok());
  EXPECT_EQ(BackUp(1, 0).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Restore("", Ledger()).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(BackupFolderTest, SetsAsideWhatIsInTheWay) {
  { ASSERT_TRUE(ProjectLogs(Options(Ledger())).Get("kitchen", true).ok()); }
  ASSERT_TRUE(BackUp(1, 0).ok());
  { ASSERT_TRUE(ProjectLogs(Options(Ledger())).Get("cellar", true).ok()); }  // after the backup
  const auto restored = Restore("", Ledger(), /*set_aside=*/true);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->set_aside, Ledger() + ".replaced-20270115T080000Z");
  EXPECT_TRUE(fs::exists(restored->set_aside + "/cellar/CURRENT"));
  EXPECT_TRUE(fs::exists(Ledger() + "/kitchen/CURRENT"));
  EXPECT_FALSE(fs::exists(Ledger() + "/cellar"));
}

// Another process holds the logs: locks of one's own are not seen by fcntl.
TEST_F(BackupFolderTest, NothingIsMovedUnderARunningServer) {
  { ASSERT_TRUE(ProjectLogs(Options(Ledger())).Get("kitchen", true).ok()); }
  ASSERT_TRUE(BackUp(1, 0).ok());
  int ready[2], over[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(over), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(over[1]);
    ProjectLogs logs(Options(Ledger()));
    char byte = logs.OpenAll().ok() ? 'y' : 'n';
    if (write(ready[1], &byte, 1) != 1 || read(over[0], &byte, 1) != 0) _exit(1);
    _exit(0);
  }
  char byte = 'n';
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  const auto restored = Restore("", Ledger(), /*set_aside=*/true);
  EXPECT_EQ(restored.status().code(), absl::StatusCode::kFailedPrecondition) << restored.status();
  EXPECT_NE(restored.status().message().find("process " + std::to_string(child) + " holds"),
            std::string::npos)
      << restored.status();
  EXPECT_TRUE(fs::exists(Ledger() + "/kitchen/CURRENT"));
  close(over[1]);
  waitpid(child, nullptr, 0);
}

TEST_F(BackupFolderTest, SaysWhatIsMissing) {
  EXPECT_EQ(BackUp(1, 0).status().code(), absl::StatusCode::kNotFound);  // no folder of logs
  fs::create_directories(Ledger());
  EXPECT_EQ(BackUp(1, 0).status().code(), absl::StatusCode::kNotFound);  // and one without any
  { ASSERT_TRUE(ProjectLogs(Options(Ledger())).Get("kitchen", true).ok()); }
  ASSERT_TRUE(BackUp(1, 0).ok());
  const auto other = Restore("20200101T000000Z", folder_ + "/new");
  EXPECT_EQ(other.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(other.status().message().find("the newest is 20231114T221320Z"), std::string::npos)
      << other.status();
  for (const char* name : {"../data", "20200101", ".20200101T000000Z.partial"}) {
    EXPECT_EQ(Restore(name, folder_ + "/new").status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_FALSE(fs::exists(folder_ + "/new"));
}

TEST_F(BackupFolderTest, AnotherKeyRestoresNothing) {
  { ASSERT_TRUE(ProjectLogs(Options(Ledger())).Get("kitchen", true).ok()); }
  ASSERT_TRUE(BackUp(1, 0).ok());
  const auto restored = RestoreLogs({.backups_dir = Backups(), .ledger_dir = folder_ + "/new"},
                                    *ledger::VerifyingKey::Parse(teacher_->vkey()), system_clock::now());
  EXPECT_EQ(restored.status().code(), absl::StatusCode::kFailedPrecondition) << restored.status();
  EXPECT_FALSE(fs::exists(folder_ + "/new"));
}

}  // namespace
}  // namespace retort::services
