#include "student/tokenizer/chat_template.h"

namespace retort::student {
namespace {

constexpr std::string_view kSmolLm2 =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
    "Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% "
    "endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
constexpr std::string_view kSmolLm2System =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

constexpr std::string_view kPlain =
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// Jinja reads \n inside quotes as a newline, and files have it both ways.
std::string WithNewlines(std::string_view jinja) {
  std::string out;
  for (size_t i = 0; i < jinja.size(); ++i) {
    if (jinja[i] == '\\' && i + 1 < jinja.size() && jinja[i + 1] == 'n') {
      out += '\n';
      ++i;
    } else {
      out += jinja[i];
    }
  }
  return out;
}

}  // namespace

std::string_view SmolLm2ChatTemplate() {
  return kSmolLm2;
}

std::optional<ChatMl> RecogniseChatTemplate(std::string_view jinja) {
  if (jinja.size() > 2 * kSmolLm2.size()) return std::nullopt;
  const std::string source = WithNewlines(jinja);
  if (source == kSmolLm2) return ChatMl{std::string(kSmolLm2System)};
  if (source == kPlain) return ChatMl{std::nullopt};
  return std::nullopt;
}

}  // namespace retort::student
