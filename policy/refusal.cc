// The refusal test of policy/screening.h: does the answer open the way refusals do?
#include <string>

#include "policy/screening.h"

namespace retort::policy {
namespace {

// The first 256 bytes with ASCII letters lowered, typographic apostrophes made plain, and runs of white space
// made one blank.
std::string Opening(std::string_view text) {
  constexpr size_t kOpeningMax = 256;
  constexpr std::string_view kTypographic = "\xe2\x80\x99";  // U+2019
  std::string opening;
  text = text.substr(0, 4 * kOpeningMax);
  for (size_t i = 0; i < text.size() && opening.size() < kOpeningMax; ++i) {
    const char c = text[i];
    if (text.substr(i).starts_with(kTypographic)) {
      opening += '\'';
      i += kTypographic.size() - 1;
    } else if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      if (!opening.empty() && opening.back() != ' ') opening += ' ';
    } else if (!opening.empty() || (c != '"' && c != '*')) {
      opening += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
  }
  return opening;
}

// Takes the first of `words` that `text` begins with, and returns whether there was one. Longer ones stand
// first.
template <size_t N>
bool Take(std::string_view* text, const std::string_view (&words)[N]) {
  for (const std::string_view word : words) {
    if (!text->starts_with(word)) continue;
    text->remove_prefix(word.size());
    return true;
  }
  return false;
}

constexpr std::string_view kExcuses[] = {"i'm very sorry",
                                         "i'm really sorry",
                                         "i'm so sorry",
                                         "i'm sorry",
                                         "i am sorry",
                                         "i'm afraid",
                                         "i am afraid",
                                         "we're sorry",
                                         "sorry",
                                         "i apologize",
                                         "i apologise",
                                         "my apologies",
                                         "unfortunately",
                                         "as an ai language model",
                                         "as an ai assistant",
                                         "as an ai model",
                                         "as an ai",
                                         "as a language model",
                                         "as a large language model"};
constexpr std::string_view kJoints[] = {", but as an ai language model, ",
                                        ", but as an ai, ",
                                        ", but ",
                                        " but ",
                                        ", ",
                                        ". ",
                                        "; ",
                                        " that ",
                                        " "};
constexpr std::string_view kInabilities[] = {"i can't ",
                                             "i cannot ",
                                             "i can not ",
                                             "i couldn't ",
                                             "i am unable to ",
                                             "i'm unable to ",
                                             "i am not able to ",
                                             "i'm not able to ",
                                             "i won't ",
                                             "i will not ",
                                             "i must decline",
                                             "i have to decline",
                                             "i must refuse",
                                             "i refuse to ",
                                             "i decline to ",
                                             "i don't feel comfortable ",
                                             "i do not feel comfortable ",
                                             "i'm not comfortable ",
                                             "i am not comfortable ",
                                             "i'm not allowed to ",
                                             "i am not allowed to ",
                                             "i'm not permitted to ",
                                             "i am not permitted to "};
// Without an excuse, "I can't" alone opens many honest answers; these verbs make it a refusal.
constexpr std::string_view kVerbs[] = {"help with", "help you",    "assist",    "comply",  "provide ",
                                       "fulfil",    "do that",     "answer ",   "create ", "generate ",
                                       "write ",    "share ",      "support ",  "engage ", "discuss ",
                                       "continue ", "participate", "give you ", "offer "};
constexpr std::string_view kFinalInabilities[] = {"i must decline", "i have to decline", "i must refuse",
                                                  "i refuse to ", "i decline to "};

}  // namespace

bool IsRefusal(std::string_view completion) {
  const std::string opening = Opening(completion);
  std::string_view rest = opening;
  if (Take(&rest, kExcuses)) return Take(&rest, kJoints) && Take(&rest, kInabilities);
  if (Take(&rest, kFinalInabilities)) return true;
  return Take(&rest, kInabilities) && Take(&rest, kVerbs);
}

}  // namespace retort::policy
