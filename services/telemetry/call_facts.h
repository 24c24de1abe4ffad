// What metrics take from the messages of a call: ids and counts, never text.
#ifndef SERVICES_TELEMETRY_CALL_FACTS_H_
#define SERVICES_TELEMETRY_CALL_FACTS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "retort/ledger/v1/ledger.pb.h"
#include "retort/teacher/v1/teacher.pb.h"

namespace retort::services {

struct SampleFacts {
  std::string teacher;  // its id
  std::string verdict;  // allow, review or deny
  std::string rule;     // <pack>/<rule>: the first with that verdict; "none" when no rule decided
};

// Nothing for other kinds, and for statements that do not parse: the ledger refuses those.
std::optional<SampleFacts> FactsOf(const ledger::v1::AppendEntryRequest& request);

struct AnswerFacts {
  int64_t input_tokens = 0, output_tokens = 0;
  std::string provider, model_requested, model_answered, response_id, finish_reason;
};

// Nothing when the capture does not parse.
std::optional<AnswerFacts> FactsOf(const teacher::v1::ExtractResponse& response);

}  // namespace retort::services

#endif  // SERVICES_TELEMETRY_CALL_FACTS_H_
