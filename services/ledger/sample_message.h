// What stands about a sample, as the API shows it: never its text.
#ifndef SERVICES_LEDGER_SAMPLE_MESSAGE_H_
#define SERVICES_LEDGER_SAMPLE_MESSAGE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "ledger/log.h"
#include "retort/ledger/v1/ledger.pb.h"

namespace retort::services {

// The index of the SAMPLE entry that the id of a sample names: s57 is 57. InvalidArgument naming `field`.
absl::StatusOr<uint64_t> SampleEntryOf(std::string_view field, const std::string& sample_id);

// `job` is projects/{project}/jobs/{job}. DataLoss when stored entries cannot be read.
absl::StatusOr<ledger::v1::Sample> SampleMessage(const ledger::Log& log, const std::string& job,
                                                 const std::string& job_uid,
                                                 const ledger::SampleStanding& standing);

}  // namespace retort::services

#endif  // SERVICES_LEDGER_SAMPLE_MESSAGE_H_
