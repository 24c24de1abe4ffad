#include "services/teacher/capture.h"

#include <cassert>
#include <charconv>
#include <cstdio>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "retort/teacher/v1/payload.pb.h"
#include "services/edge/status.h"
#include "services/edge/teacher_channel.h"

namespace retort::services {
namespace {

void FillTrace(const teacher::TokenTrace& trace, teacher::v1::TokenTrace* out) {
  out->set_tokenizer_sha256(trace.tokenizer_sha256.data(), trace.tokenizer_sha256.size());
  out->set_vocabulary_size(trace.vocabulary_size);
  out->mutable_prompt_ids()->Add(trace.prompt_ids.begin(), trace.prompt_ids.end());
  out->mutable_completion_ids()->Add(trace.completion_ids.begin(), trace.completion_ids.end());
  out->mutable_completion_logprobs()->Add(trace.completion_logprobs.begin(), trace.completion_logprobs.end());
  out->set_k(trace.k);
  out->mutable_top_ids()->Add(trace.top_ids.begin(), trace.top_ids.end());
  out->mutable_top_logprobs()->Add(trace.top_logprobs.begin(), trace.top_logprobs.end());
  out->mutable_tail_logprobs()->Add(trace.tail_logprobs.begin(), trace.tail_logprobs.end());
}

void FillPosition(const teacher::TextPosition& position, teacher::v1::TextPosition* out) {
  out->mutable_chosen()->set_token(position.chosen.token);
  out->mutable_chosen()->set_logprob(position.chosen.logprob);
  for (const teacher::TextAlternative& alternative : position.top) {
    auto* top = out->add_top();
    top->set_token(alternative.token);
    top->set_logprob(alternative.logprob);
  }
}

}  // namespace

absl::Status CheckPayloadFits(const teacher::CompletionRequest& question, bool local) {
  // Varints of ids take up to 3 bytes below 2^21, floats 4. Text of a local answer is at most 128 bytes a
  // token; that of a remote one is in the JSON, in the text and in the positions.
  const size_t per_alternative = local ? 7 : 128;
  const size_t per_token = local ? 3 + 4 + 4 + 128 : 3 * 128;
  size_t bytes = 4096;
  for (const teacher::Turn& turn : question.messages) {
    bytes += 64 + turn.content.size() * (local ? 4 : 3);  // text and ids, or text and escaped text
  }
  const auto tokens = static_cast<size_t>(question.sampling.max_tokens);
  bytes += tokens * (per_token + static_cast<size_t>(question.sampling.top_logprobs) * per_alternative);
  if (bytes <= kSamplePayloadBytesMax) return absl::OkStatus();
  return WithReason(absl::InvalidArgumentError(
                        "sampling: an answer of " + std::to_string(tokens) + " tokens with " +
                        std::to_string(question.sampling.top_logprobs) + " alternatives each may take " +
                        std::to_string(bytes) + " bytes, a ledger entry holds " +
                        std::to_string(kSamplePayloadBytesMax) + "; lower max_tokens or top_logprobs"),
                    LIMIT_EXCEEDED);
}

std::string SerialisePayload(const teacher::CompletionRequest& question, const teacher::Completion& answer) {
  teacher::v1::SamplePayload payload;
  for (const teacher::Turn& turn : question.messages) {
    auto* message = payload.add_messages();
    message->set_role(turn.role);
    message->set_content(turn.content);
  }
  payload.set_completion(answer.text);
  payload.set_raw_request(answer.raw_request);
  payload.set_raw_response(answer.raw_response);
  if (answer.trace) FillTrace(*answer.trace, payload.mutable_trace());
  for (const teacher::TextPosition& position : answer.positions)
    FillPosition(position, payload.add_positions());
  return payload.SerializeAsString();
}

ledger::CaptureStatement MakeCapture(const CaptureInput& input) {
  assert(input.salt.size() == 32);
  const teacher::Sampling& sampling = input.call.question.sampling;
  ledger::CaptureStatement capture;
  capture.project = input.call.project;
  capture.request_id = input.call.request_id;
  capture.job = input.key.job();
  capture.job_uid = input.key.job_uid();
  capture.prompt_id = input.key.prompt_id();
  capture.index = input.key.index();
  capture.attempt = input.key.attempt();
  capture.split = input.key.split();
  capture.teacher = input.call.project + "/teachers/" + input.teacher.id;
  capture.provider = input.teacher.provider;
  capture.channel = TeacherChannelName(input.teacher.channel);
  capture.account_class = input.teacher.account_class;
  capture.account_region = input.teacher.account_region;
  capture.model_requested = input.teacher.model;
  capture.model_answered = input.answer.model_answered;
  capture.endpoint = input.identity.endpoint;
  capture.weights_sha256 = input.identity.weights_sha256;
  capture.tokenizer_sha256 = input.identity.tokenizer_sha256;
  capture.acquired_time = input.teacher.acquired_time;
  capture.temperature = StatementDecimal(sampling.temperature);
  capture.top_p = StatementDecimal(sampling.top_p);
  capture.seed = sampling.seed;
  capture.max_tokens = sampling.max_tokens;
  capture.top_logprobs = sampling.top_logprobs;
  capture.requested_time = StatementTime(input.requested_time);
  capture.completed_time = StatementTime(input.completed_time);
  capture.finish_reason = teacher::FinishReasonName(input.answer.finish_reason);
  capture.prompt_tokens = input.answer.prompt_tokens;
  capture.completion_tokens = input.answer.completion_tokens;
  capture.http_status = input.answer.http_status;
  capture.transport_retries = input.answer.transport_retries;
  capture.response_id = input.answer.response_id;
  capture.payload_digest = ledger::HexEncode(ledger::SaltedDigest(input.salt, input.payload));
  capture.payload_bytes = static_cast<int64_t>(input.payload.size());
  return capture;
}

std::string StatementTime(std::chrono::system_clock::time_point time) {
  const auto micros = std::chrono::floor<std::chrono::microseconds>(time);
  const auto days = std::chrono::floor<std::chrono::days>(micros);
  const std::chrono::year_month_day date(days);
  const std::chrono::hh_mm_ss clock(micros - days);
  char text[64];
  std::snprintf(text, sizeof(text), "%04d-%02u-%02uT%02d:%02d:%02d.%06dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return text;
}

std::string StatementDecimal(double value) {
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), value);
  assert(error == std::errc());
  return std::string(text, end);
}

}  // namespace retort::services
