#include "ledger/fixed_decimal.h"

#include <gtest/gtest.h>

namespace retort::ledger {
namespace {

FixedDecimal Of(std::string_view text) {
  const auto value = FixedDecimal::Parse(text);
  EXPECT_TRUE(value.ok()) << value.status();
  return value.ok() ? *value : FixedDecimal();
}

TEST(FixedDecimalTest, ReadsAndWritesTheShortestForm) {
  EXPECT_EQ(Of("0").ToString(), "0");
  EXPECT_EQ(Of("12").ToString(), "12");
  EXPECT_EQ(Of("0.30").ToString(), "0.3");
  EXPECT_EQ(Of("1.000").ToString(), "1");
  EXPECT_EQ(Of("0.000000001").ToString(), "0.000000001");
  EXPECT_EQ(Of("0.000000001").nanos(), 1);
  EXPECT_EQ(Of("9000000000").ToString(), "9000000000");
  EXPECT_EQ(Of("10.010").ToString(), "10.01");
}

TEST(FixedDecimalTest, RefusesOtherForms) {
  for (const char* text : {"",
                           ".",
                           "1.",
                           ".5",
                           "-1",
                           "+1",
                           "01",
                           "00.1",
                           "1e3",
                           "1,5",
                           " 1",
                           "1 ",
                           "0x1",
                           "nan",
                           "1.0000000001",
                           "9000000001",
                           "9000000000.000000001",
                           "99999999999",
                           "1.2.3",
                           "\x31\xff"}) {
    EXPECT_EQ(FixedDecimal::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  const auto refused = FixedDecimal::Parse(std::string(100, 'x'));
  EXPECT_LT(refused.status().message().size(), 200u);
}

// 0.1 + 0.2 is 0.3 here, and a third is rounded once.
TEST(FixedDecimalTest, ComputesExactly) {
  EXPECT_EQ(Sum(Of("0.1"), Of("0.2"))->ToString(), "0.3");
  EXPECT_EQ(Difference(Of("0.3"), Of("0.1"))->ToString(), "0.2");
  EXPECT_EQ(ProductOver(Of("2.5"), Of("5400"), 3600)->ToString(), "3.75");
  EXPECT_EQ(ProductOver(Of("1"), Of("1"), 3)->ToString(), "0.333333333");
  EXPECT_EQ(ProductOver(Of("2"), Of("1"), 3)->ToString(), "0.666666667");
  EXPECT_EQ(ProductOver(Of("0.000000001"), Of("1"), 2)->ToString(), "0.000000001");  // half up
  EXPECT_EQ(ProductOver(Of("0.000000001"), Of("1"), 3)->ToString(), "0");
  EXPECT_EQ(ProductOver(Of("9000000000"), Of("1"), 1)->ToString(), "9000000000");
}

TEST(FixedDecimalTest, SaysWhatDoesNotFit) {
  EXPECT_EQ(Sum(Of("9000000000"), Of("0.000000001")).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Difference(Of("0"), Of("0.000000001")).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ProductOver(Of("9000000000"), Of("9000000000"), 1).status().code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ProductOver(Of("9000000000"), Of("1.000000001"), 1).status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST(FixedDecimalTest, Orders) {
  EXPECT_LT(Of("0.3"), Of("0.30000001"));
  EXPECT_EQ(Of("0.3"), Of("0.300"));
}

}  // namespace
}  // namespace retort::ledger
