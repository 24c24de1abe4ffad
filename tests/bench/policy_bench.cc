// Decisions per second on one core over the shipped packs, as one JSON line:
//   bin/policy_bench [seconds]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "policy/evaluate.h"
#include "policy/pack.h"
#include "policy/screening.h"
#include "proto/strict_yaml.h"

namespace {

using Clock = std::chrono::steady_clock;

// Calls `work` for about `seconds` and returns calls per second.
template <typename Work>
double Rate(double seconds, const Work& work) {
  const auto start = Clock::now();
  int64_t calls = 0;
  double elapsed = 0;
  do {
    for (int i = 0; i < 100; ++i) work();
    calls += 100;
    elapsed = std::chrono::duration<double>(Clock::now() - start).count();
  } while (elapsed < seconds);
  return static_cast<double>(calls) / elapsed;
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 2.0;
  const auto packs = retort::policy::PackSet::LoadFolder(std::string(RETORT_SOURCE_DIR) + "/policy/packs");
  retort::policy::v1::Facts facts;
  const absl::Status loaded = retort::LoadYaml(R"(
teacher: { provider: huggingface, channel: open_weights, model: SmolLM2-135M-Instruct, account_class: "", modality: text }
student: { kind: general_llm, distributed: true, hosted: false, sold: false, competition: { declared_by: me }, use: commercial }
screening: { finish_reason: stop }
generated_time: 2026-01-01
decided_time: 2026-01-01
)",
                                               "facts", &facts);
  if (!packs.ok() || !loaded.ok()) {
    std::fprintf(stderr, "%s %s\n", packs.status().ToString().c_str(), loaded.ToString().c_str());
    return 1;
  }
  std::string text;
  while (text.size() < 4096)
    text += "Simmer the onions for 15-20 minutes at 180 degrees, then add 2.5 cups of stock. ";
  size_t rules = 0, findings = 0;  // keeps the calls from being optimised away
  const double decisions =
      Rate(seconds, [&] { rules += retort::policy::Evaluate(*packs, facts).rules.size(); });
  const double screened = Rate(seconds, [&] {
    findings += static_cast<size_t>(retort::policy::Screen({}, text, "stop").findings().size());
  });
  std::printf("{\"decisions_per_second\":%.0f,\"packs\":%zu,\"screened_bytes_per_second\":%.0f}\n", decisions,
              packs->packs().size(), screened * static_cast<double>(text.size()));
  return findings == 0 && rules > 0 ? 0 : 1;  // the text holds nothing to find
}
