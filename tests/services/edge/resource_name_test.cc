#include "services/edge/resource_name.h"

#include <gtest/gtest.h>

#include "services/edge/status.h"

namespace retort::services {
namespace {

TEST(ResourceNameTest, MatchesWildcards) {
  const auto ids =
      ParseResourceName("name", "projects/demo/ledgers/main/entries/17", "projects/*/ledgers/main/entries/#");
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(*ids, (std::vector<std::string>{"demo", "17"}));
}

TEST(ResourceNameTest, RefusesWithFieldValueAndPattern) {
  const auto ids = ParseResourceName("parent", "project/demo", "projects/*");
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ids.status().message(), "parent: saw 'project/demo', wanted projects/*");
  EXPECT_EQ(ReasonOf(ids.status()), INVALID_FIELD);
}

TEST(ResourceNameTest, RefusesPathTricks) {
  for (const char* name :
       {"", "projects/", "projects//", "projects/..", "projects/a/", "/projects/a", "projects/a/jobs",
        "projects/A", "projects/a_b", "projects/-a", "projects/a-", "projects/1a", "projects/a%2e"}) {
    EXPECT_FALSE(ParseResourceName("name", name, "projects/*").ok()) << name;
  }
  EXPECT_FALSE(ParseResourceName("name", "projects/" + std::string(64, 'a'), "projects/*").ok());
  EXPECT_TRUE(ParseResourceName("name", "projects/" + std::string(63, 'a'), "projects/*").ok());
}

TEST(ResourceNameTest, NumbersAreCanonical) {
  for (const char* number : {"00", "01", "-1", "+1", "1.0", "9223372036854775808", ""}) {
    EXPECT_FALSE(ParseResourceName("name", std::string("e/") + number, "e/#").ok()) << number;
  }
  EXPECT_TRUE(ParseResourceName("name", "e/0", "e/#").ok());
  EXPECT_TRUE(ParseResourceName("name", "e/9223372036854775807", "e/#").ok());
}

TEST(ResourceNameTest, ReleaseNamesAllowDots) {
  EXPECT_TRUE(IsReleaseName("Llama-3.1_x"));
  EXPECT_FALSE(IsReleaseName(".hidden"));
  EXPECT_FALSE(IsReleaseName("a/b"));
  EXPECT_FALSE(IsReleaseName(""));
  EXPECT_FALSE(IsReleaseName(std::string(97, 'a')));
}

}  // namespace
}  // namespace retort::services
