#include "services/telemetry/call_facts.h"

#include <algorithm>

#include "ledger/statement.h"

namespace retort::services {

std::optional<SampleFacts> FactsOf(const ledger::v1::AppendEntryRequest& request) {
  if (request.kind() != ledger::v1::ENTRY_KIND_SAMPLE || request.statements_size() != 2) return std::nullopt;
  const auto capture = ledger::CaptureStatement::Parse(request.statements(0).statement());
  const auto decision = ledger::DecisionStatement::Parse(request.statements(1).statement());
  if (!capture.ok() || !decision.ok()) return std::nullopt;
  const auto rule =
      std::find_if(decision->rules.begin(), decision->rules.end(),
                   [&](const ledger::MatchedRule& one) { return one.effect == decision->effect; });
  return SampleFacts{.teacher = capture->teacher.substr(capture->teacher.rfind('/') + 1),
                     .verdict = decision->effect,
                     .rule = rule == decision->rules.end() ? "none" : rule->pack + "/" + rule->rule};
}

std::optional<AnswerFacts> FactsOf(const teacher::v1::ExtractResponse& response) {
  auto capture = ledger::CaptureStatement::Parse(response.capture());
  if (!capture.ok()) return std::nullopt;
  return AnswerFacts{.input_tokens = capture->prompt_tokens,
                     .output_tokens = capture->completion_tokens,
                     .provider = capture->provider,
                     .model_requested = capture->model_requested,
                     .model_answered = capture->model_answered,
                     .response_id = capture->response_id,
                     .finish_reason = capture->finish_reason};
}

}  // namespace retort::services
