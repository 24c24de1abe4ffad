// Chat templates that are known here. A model carries its template as a Jinja program; running programs from
// a model file is not for us, so a template is recognised by its text or refused.
#ifndef STUDENT_TOKENIZER_CHAT_TEMPLATE_H_
#define STUDENT_TOKENIZER_CHAT_TEMPLATE_H_

#include <optional>
#include <string>
#include <string_view>

namespace retort::student {

// ChatML: each turn is <|im_start|> role \n content <|im_end|> \n, and a prompt ends with
// <|im_start|>assistant\n.
struct ChatMl {
  // Content of the system turn that is put first when the conversation does not begin with one; nothing for
  // none.
  std::optional<std::string> default_system;
};

// The template that the Jinja source stands for: SmolLM2's, or plain ChatML; nothing when it is neither.
std::optional<ChatMl> RecogniseChatTemplate(std::string_view jinja);

// Jinja source of SmolLM2-Instruct's template, for tests and for students made without a file that has one.
std::string_view SmolLm2ChatTemplate();

}  // namespace retort::student

#endif  // STUDENT_TOKENIZER_CHAT_TEMPLATE_H_
