// What retort-train wrote on its standard error, for the log of its job. A trainer says no text of a sample.
#ifndef SERVICES_JOBS_TRAINER_LOG_H_
#define SERVICES_JOBS_TRAINER_LOG_H_

#include <cstdint>
#include <filesystem>
#include <vector>

#include "retort/jobs/v1/jobs.pb.h"

namespace retort::jobs {

// Bytes of one launch that go into the log: the newest, since the end says how it ended.
inline constexpr int64_t kTrainerLogBytesMax = 64 * 1024;

// The size of a file; 0 when it is not there.
int64_t BytesOf(const std::filesystem::path& path);

// The lines of the file from byte `from` on, of at most its last kTrainerLogBytesMax bytes; none when it
// cannot be read.
std::vector<v1::JobLogLine> TrainerLines(const std::filesystem::path& path, int64_t from);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_TRAINER_LOG_H_
