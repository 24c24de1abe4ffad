#include "services/audit/cost_report.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <nlohmann/json.hpp>
#include <sstream>

namespace retort::services {
namespace {

using ledger::FixedDecimal;

constexpr int64_t kNanosPerUnit = 1'000'000'000;
constexpr int64_t kSecondsPerHour = 3600;

// value * part / whole, rounded once.
absl::StatusOr<FixedDecimal> Share(FixedDecimal value, int64_t part, int64_t whole) {
  if (part == whole) return value;
  return ledger::ProductOver(value, FixedDecimal::FromNanos(part * kNanosPerUnit), whole);
}

// Adds the share of a decimal's text, which a statement's check found canonical.
absl::Status AddShare(const std::string& text, int64_t part, int64_t whole, FixedDecimal& sum) {
  const auto value = FixedDecimal::Parse(text);
  if (!value.ok()) return value.status();
  const auto share = Share(*value, part, whole);
  if (!share.ok()) return share.status();
  const auto added = ledger::Sum(sum, *share);
  if (!added.ok()) return added.status();
  sum = *added;
  return absl::OkStatus();
}

// Adds `part` of `whole` of what an attempt used.
absl::Status Add(const ledger::TrainingUsage& usage, int64_t part, int64_t whole, int64_t steps, Cost& cost) {
  ++cost.attempts;
  cost.steps += steps;
  // The product of two counts below 2^53 does not fit 64 bits; the share of the tokens is exact enough in
  // parts.
  cost.tokens +=
      part == whole ? usage.tokens : usage.tokens / whole * part + usage.tokens % whole * part / whole;
  if (auto s = AddShare(usage.device_seconds, part, whole, cost.device_seconds); !s.ok()) return s;
  if (usage.energy_source == "none") {
    ++cost.without_energy;
  } else {
    cost.energy_sources.insert(usage.energy_source);
    if (auto s = AddShare(usage.energy_kwh, part, whole, cost.energy_kwh); !s.ok()) return s;
  }
  if (usage.price_device_hour.empty()) ++cost.without_device_price;
  const auto add_money = [&](const std::string& text, std::map<std::string, FixedDecimal>& sums) {
    if (text.empty()) return absl::OkStatus();
    if (auto s = AddShare(text, part, whole, sums[usage.currency]); !s.ok()) return s;
    return AddShare(text, part, whole, cost.total[usage.currency]);
  };
  if (auto s = add_money(usage.device_cost, cost.device_cost); !s.ok()) return s;
  return add_money(usage.energy_cost, cost.energy_cost);
}

// A later attempt that began lower did the steps above its beginning again.
void CountKept(std::vector<AttemptCost>& attempts) {
  std::map<std::pair<std::string, std::string>, int64_t> lowest;  // beginning of the later attempts, by run
  for (auto attempt = attempts.rbegin(); attempt != attempts.rend(); ++attempt) {
    const ledger::TrainingUsage& usage = attempt->entry.usage;
    const auto [later, last] =
        lowest.try_emplace({attempt->entry.job_uid, attempt->entry.run}, usage.last_step);
    const int64_t kept_to = std::min(usage.last_step, later->second);
    attempt->kept_steps = std::max<int64_t>(0, kept_to - usage.first_step);
    attempt->repeated_steps = usage.last_step - usage.first_step - attempt->kept_steps;
    later->second = std::min(later->second, usage.first_step);
  }
}

std::string Plain(std::string text) {
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  return text;
}

std::string Hours(FixedDecimal seconds) {
  const auto hours = ledger::ProductOver(seconds, FixedDecimal::FromNanos(kNanosPerUnit), kSecondsPerHour);
  assert(hours.ok() && "smaller than the seconds");
  return Rounded(*hours, 4);
}

std::string Padded(std::string text, size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

nlohmann::ordered_json MoneyJson(const std::map<std::string, FixedDecimal>& money) {
  auto json = nlohmann::ordered_json::object();
  for (const auto& [currency, amount] : money) json[currency] = amount.ToString();
  return json;
}

nlohmann::ordered_json ToJson(const Cost& cost) {
  return {{"attempts", cost.attempts},
          {"steps", cost.steps},
          {"tokens", cost.tokens},
          {"device_seconds", cost.device_seconds.ToString()},
          {"energy_kwh", cost.energy_sources.empty() ? "" : cost.energy_kwh.ToString()},
          {"energy_sources", cost.energy_sources},
          {"attempts_without_energy", cost.without_energy},
          {"device_cost", MoneyJson(cost.device_cost)},
          {"energy_cost", MoneyJson(cost.energy_cost)},
          {"cost", MoneyJson(cost.total)},
          {"attempts_without_device_price", cost.without_device_price}};
}

}  // namespace

absl::StatusOr<CostReport> BuildCostReport(std::vector<AttemptEntry> entries,
                                           const std::string& final_job_uid, const std::string& final_run) {
  CostReport report;
  report.has_final = !final_run.empty();
  report.final_job_uid = final_job_uid;
  report.final_run = final_run;
  for (AttemptEntry& entry : entries) report.attempts.push_back({std::move(entry), 0, 0});
  CountKept(report.attempts);
  for (const AttemptCost& attempt : report.attempts) {
    const ledger::TrainingUsage& usage = attempt.entry.usage;
    const int64_t steps = usage.last_step - usage.first_step;
    if (auto s = Add(usage, 1, 1, steps, report.everything); !s.ok()) return s;
    const bool is_final =
        report.has_final && attempt.entry.job_uid == final_job_uid && attempt.entry.run == final_run;
    if (!is_final || attempt.kept_steps == 0) continue;
    if (auto s = Add(usage, attempt.kept_steps, steps, attempt.kept_steps, report.final_cost); !s.ok())
      return s;
  }
  return report;
}

std::string Rounded(FixedDecimal value, int digits) {
  assert(digits >= 0 && digits <= 9);
  int64_t unit = 1;
  for (int i = digits; i < 9; ++i) unit *= 10;
  const int64_t count = (value.nanos() + unit / 2) / unit;
  const int64_t per_whole = kNanosPerUnit / unit;
  std::string text = std::to_string(count / per_whole);
  if (digits == 0) return text;
  std::string fraction = std::to_string(count % per_whole);
  fraction.insert(0, static_cast<size_t>(digits) - fraction.size(), '0');
  return text + "." + fraction;
}

std::string MoneyText(const std::map<std::string, FixedDecimal>& money) {
  std::string text;
  for (const auto& [currency, amount] : money) {
    text += (text.empty() ? "" : " + ") + Plain(currency) + " " + Rounded(amount, 4);
  }
  return text.empty() ? "-" : text;
}

std::string EnergyText(const Cost& cost) {
  if (cost.energy_sources.empty()) return "not measured";
  std::string sources;
  for (const std::string& source : cost.energy_sources) sources += (sources.empty() ? "" : ", ") + source;
  if (cost.without_energy > 0) {
    sources += ", " + std::to_string(cost.without_energy) +
               (cost.without_energy == 1 ? " attempt" : " attempts") + " not measured";
  }
  return Rounded(cost.energy_kwh, 6) + " (" + Plain(sources) + ")";
}

std::string CostText(const CostReport& report) {
  const Cost& last = report.final_cost;
  const Cost& all = report.everything;
  const auto final_cell = [&](const std::string& text) { return report.has_final ? text : std::string("-"); };
  std::vector<std::array<std::string, 3>> rows = {
      {"", report.has_final ? "FINAL RUN (" + Plain(report.final_run) + ")" : "FINAL RUN", "EVERYTHING"},
      {"attempts", final_cell(std::to_string(last.attempts)), std::to_string(all.attempts)},
      {"steps", final_cell(std::to_string(last.steps)), std::to_string(all.steps)},
      {"tokens", final_cell(std::to_string(last.tokens)), std::to_string(all.tokens)},
      {"device hours", final_cell(Hours(last.device_seconds)), Hours(all.device_seconds)},
      {"energy, kWh", final_cell(EnergyText(last)), EnergyText(all)},
      {"devices cost", final_cell(MoneyText(last.device_cost)), MoneyText(all.device_cost)},
      {"energy cost", final_cell(MoneyText(last.energy_cost)), MoneyText(all.energy_cost)},
      {"cost", final_cell(MoneyText(last.total)), MoneyText(all.total)},
  };
  size_t widths[2] = {0, 0};
  for (const auto& row : rows) {
    for (size_t i = 0; i < 2; ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::ostringstream out;
  for (const auto& row : rows) {
    out << "  " << Padded(row[0], widths[0]) << "  " << Padded(row[1], widths[1]) << "  " << row[2] << "\n";
  }
  if (all.without_device_price > 0) {
    out << "  " << all.without_device_price << " of " << all.attempts
        << " attempts have no price of a device: their cost is not in the sums\n";
  }
  return out.str();
}

std::string CostJson(const CostReport& report) {
  using Json = nlohmann::ordered_json;
  Json json = Json::object();
  if (report.has_final) {
    json["final"] = ToJson(report.final_cost);
    json["final"]["job_uid"] = report.final_job_uid;
    json["final"]["run"] = report.final_run;
  }
  json["everything"] = ToJson(report.everything);
  json["attempts"] = Json::array();
  for (const AttemptCost& attempt : report.attempts) {
    const ledger::TrainingUsage& usage = attempt.entry.usage;
    json["attempts"].push_back({{"entry", attempt.entry.entry},
                                {"job_uid", attempt.entry.job_uid},
                                {"run", attempt.entry.run},
                                {"attempt", usage.attempt},
                                {"outcome", usage.outcome},
                                {"first_step", usage.first_step},
                                {"last_step", usage.last_step},
                                {"kept_steps", attempt.kept_steps},
                                {"repeated_steps", attempt.repeated_steps},
                                {"tokens", usage.tokens},
                                {"begun_time", usage.begun_time},
                                {"ended_time", usage.ended_time},
                                {"device", usage.device},
                                {"devices", usage.devices},
                                {"device_seconds", usage.device_seconds},
                                {"energy_source", usage.energy_source},
                                {"energy_kwh", usage.energy_kwh},
                                {"declared_watts", usage.declared_watts},
                                {"currency", usage.currency},
                                {"price_device_hour", usage.price_device_hour},
                                {"price_kwh", usage.price_kwh},
                                {"device_cost", usage.device_cost},
                                {"energy_cost", usage.energy_cost}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace retort::services
