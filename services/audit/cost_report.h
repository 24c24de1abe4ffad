// What training took, added up from the usage entries of a log: the run that made a student beside everything
// that was spent on the way, failed, lost and repeated work included.
//
// All sums are exact decimals (ledger/fixed_decimal.h). What an attempt did not measure or no price was
// declared for is missing from its sum and counted as missing, so a sum never looks more complete than it is.
// Pure.
#ifndef SERVICES_AUDIT_COST_REPORT_H_
#define SERVICES_AUDIT_COST_REPORT_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/fixed_decimal.h"
#include "ledger/usage.h"

namespace retort::services {

// One usage entry.
struct AttemptEntry {
  uint64_t entry = 0;
  std::string job_uid, run;
  ledger::TrainingUsage usage;
};

struct Cost {
  int64_t attempts = 0;
  int64_t steps = 0;  // done; in `everything` with repetitions
  int64_t tokens = 0;
  ledger::FixedDecimal device_seconds;
  ledger::FixedDecimal energy_kwh;
  std::set<std::string> energy_sources;  // of the energy above
  int64_t without_energy = 0;            // attempts that did not measure any
  std::map<std::string, ledger::FixedDecimal> device_cost, energy_cost, total;  // by currency
  int64_t without_device_price = 0;  // attempts without a price for the device
};

struct AttemptCost {
  AttemptEntry entry;
  int64_t kept_steps = 0;      // that the next attempts built on
  int64_t repeated_steps = 0;  // that a later attempt of the run did again
};

struct CostReport {
  std::vector<AttemptCost> attempts;  // in log order
  bool has_final = false;
  std::string final_job_uid, final_run;
  // The run that made the student: of each of its attempts the share of the steps that were kept. An attempt
  // that kept none is not in it.
  Cost final_cost;
  Cost everything;
};

// `entries` in log order; final_run empty when no run has finished. OutOfRange when a sum is.
absl::StatusOr<CostReport> BuildCostReport(std::vector<AttemptEntry> entries,
                                           const std::string& final_job_uid, const std::string& final_run);

// `value` rounded half up to `digits` (0 to 9) after the point, with exactly so many: for people.
std::string Rounded(ledger::FixedDecimal value, int digits);

// "EUR 1.25 + USD 0.50", four digits each; "-" when empty.
std::string MoneyText(const std::map<std::string, ledger::FixedDecimal>& money);

// "0.125 (rapl, 1 attempt not measured)"; "not measured".
std::string EnergyText(const Cost& cost);

// The table for people: final run beside everything, then the attempts. Control bytes are replaced.
std::string CostText(const CostReport& report);

// The same as members of a JSON object; decimals are strings.
std::string CostJson(const CostReport& report);

}  // namespace retort::services

#endif  // SERVICES_AUDIT_COST_REPORT_H_
