#include "services/train/account.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <utility>

#include "ledger/fixed_decimal.h"
#include "ledger/signed_statement.h"

namespace retort::train {
namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr int64_t kMicrojoulesPerNanoKwh = 3600;
constexpr int64_t kNanosPerUnit = 1'000'000'000;

// RFC 3339 with six fractional digits, UTC.
std::string TimeText(int64_t us) {
  const std::time_t seconds = us / kMicrosPerSecond;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[96];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%06lldZ", (parts.tm_year + 1900) % 10000,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, std::min(parts.tm_sec, 59),
                static_cast<long long>(us % kMicrosPerSecond));
  return text;
}

absl::StatusOr<std::string> Price(std::string_view flag, std::string_view text) {
  if (text.empty()) return std::string();
  const auto price = ledger::FixedDecimal::Parse(text);
  if (!price.ok())
    return absl::InvalidArgumentError(std::string(flag) + " " + std::string(price.status().message()));
  return price->ToString();
}

}  // namespace

absl::StatusOr<Prices> ParsePrices(std::string_view currency, std::string_view device_hour,
                                   std::string_view kwh) {
  Prices prices;
  auto hour = Price("--price-device-hour", device_hour);
  if (!hour.ok()) return hour.status();
  auto energy = Price("--price-kwh", kwh);
  if (!energy.ok()) return energy.status();
  prices.device_hour = *std::move(hour);
  prices.kwh = *std::move(energy);
  const bool priced = !prices.device_hour.empty() || !prices.kwh.empty();
  const bool letters = currency.size() == 3 && std::all_of(currency.begin(), currency.end(),
                                                           [](char c) { return c >= 'A' && c <= 'Z'; });
  if (priced ? !letters : !currency.empty()) {
    return absl::InvalidArgumentError("--currency \"" + std::string(currency.substr(0, 16)) +
                                      "\"; wanted three capital letters like EUR, together with a price");
  }
  prices.currency = currency;
  return prices;
}

absl::Status Settle(UsageLog& log, const std::string& manifest, const ledger::SigningKey& key,
                    LedgerClient& client, const std::function<void(std::string_view)>& say) {
  const std::vector<int64_t> pending = log.pending();
  for (const int64_t attempt : pending) {
    const auto statement = log.Read(attempt);
    if (!statement.ok()) return statement.status();
    const auto signed_statement =
        ledger::SignStatement(key, ledger::StatementType::kTraining, statement->ToJson());
    const auto entry = client.AppendTraining(statement->project, signed_statement, manifest);
    if (!entry.ok()) return entry.status();
    log.MarkAppended(attempt);
    say("what attempt " + std::to_string(attempt) + " used (" + statement->usage.outcome + ") is entry " +
        std::to_string(*entry));
  }
  return absl::OkStatus();
}

Attempt::Attempt(int64_t number, const Instruments& instruments, const Prices& prices,
                 const std::string& declared_watts, UsageLog& log)
    : instruments_(instruments), log_(log) {
  usage_.attempt = number;
  usage_.begun_time = TimeText(instruments.begun_us);
  usage_.device = instruments.device;
  usage_.devices = instruments.devices;
  usage_.declared_watts = declared_watts;
  usage_.currency = prices.currency;
  usage_.price_device_hour = prices.device_hour;
  usage_.price_kwh = prices.kwh;
}

void Attempt::Add(const student::TrainedStep& step) {
  usage_.last_step = step.step;
  usage_.tokens += step.tokens;
}

absl::Status Attempt::Write(const char* outcome) {
  usage_.outcome = outcome;
  // The steady clock says how long; an end derived from it cannot lie before the beginning.
  const auto elapsed_us =
      static_cast<int64_t>(std::llround((instruments_.seconds() - instruments_.begun_seconds) * 1e6));
  usage_.ended_time = TimeText(instruments_.begun_us + elapsed_us);
  const auto device_seconds =
      ledger::ProductOver(ledger::FixedDecimal::FromNanos(elapsed_us * 1000),
                          ledger::FixedDecimal::FromNanos(usage_.devices * kNanosPerUnit), 1);
  if (!device_seconds.ok()) return device_seconds.status();
  usage_.device_seconds = device_seconds->ToString();
  usage_.energy_source = "none";
  usage_.energy_kwh.clear();
  if (instruments_.energy != nullptr) {
    if (const auto microjoules = instruments_.energy->Read()) {
      const auto nanos =
          static_cast<int64_t>((*microjoules + kMicrojoulesPerNanoKwh / 2) / kMicrojoulesPerNanoKwh);
      usage_.energy_source = instruments_.energy->source();
      usage_.energy_kwh = ledger::FixedDecimal::FromNanos(nanos).ToString();
    }
  }
  if (auto s = ledger::FillCosts(usage_); !s.ok()) return s;
  return log_.Write(usage_);
}

}  // namespace retort::train
