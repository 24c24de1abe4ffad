#include "student/parallel/rank_locks.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace retort::student {
namespace {

struct flock ByteOf(int rank) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  return lock;
}

}  // namespace

bool LockRank(int file, int rank) {
  struct flock lock = ByteOf(rank);
  return fcntl(file, F_OFD_SETLK, &lock) == 0;
}

bool RankIsLocked(int file, int rank) {
  struct flock lock = ByteOf(rank);
  return fcntl(file, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

bool IsSharedMemoryName(const std::string& name) {
  if (name.size() < 2 || name.size() > 201 || name[0] != '/') return false;
  return std::all_of(name.begin() + 1, name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

}  // namespace retort::student
