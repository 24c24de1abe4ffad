// Arbitrary bytes as an HTTP answer. The first byte picks how it is read; an accepted answer keeps what the
// header promises.
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "teacher/openai_chat.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort::teacher;
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const int top_logprobs = data[0] % 4;
  const auto answer = ReadChatResponse(body, top_logprobs);
  if (answer.ok()) {
    assert(top_logprobs > 0 || answer->positions.empty());
    assert(answer->prompt_tokens >= 0 && answer->completion_tokens >= 0);
    for (const auto& position : answer->positions) {
      assert(position.chosen.logprob <= 0);
      float above = 0;
      for (const auto& alternative : position.top) {
        assert(std::isfinite(alternative.logprob) && alternative.logprob <= above);
        above = alternative.logprob;
      }
    }
  }
  const int statuses[] = {200, 302, 400, 402, 429, 500, 529};
  const ChatError error = ReadChatError(statuses[data[0] % 7], body);
  assert(!error.status.ok());
  assert(error.status.message().size() < 400);
  return 0;
}
