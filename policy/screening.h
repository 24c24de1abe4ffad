// Screening: what a sample's text holds that should not train a student. It yields counts by kind, never the
// text, and is the same on every machine. Every scanner is written by hand and runs in linear time on any
// input, hostile input included.
//
// What is counted:
//   email         local@domain.tld with at least one dot in the domain
//   phone         +<country> with 8 to 15 digits, North American (415) 555-0132 or 415-555-0132, and grouped
//   national
//                 forms that begin with 0; not any run of digits
//   payment_card  13 to 19 digits, with single blanks or hyphens between groups, a known issuer prefix and a
//   right Luhn sum iban          country, its own length, right mod-97 sum; blanks between groups of four
//   allowed private_key   a PEM header of a private key api_key       AWS AKIA/ASIA, OpenAI sk-, Anthropic
//   sk-ant-, GitHub ghp_/gho_/ghu_/ghs_/ghr_/github_pat_, Google AIza,
//                 Slack xox?-, Hugging Face hf_, Stripe sk_live_/rk_live_, and JSON web tokens
// A stretch of text counts once: a card number is not also a phone. Scanning finds shapes, not people: it
// misses names and addresses, and says so in docs/formats/policy.md.
#ifndef POLICY_SCREENING_H_
#define POLICY_SCREENING_H_

#include <string_view>
#include <vector>

#include "retort/policy/v1/facts.pb.h"

namespace retort::policy {

// Screens prompts and completion together; the refusal test looks at the completion only. `finish_reason`
// goes through as given: stop, length, content_filter or error. Each count is at most 1,000,000.
v1::ScreeningFacts Screen(const std::vector<std::string_view>& prompts, std::string_view completion,
                          std::string_view finish_reason);

// True when the answer's first sentence is one of the documented refusal openings ("I'm sorry, but I can't",
// "I cannot help with", "As an AI language model, I can't", …), letter case and typographic apostrophes
// ignored.
bool IsRefusal(std::string_view completion);

}  // namespace retort::policy

#endif  // POLICY_SCREENING_H_
