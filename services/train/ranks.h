// How a process of retort-train becomes one rank of a run: which rank the launcher says it is, where the
// ranks meet, what must be the same on all of them.
#ifndef SERVICES_TRAIN_RANKS_H_
#define SERVICES_TRAIN_RANKS_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "retort/jobs/v1/jobs.grpc.pb.h"
#include "student/device/device.h"
#include "student/parallel/collectives.h"
#include "student/parallel/rank_environment.h"
#include "student/training/manifest.h"

namespace retort::train {

struct RankOptions {
  student::ParallelLayout layout;  // --data-ranks, --expert-ranks
  student::RankEnvironment environment;
  std::string job, job_uid;
  std::string binary_sha256;     // DigestOfPrograms
  student::DeviceChoice device;  // "cpu": shared memory; "cuda:<n>": NCCL, which needs `jobs`
  std::chrono::milliseconds join_patience = std::chrono::seconds(120);
  // For a rank that lives but does not come: longer than the longest evaluation and the patience with the
  // ledger.
  std::chrono::milliseconds patience = std::chrono::minutes(30);
};

// Lower-case hex SHA-256 of what computes: the running program, and on a CUDA device the library with its
// kernels (device.library) behind it. Internal when one of them cannot be read.
absl::StatusOr<std::string> DigestOfPrograms(const student::DeviceChoice& device);

// Meets the other ranks. Null when the layout and the environment say that there is one process. `jobs` is
// where ranks meet (ExchangeRendezvous); null: processes of this machine that find each other by the run's
// name alone.
//
// InvalidArgument: the environment's number of processes is not data ranks times expert ranks, or the layout
// does not
//   fit the manifest (student/parallel/layout.h); ranks on CUDA devices without `jobs`.
// FailedPrecondition: ranks have another program, manifest or layout; the message names both sides.
// Unavailable: ranks have not come, or one of them died meanwhile; they are named. A new launch may help.
absl::StatusOr<std::unique_ptr<student::World>> JoinRanks(const RankOptions& options,
                                                          const student::TrainingManifest& manifest,
                                                          retort::jobs::v1::JobsService::StubInterface* jobs,
                                                          const std::function<void(std::string_view)>& log);

}  // namespace retort::train

#endif  // SERVICES_TRAIN_RANKS_H_
