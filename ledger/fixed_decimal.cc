#include "ledger/fixed_decimal.h"

#include <cassert>

namespace retort::ledger {
namespace {

__extension__ typedef unsigned __int128 Wide;

constexpr int64_t kNanosPerUnit = 1'000'000'000;
constexpr int64_t kNanosMax = FixedDecimal::kUnitsMax * kNanosPerUnit;
constexpr size_t kFractionDigitsMax = 9;

absl::Status TooLarge(std::string_view what) {
  return absl::OutOfRangeError(std::string(what) + " is above " + std::to_string(FixedDecimal::kUnitsMax));
}

absl::Status Refused(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, 32)) shown += c >= 0x20 && c < 0x7F ? c : '?';
  return absl::InvalidArgumentError("\"" + shown + "\"; wanted a decimal number like 0.30 from 0 to " +
                                    std::to_string(FixedDecimal::kUnitsMax) +
                                    " with at most 9 digits after the point");
}

bool AllDigits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

FixedDecimal FixedDecimal::FromNanos(int64_t nanos) {
  assert(nanos >= 0 && nanos <= kNanosMax);
  FixedDecimal value;
  value.nanos_ = nanos;
  return value;
}

absl::StatusOr<FixedDecimal> FixedDecimal::Parse(std::string_view text) {
  const size_t point = text.find('.');
  const std::string_view units = text.substr(0, point);
  const std::string_view fraction =
      point == std::string_view::npos ? std::string_view("0") : text.substr(point + 1);
  if (!AllDigits(units) || !AllDigits(fraction) || units.size() > 10 ||
      fraction.size() > kFractionDigitsMax || (units.size() > 1 && units[0] == '0')) {
    return Refused(text);
  }
  int64_t whole = 0, nanos = 0;
  for (const char c : units) whole = whole * 10 + (c - '0');
  for (size_t i = 0; i < kFractionDigitsMax; ++i)
    nanos = nanos * 10 + (i < fraction.size() ? fraction[i] - '0' : 0);
  if (whole > kUnitsMax || (whole == kUnitsMax && nanos > 0)) return Refused(text);
  return FromNanos(whole * kNanosPerUnit + nanos);
}

std::string FixedDecimal::ToString() const {
  std::string text = std::to_string(nanos_ / kNanosPerUnit);
  if (nanos_ % kNanosPerUnit == 0) return text;
  std::string fraction = std::to_string(nanos_ % kNanosPerUnit);
  fraction.insert(0, kFractionDigitsMax - fraction.size(), '0');
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return text + "." + fraction;
}

absl::StatusOr<FixedDecimal> Sum(FixedDecimal a, FixedDecimal b) {
  if (a.nanos() > kNanosMax - b.nanos()) return TooLarge("a sum of decimals");
  return FixedDecimal::FromNanos(a.nanos() + b.nanos());
}

absl::StatusOr<FixedDecimal> Difference(FixedDecimal a, FixedDecimal b) {
  if (b > a) return absl::OutOfRangeError("a difference of decimals is below 0");
  return FixedDecimal::FromNanos(a.nanos() - b.nanos());
}

absl::StatusOr<FixedDecimal> ProductOver(FixedDecimal a, FixedDecimal b, int64_t divisor) {
  assert(divisor >= 1);
  const Wide product = static_cast<Wide>(a.nanos()) * static_cast<Wide>(b.nanos());
  const Wide denominator = static_cast<Wide>(kNanosPerUnit) * static_cast<Wide>(divisor);
  const Wide rounded = (product + denominator / 2) / denominator;
  if (rounded > static_cast<Wide>(kNanosMax)) return TooLarge("a product of decimals");
  return FixedDecimal::FromNanos(static_cast<int64_t>(rounded));
}

}  // namespace retort::ledger
