// What a rank other than 0 does: the same calls of the trainer as Run makes on rank 0, and nothing else. It
// reads and checks the dataset itself; it has no run folder, appends nothing, and says nothing on standard
// output.
#ifndef SERVICES_TRAIN_FOLLOW_H_
#define SERVICES_TRAIN_FOLLOW_H_

#include "absl/status/status.h"
#include "services/train/ledger_client.h"
#include "services/train/run.h"
#include "student/tokenizer/tokenizer.h"

namespace retort::train {

// OK: the run has finished. Cancelled: it stopped at a checkpoint, since some rank was asked to. Unavailable:
// another rank has ended it. Other errors as Run's. options.world is not null.
absl::Status Follow(const RunOptions& options, const student::Tokenizer& tokenizer, LedgerClient& client);

}  // namespace retort::train

#endif  // SERVICES_TRAIN_FOLLOW_H_
