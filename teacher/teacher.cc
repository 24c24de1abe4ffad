#include "teacher/teacher.h"

#include <cstddef>
#include <string_view>

namespace retort::teacher {
namespace {

constexpr size_t kMessagesMax = 64;
constexpr size_t kTextBytesMax = 256 << 10;
constexpr size_t kStopsMax = 4;
constexpr size_t kStopBytesMax = 64;
constexpr int kTokensMax = 8192;
constexpr int kTopLogprobsMax = 64;
constexpr uint64_t kSeedMax = (uint64_t{1} << 53) - 1;  // what every JSON reader keeps exact

absl::Status Wrong(const std::string& field, const std::string& seen, const std::string& wanted) {
  return absl::InvalidArgumentError(field + ": saw " + seen + ", wanted " + wanted);
}

// Well-formed UTF-8 as RFC 3629 has it: shortest forms only, no surrogates, nothing above U+10FFFF.
bool IsUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<uint8_t>(text[i]);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() - i < length) return false;
    const auto second = static_cast<uint8_t>(text[i + 1]);
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
        (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) {
      return false;
    }
    for (size_t j = 1; j < length; ++j) {
      if ((static_cast<uint8_t>(text[i + j]) & 0xC0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

absl::Status ValidateMessages(const std::vector<Turn>& messages) {
  if (messages.empty() || messages.size() > kMessagesMax) {
    return Wrong("messages", std::to_string(messages.size()), "1 to 64 messages");
  }
  size_t bytes = 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string field = "messages[" + std::to_string(i) + "]";
    const Turn& turn = messages[i];
    if (turn.role != "system" && turn.role != "user" && turn.role != "assistant") {
      return Wrong(field + ".role", "another role", "system, user or assistant");
    }
    if (!IsUtf8(turn.content)) return Wrong(field + ".content", "bytes that are not UTF-8", "UTF-8 text");
    bytes += turn.content.size();
    if (bytes > kTextBytesMax) return Wrong("messages", "more than 256 KiB of text", "at most 262144 bytes");
  }
  return absl::OkStatus();
}

absl::Status ValidateSampling(const Sampling& sampling) {
  if (!(sampling.temperature >= 0 && sampling.temperature <= 2)) {  // false for NaN
    return Wrong("sampling.temperature", std::to_string(sampling.temperature), "0 to 2");
  }
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) {
    return Wrong("sampling.top_p", std::to_string(sampling.top_p), "more than 0, at most 1");
  }
  if (sampling.seed > kSeedMax)
    return Wrong("sampling.seed", std::to_string(sampling.seed), "at most 2^53 - 1");
  if (sampling.max_tokens < 1 || sampling.max_tokens > kTokensMax) {
    return Wrong("sampling.max_tokens", std::to_string(sampling.max_tokens), "1 to 8192");
  }
  if (sampling.top_logprobs < 0 || sampling.top_logprobs > kTopLogprobsMax) {
    return Wrong("sampling.top_logprobs", std::to_string(sampling.top_logprobs), "0 to 64");
  }
  if (sampling.stop.size() > kStopsMax) {
    return Wrong("sampling.stop", std::to_string(sampling.stop.size()) + " strings", "at most 4");
  }
  for (const std::string& stop : sampling.stop) {
    if (stop.empty() || stop.size() > kStopBytesMax || !IsUtf8(stop)) {
      return Wrong("sampling.stop", "a string of " + std::to_string(stop.size()) + " bytes",
                   "1 to 64 bytes of UTF-8");
    }
  }
  return absl::OkStatus();
}

}  // namespace

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kContentFilter:
      return "content_filter";
  }
  return "stop";  // not reached: the switch names every value
}

absl::Status ValidateRequest(const CompletionRequest& request) {
  if (auto messages = ValidateMessages(request.messages); !messages.ok()) return messages;
  return ValidateSampling(request.sampling);
}

}  // namespace retort::teacher
