#include "policy/screening.h"

#include <algorithm>
#include <map>
#include <string>

#include "policy/internal/scan.h"

namespace retort::policy {
namespace {

using internal::Match;

constexpr int kCountMax = 1'000'000;

// Kinds in the order in which they claim a stretch of text.
struct Scanner {
  const char* kind;
  std::vector<Match> (*find)(std::string_view text);
};
constexpr Scanner kScanners[] = {
    {"private_key", internal::FindPrivateKeys},
    {"api_key", internal::FindApiKeys},
    {"iban", internal::FindIbans},
    {"payment_card", internal::FindPaymentCards},
    {"email", internal::FindEmails},
    {"phone", internal::FindPhones},
};

void ScanText(std::string_view text, std::map<std::string, int>* findings) {
  std::vector<bool> claimed(text.size(), false);
  for (const Scanner& scanner : kScanners) {
    for (const Match& match : scanner.find(text)) {
      const auto begin = claimed.begin() + static_cast<std::ptrdiff_t>(match.begin);
      const auto end = claimed.begin() + static_cast<std::ptrdiff_t>(match.end);
      if (std::find(begin, end, true) != end) continue;
      std::fill(begin, end, true);
      int& count = (*findings)[scanner.kind];
      count = std::min(count + 1, kCountMax);
    }
  }
}

}  // namespace

v1::ScreeningFacts Screen(const std::vector<std::string_view>& prompts, std::string_view completion,
                          std::string_view finish_reason) {
  std::map<std::string, int> findings;
  for (const std::string_view prompt : prompts) ScanText(prompt, &findings);
  ScanText(completion, &findings);
  v1::ScreeningFacts facts;
  for (const auto& [kind, count] : findings) (*facts.mutable_findings())[kind] = count;
  facts.set_refusal(IsRefusal(completion));
  facts.set_finish_reason(std::string(finish_reason));
  return facts;
}

}  // namespace retort::policy
