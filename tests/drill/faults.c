/* Faults inside a process that knows nothing of them, for tests/drill: a disk whose every sync takes long, and a clock that is
 * wrong. Preloaded; what is to happen stands in the file that RETORT_FAULTS names, two numbers that may change at any time:
 * milliseconds that each fsync, fdatasync and sync_file_range takes longer, and seconds that the wall clock is off. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct faults {
  int64_t sync_milliseconds;
  int64_t clock_seconds;
};

static const volatile struct faults none;
static const volatile struct faults *now = &none;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
  real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  const char *path = getenv("RETORT_FAULTS");
  const int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof(struct faults), PROT_READ, MAP_SHARED, file, 0);
  if (mapped != MAP_FAILED) now = mapped;
  close(file);
}

static void rest(void) {
  const struct timespec time = {now->sync_milliseconds / 1000, now->sync_milliseconds % 1000 * 1000000};
  if (now->sync_milliseconds > 0) nanosleep(&time, NULL);
}

int fsync(int file) {
  rest();
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}

int fdatasync(int file) {
  rest();
  return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  const int result = real_clock_gettime(clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += now->clock_seconds;
  return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  (void)zone;
  struct timespec exact;
  if (clock_gettime(CLOCK_REALTIME, &exact) != 0) return -1;
  time->tv_sec = exact.tv_sec;
  time->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (out != NULL) *out = exact.tv_sec;
  return exact.tv_sec;
}
