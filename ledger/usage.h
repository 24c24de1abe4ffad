// What one attempt of a training run used: the `usage` member of a TRAINING statement of phase "usage".
//
// A run may take several attempts (processes): stopped, failed, killed, repeated. Each leaves one such
// record, numbered 1, 2, ... within (job uid, run), so that what a student took can be added up, not only
// what its last attempt took. docs/formats/ledger.md lists the members; the money in it can be computed again
// from the rest.
#ifndef LEDGER_USAGE_H_
#define LEDGER_USAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace retort::ledger {

// Numbers that are not integers are decimal strings (ledger/fixed_decimal.h, canonical); empty means unknown.
struct TrainingUsage {
  int64_t attempt = 1;  // from 1, without gaps
  // finished: the run was done (again); stopped: by a signal, at a checkpoint; failed: by an error; lost: the
  // process ended without saying so, and everything here is as of its last durable record.
  std::string outcome;
  int64_t first_step = 0, last_step = 0;  // it began after first_step and got to last_step
  int64_t tokens = 0;                     // forwarded in training by this attempt
  std::string begun_time, ended_time;

  std::string device;          // "cpu, 2 threads", "NVIDIA H100 80GB HBM3"
  int64_t devices = 1;         // that worked at once
  std::string device_seconds;  // wall time times devices

  std::string energy_source;   // none, rapl, nvml, declared (student/device/energy.h)
  std::string energy_kwh;      // empty if and only if the source is none
  std::string declared_watts;  // per device; given if and only if the source is declared

  std::string currency;           // three capital letters; empty if and only if no price is declared
  std::string price_device_hour;  // declared; may be empty
  std::string price_kwh;          // declared; may be empty
  std::string device_cost;        // price_device_hour * device_seconds / 3600
  std::string energy_cost;        // price_kwh * energy_kwh
};

// Fills device_cost and energy_cost from the prices, exactly, rounded half up to nine digits; leaves empty
// what a price or a quantity is missing for. InvalidArgument naming the member that is no canonical decimal;
// OutOfRange when a product is.
absl::Status FillCosts(TrainingUsage& usage);

// OK when every member fits the others as described above, costs included; InvalidArgument naming the first
// that does not, what was seen and what is wanted.
absl::Status CheckUsage(const TrainingUsage& usage);

}  // namespace retort::ledger

#endif  // LEDGER_USAGE_H_
