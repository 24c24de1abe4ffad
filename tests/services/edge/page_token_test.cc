#include "services/edge/page_token.h"

#include <gtest/gtest.h>

#include "services/edge/status.h"

namespace retort::services {
namespace {

TEST(PageTokenTest, OpensWhatItSealed) {
  const PageTokens tokens(std::string(32, 'k'));
  EXPECT_EQ(*tokens.Open("projects/a", tokens.Seal("projects/a", "17")), "17");
  EXPECT_EQ(*tokens.Open("", tokens.Seal("", "")), "");
}

TEST(PageTokenTest, IsBoundToItsListing) {
  const PageTokens tokens(std::string(32, 'k'));
  const std::string token = tokens.Seal("projects/a", "17");
  const auto opened = tokens.Open("projects/b", token);
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(opened.status()), PAGE_TOKEN_INVALID);
  // A scope that ends where the position begins must not move the border.
  EXPECT_FALSE(tokens.Open("projects/a1", tokens.Seal("projects/a", "17")).ok());
}

TEST(PageTokenTest, RefusesEveryFlippedDigit) {
  const PageTokens tokens(std::string(32, 'k'));
  const std::string token = tokens.Seal("s", "position");
  for (size_t i = 0; i < token.size(); ++i) {
    std::string altered = token;
    altered[i] = altered[i] == '0' ? '1' : '0';
    EXPECT_FALSE(tokens.Open("s", altered).ok()) << i;
  }
  EXPECT_FALSE(tokens.Open("s", "").ok());
  EXPECT_FALSE(tokens.Open("s", token + "0").ok());
  EXPECT_FALSE(tokens.Open("s", std::string(10'000, '0')).ok());
}

TEST(PageTokenTest, KeysDiffer) {
  const std::string token = PageTokens::WithRandomKey().Seal("s", "1");
  EXPECT_FALSE(PageTokens::WithRandomKey().Open("s", token).ok());
}

TEST(PageSizeTest, DefaultsAndBounds) {
  EXPECT_EQ(*PageSize(0), 50);
  EXPECT_EQ(*PageSize(7), 7);
  EXPECT_EQ(*PageSize(100'000), 1000);
  EXPECT_EQ(PageSize(-1).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::services
