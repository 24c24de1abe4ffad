// What a training run asks of the ledger: its dataset, checked sample by sample, and a place for its
// milestones.
//
// Calls are repeated on Unavailable with growing pauses (0.2 s to 5 s) until `patience` has passed, so a run
// outlives a restart of the ledger; then the last Unavailable is returned. `stop` is asked between attempts
// and ends the wait with Cancelled. One thread at a time.
#ifndef SERVICES_TRAIN_LEDGER_CLIENT_H_
#define SERVICES_TRAIN_LEDGER_CLIENT_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/approved_sample.h"
#include "ledger/signed_statement.h"
#include "retort/ledger/v1/ledger.grpc.pb.h"

namespace retort::train {

struct DatasetQuestion {
  std::string project;   // projects/{project}
  std::string log_vkey;  // the one trusted thing
  std::string job_uid;   // whose dataset it must be
  uint64_t entry = 0;    // index of the DATASET entry
};

struct Dataset {
  std::vector<ledger::ApprovedSample> train, held_out;  // in manifest order
};

class LedgerClient {
 public:
  // `log` gets lines for people.
  LedgerClient(std::unique_ptr<retort::ledger::v1::LedgerService::StubInterface> stub,
               std::function<bool()> stop, std::function<void(std::string_view)> log,
               std::chrono::milliseconds patience = std::chrono::minutes(10));

  // Reads a whole dataset through ledger::DatasetReader. DataLoss, PermissionDenied, InvalidArgument: a
  // sample or the header does not pass its checks; nothing of the dataset is returned then. Other codes are
  // the service's.
  absl::StatusOr<Dataset> ReadDataset(const DatasetQuestion& question);

  // How many of `request_ids`, counted from the first, are in the log without a gap. At most 1000 ids.
  absl::StatusOr<size_t> CountKnown(const std::string& project, const std::vector<std::string>& request_ids);

  // Appends a TRAINING entry and returns its index; the same statement again returns the same index.
  absl::StatusOr<int64_t> AppendTraining(const std::string& project, const ledger::SignedStatement& statement,
                                         const std::string& attachment);

 private:
  absl::Status Repeat(std::string_view what, const std::function<absl::Status()>& attempt);
  absl::Status ReadOnce(const DatasetQuestion& question, Dataset& dataset);

  std::unique_ptr<retort::ledger::v1::LedgerService::StubInterface> stub_;
  std::function<bool()> stop_;
  std::function<void(std::string_view)> log_;
  std::chrono::milliseconds patience_;
};

}  // namespace retort::train

#endif  // SERVICES_TRAIN_LEDGER_CLIENT_H_
