#include "student/parallel/rank_alarm.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tests/student/parallel/rank_processes.h"

namespace retort::student {
namespace {

std::unique_ptr<RankAlarm> OpenOrFail(const std::string& name, int rank, int world) {
  std::string problem;
  auto alarm = RankAlarm::Open(name, rank, world, &problem);
  EXPECT_NE(alarm, nullptr) << problem;
  return alarm;
}

bool Exists(const std::string& name) {
  const int file = shm_open(name.c_str(), O_RDWR, 0);
  if (file >= 0) close(file);
  return file >= 0;
}

TEST(RankAlarmTest, TheFirstReasonIsHeardByAll) {
  const std::string name = FreshName();
  const auto a = OpenOrFail(name, 0, 3), b = OpenOrFail(name, 1, 3), c = OpenOrFail(name, 2, 3);
  EXPECT_EQ(a->Look(), "");
  b->Raise("rank 1: the disk is full");
  c->Raise("rank 2: something else");
  for (RankAlarm* alarm : {a.get(), b.get(), c.get()}) EXPECT_EQ(alarm->Look(), "rank 1: the disk is full");
}

TEST(RankAlarmTest, AProcessThatIsKilledIsNamed) {
  const std::string name = FreshName();
  const auto own = OpenOrFail(name, 0, 2);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    std::string problem;
    const auto alarm = RankAlarm::Open(name, 1, 2, &problem);
    if (write(ready[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(own->Missing(), "");
  EXPECT_EQ(own->Look(), "");
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(own->Look(), "rank 1 ended in the middle of the run");
  close(ready[0]);
  close(ready[1]);
}

TEST(RankAlarmTest, LeavingInGoodOrderAlarmsNobody) {
  const std::string name = FreshName();
  const auto a = OpenOrFail(name, 0, 2);
  OpenOrFail(name, 1, 2).reset();
  EXPECT_EQ(a->Look(), "");
}

TEST(RankAlarmTest, RanksThatHaveNotComeAreNamed) {
  const std::string name = FreshName();
  const auto a = OpenOrFail(name, 2, 5);
  EXPECT_EQ(a->Missing(), "0, 1, 3, 4");
  const auto b = OpenOrFail(name, 1, 5);
  EXPECT_EQ(a->Missing(), "0, 3, 4");
}

TEST(RankAlarmTest, NothingIsLeftBehind) {
  const std::string name = FreshName();
  auto a = OpenOrFail(name, 0, 2);
  EXPECT_TRUE(Exists(name));
  a->RemoveName();
  EXPECT_FALSE(Exists(name));
  const std::string other = FreshName();
  OpenOrFail(other, 0, 2).reset();
  EXPECT_FALSE(Exists(other));
}

TEST(RankAlarmTest, WhatDoesNotFitIsRefused) {
  std::string problem;
  const std::string name = FreshName();
  const auto a = OpenOrFail(name, 0, 2);
  const auto refused = [&](const std::string& page, int rank, int world) {
    EXPECT_EQ(RankAlarm::Open(page, rank, world, &problem), nullptr);
    return problem;
  };
  EXPECT_NE(refused("no slash", 0, 2).find("wanted / and 1 to 200"), std::string::npos) << problem;
  EXPECT_NE(refused(name, 2, 2).find("rank 2 of 2"), std::string::npos) << problem;
  EXPECT_NE(refused(name, 0, RankAlarm::kRanksMax + 1).find("wanted at most 2048"), std::string::npos)
      << problem;
  EXPECT_NE(refused(name, 0, 2).find("another process is rank 0"), std::string::npos) << problem;
  EXPECT_NE(refused(name, 1, 3).find("made for 2 ranks; wanted 3"), std::string::npos) << problem;
  EXPECT_TRUE(Exists(name));  // it is not the refused one's to remove
  EXPECT_EQ(a->Look(), "");
}

TEST(RankAlarmTest, ALongReasonIsCut) {
  const std::string name = FreshName();
  const auto a = OpenOrFail(name, 0, 2), b = OpenOrFail(name, 1, 2);
  a->Raise(std::string(5000, 'x'));
  EXPECT_EQ(b->Look(), std::string(RankAlarm::kReasonBytesMax, 'x'));
}

}  // namespace
}  // namespace retort::student
