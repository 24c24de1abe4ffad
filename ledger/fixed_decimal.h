// Exact decimal numbers for time, energy and money: an integer count of billionths. Binary floating point
// never touches them, so whoever computes again gets the same digits.
//
//   auto price = FixedDecimal::Parse("2.50");
//   auto cost = ProductOver(*price, FixedDecimal::FromNanos(5'400'000'000'000), 3600);  // 5400 s at 2.50 an
//   hour cost->ToString();                                                                   // "3.75"
//
// Values; free to cross threads.
#ifndef LEDGER_FIXED_DECIMAL_H_
#define LEDGER_FIXED_DECIMAL_H_

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort::ledger {

class FixedDecimal {
 public:
  // Largest value, in whole units.
  static constexpr int64_t kUnitsMax = 9'000'000'000;

  constexpr FixedDecimal() = default;
  // `nanos` from 0 to kUnitsMax billions (asserted).
  static FixedDecimal FromNanos(int64_t nanos);

  // Digits, and after a point 1 to 9 digits: "0", "12", "0.30". No sign, no exponent, no leading zero before
  // another digit. InvalidArgument with at most 32 bytes of what was seen.
  static absl::StatusOr<FixedDecimal> Parse(std::string_view text);

  // Without trailing zeros: "0.3", "12". Parse reads it back.
  std::string ToString() const;
  int64_t nanos() const { return nanos_; }

  auto operator<=>(const FixedDecimal&) const = default;

 private:
  int64_t nanos_ = 0;
};

// a + b. OutOfRange above kUnitsMax.
absl::StatusOr<FixedDecimal> Sum(FixedDecimal a, FixedDecimal b);

// a - b. OutOfRange when b is larger.
absl::StatusOr<FixedDecimal> Difference(FixedDecimal a, FixedDecimal b);

// a * b / divisor, rounded once, half up. divisor at least 1 (asserted). OutOfRange above kUnitsMax.
absl::StatusOr<FixedDecimal> ProductOver(FixedDecimal a, FixedDecimal b, int64_t divisor);

}  // namespace retort::ledger

#endif  // LEDGER_FIXED_DECIMAL_H_
