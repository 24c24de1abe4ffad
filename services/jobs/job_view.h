// What a stored job shows to clients besides what is stored: a reason and a sentence for every state that is
// not an end, and its place in the queue (AIP-216).
#ifndef SERVICES_JOBS_JOB_VIEW_H_
#define SERVICES_JOBS_JOB_VIEW_H_

#include <string>
#include <string_view>

#include "retort/jobs/v1/jobs.pb.h"

namespace retort::jobs {

// What jobs wait for, as Job.blocking_resource says it. No job is named: it might be another project's.
inline constexpr char kJobSlots[] = "server/job-slots";
inline constexpr char kTrainingPlace[] = "server/training";
inline constexpr char kCluster[] = "services/cluster";

// True when nothing happens to the job any more: SUCCEEDED, FAILED or CANCELLED.
bool IsTerminal(v1::Job::State state);

// True when the job is not worked on until somebody asks: an end, PAUSED or AWAITING_REVIEW.
bool IsResting(v1::Job::State state);

// Fills state_reason and state_message where they are empty, and queue_position and blocking_resource of a
// queued job. `queue_position` counts from 1 within the project; 0: not queued.
void ShowState(int queue_position, v1::Job& job);

// The resource that a peer is: "teacher" is services/teacher.
std::string ResourceOf(std::string_view peer);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_JOB_VIEW_H_
