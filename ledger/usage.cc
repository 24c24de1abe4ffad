#include "ledger/usage.h"

#include <algorithm>
#include <string_view>

#include "absl/status/statusor.h"
#include "ledger/fixed_decimal.h"

namespace retort::ledger {
namespace {

constexpr int64_t kSecondsPerHour = 3600;
// Those of a training manifest, and the largest batch in each of them.
constexpr int64_t kStepsMax = 1'000'000;
constexpr int64_t kTokensMax = kStepsMax * 1'048'576;

absl::Status Wrong(std::string_view member, const std::string& seen, std::string_view wanted) {
  return absl::InvalidArgumentError("training.usage." + std::string(member) + " is \"" + seen.substr(0, 64) +
                                    "\"; wanted " + std::string(wanted));
}

absl::StatusOr<FixedDecimal> Decimal(std::string_view member, const std::string& text) {
  const absl::StatusOr<FixedDecimal> value = FixedDecimal::Parse(text);
  if (!value.ok() || value->ToString() != text)
    return Wrong(member, text, "a decimal like 0.3, as short as can be");
  return value;
}

// a * b / divisor as text; empty when either is.
absl::StatusOr<std::string> Cost(std::string_view a_member, const std::string& a, std::string_view b_member,
                                 const std::string& b, int64_t divisor) {
  if (a.empty() || b.empty()) return std::string();
  const auto left = Decimal(a_member, a);
  if (!left.ok()) return left.status();
  const auto right = Decimal(b_member, b);
  if (!right.ok()) return right.status();
  const auto cost = ProductOver(*left, *right, divisor);
  if (!cost.ok()) return cost.status();
  return cost->ToString();
}

bool IsCurrency(const std::string& text) {
  return text.size() == 3 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

}  // namespace

absl::Status FillCosts(TrainingUsage& usage) {
  auto device = Cost("price_device_hour", usage.price_device_hour, "device_seconds", usage.device_seconds,
                     kSecondsPerHour);
  if (!device.ok()) return device.status();
  auto energy = Cost("price_kwh", usage.price_kwh, "energy_kwh", usage.energy_kwh, 1);
  if (!energy.ok()) return energy.status();
  usage.device_cost = *std::move(device);
  usage.energy_cost = *std::move(energy);
  return absl::OkStatus();
}

absl::Status CheckUsage(const TrainingUsage& usage) {
  if (usage.last_step < usage.first_step) {
    return Wrong("last_step", std::to_string(usage.last_step),
                 "at least first_step, " + std::to_string(usage.first_step));
  }
  if (usage.last_step > kStepsMax) {
    return Wrong("last_step", std::to_string(usage.last_step), "at most " + std::to_string(kStepsMax));
  }
  if (usage.tokens > kTokensMax) {
    return Wrong("tokens", std::to_string(usage.tokens), "at most " + std::to_string(kTokensMax));
  }
  if (usage.ended_time < usage.begun_time) {
    return Wrong("ended_time", usage.ended_time, "no time before begun_time");
  }
  if (auto seconds = Decimal("device_seconds", usage.device_seconds); !seconds.ok()) return seconds.status();
  if (usage.energy_kwh.empty() != (usage.energy_source == "none")) {
    return Wrong("energy_kwh", usage.energy_kwh, "a decimal, or nothing when energy_source is none");
  }
  if (usage.declared_watts.empty() == (usage.energy_source == "declared")) {
    return Wrong("declared_watts", usage.declared_watts,
                 "a decimal if and only if energy_source is declared");
  }
  const bool priced = !usage.price_device_hour.empty() || !usage.price_kwh.empty();
  if (priced ? !IsCurrency(usage.currency) : !usage.currency.empty()) {
    return Wrong("currency", usage.currency, "three capital letters, or nothing when there is no price");
  }
  for (const auto& [member, text] :
       {std::pair<std::string_view, const std::string&>{"energy_kwh", usage.energy_kwh},
        {"declared_watts", usage.declared_watts},
        {"price_device_hour", usage.price_device_hour},
        {"price_kwh", usage.price_kwh}}) {
    if (text.empty()) continue;
    if (auto value = Decimal(member, text); !value.ok()) return value.status();
  }
  TrainingUsage again = usage;
  if (absl::Status status = FillCosts(again); !status.ok()) return status;
  if (again.device_cost != usage.device_cost) {
    return Wrong("device_cost", usage.device_cost, "\"" + again.device_cost + "\": price times time");
  }
  if (again.energy_cost != usage.energy_cost) {
    return Wrong("energy_cost", usage.energy_cost, "\"" + again.energy_cost + "\": price times energy");
  }
  return absl::OkStatus();
}

}  // namespace retort::ledger
