// A checkpoint: everything that the next step depends on, in one file, and the digest that names it.
//
// The state is canonical JSON (docs/formats/student.md): step, digests of manifest, data and transcript, the
// position in the row stream, the loss, the SHA-256 of every weight tensor, the routers' bias bit for bit,
// and one SHA-256 over each AdamW moment. Its own SHA-256 is the checkpoint's digest, the one in TRAINING
// statements. The file is a safetensors file with the tensors "weights/<name>", "first_moment/<name>",
// "second_moment/<name>" and the state in its metadata; reading it back checks every tensor against the
// state, so a torn, altered or stale file is noticed.
//
// File names: checkpoint-<step, 9 digits>.safetensors.
#ifndef STUDENT_TRAINING_CHECKPOINT_H_
#define STUDENT_TRAINING_CHECKPOINT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "student/model/learner.h"
#include "student/threads/thread_pool.h"

namespace retort::student {

// What a checkpoint says besides its tensors.
struct CheckpointState {
  int64_t step = 0;
  int64_t next_row = 0;           // in the row stream (student/training/row_stream.h)
  std::string manifest_sha256;    // lower-case hex, as all of these
  std::string data_sha256;        // of the documents, in order
  std::string transcript_sha256;  // hash chain over the steps so far
  std::string previous_digest;    // of the checkpoint before; empty at step 0
  std::string loss;               // of the last step, decimal; empty at step 0
  // Compute type and name of the device of the last step, printable ASCII: "bf16 NVIDIA H100 80GB HBM3".
  // Empty: fp32 on a CPU; the state then has no such member.
  std::string computed_on;
};

// The canonical JSON of a state with the digests of the tensors. The same for any number of threads.
std::string DescribeState(const CheckpointState& state, const TrainingState& training, ThreadPool& pool);

// Writes one file, atomically: a process that dies leaves either all of it or nothing under its name.
// `description` is DescribeState of the same arguments. Unavailable when the disk refuses.
absl::Status WriteCheckpoint(const std::string& path, std::string_view description,
                             const TrainingState& training);

struct ReadState {
  CheckpointState state;
  std::string description;  // exact bytes of the state
  std::string digest;       // SHA-256 of it
};

// Reads a file into `training`, whose sets have the layout that is wanted. DataLoss when a tensor is not the
// one that the state names; InvalidArgument when the file is malformed or of another shape; NotFound when it
// is not there. On an error the targets hold unspecified values.
absl::StatusOr<ReadState> ReadCheckpoint(const std::string& path, ThreadPool& pool, TrainingState& training);

// Paths of the checkpoints in a folder, newest step first. Files of other names are not listed.
std::vector<std::string> ListCheckpoints(const std::string& folder);
std::string CheckpointPath(const std::string& folder, int64_t step);

}  // namespace retort::student

#endif  // STUDENT_TRAINING_CHECKPOINT_H_
