// Accounts for what a run uses: meters this attempt, and brings every attempt's record into the ledger.
#ifndef SERVICES_TRAIN_ACCOUNT_H_
#define SERVICES_TRAIN_ACCOUNT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/signing.h"
#include "ledger/usage.h"
#include "services/train/ledger_client.h"
#include "services/train/report.h"
#include "services/train/usage_log.h"

namespace retort::train {

// What the operator declares; decimal strings (ledger/fixed_decimal.h, canonical), empty when not declared.
struct Prices {
  std::string currency, device_hour, kwh;
};

// Canonical forms of what an operator wrote. InvalidArgument naming the flag: a price that is no decimal, a
// currency that is not three capital letters, a price without a currency or the other way round.
absl::StatusOr<Prices> ParsePrices(std::string_view currency, std::string_view device_hour,
                                   std::string_view kwh);

// Appends every pending record of `log`, oldest first, and marks it. `manifest` is the training manifest's
// JSON, attached because a run that died early may not have attached it. Errors are those of LedgerClient and
// UsageLog; records before the failing one are in the ledger by then.
absl::Status Settle(UsageLog& log, const std::string& manifest, const ledger::SigningKey& key,
                    LedgerClient& client, const std::function<void(std::string_view)>& say);

// Meters one attempt. One thread.
class Attempt {
 public:
  // `instruments` and `log` outlive it. declared_watts as in
  // TrainingUsage; given if and only if the meter's source is declared.
  Attempt(int64_t number, const Instruments& instruments, const Prices& prices,
          const std::string& declared_watts, UsageLog& log);

  // The position of a trainer that resumed after the attempt began.
  void SetFirstStep(int64_t step) { usage_.first_step = usage_.last_step = step; }
  void Add(const student::TrainedStep& step);

  // Writes what has been used so far, as a process that may die now would leave it. Errors of
  // UsageLog::Write; OutOfRange when a cost is.
  absl::Status Record() { return Write("lost"); }
  // Writes the last word: finished, stopped or failed.
  absl::Status End(const char* outcome) { return Write(outcome); }

  const ledger::TrainingUsage& usage() const { return usage_; }

 private:
  absl::Status Write(const char* outcome);

  const Instruments& instruments_;
  UsageLog& log_;
  ledger::TrainingUsage usage_;
};

}  // namespace retort::train

#endif  // SERVICES_TRAIN_ACCOUNT_H_
