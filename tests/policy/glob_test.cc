#include "policy/glob.h"

#include <gtest/gtest.h>

#include <string>

namespace retort::policy {
namespace {

TEST(GlobTest, MatchesWholeText) {
  EXPECT_TRUE(MatchesGlob("gpt-4o", "gpt-4o"));
  EXPECT_FALSE(MatchesGlob("gpt-4", "gpt-4o"));
  EXPECT_FALSE(MatchesGlob("pt-4o", "gpt-4o"));
  EXPECT_TRUE(MatchesGlob("", ""));
  EXPECT_FALSE(MatchesGlob("", "a"));
}

TEST(GlobTest, StarAndQuestionMark) {
  EXPECT_TRUE(MatchesGlob("*", ""));
  EXPECT_TRUE(MatchesGlob("llama-3.1*", "Llama-3.1-8B"));
  EXPECT_TRUE(MatchesGlob("*/llama-?-*", "meta-llama/Llama-3-8B"));
  EXPECT_FALSE(MatchesGlob("llama-3-*", "llama-3.1-8b"));
  EXPECT_TRUE(MatchesGlob("a*b*c", "aXbYbZc"));
  EXPECT_FALSE(MatchesGlob("a*b*c", "aXbYbZ"));
  EXPECT_FALSE(MatchesGlob("a?", "a"));
  EXPECT_TRUE(MatchesGlob("**a**", "bab"));
}

TEST(GlobTest, IgnoresCaseOfAsciiOnly) {
  EXPECT_TRUE(MatchesGlob("SMOLLM2*", "smollm2-135m"));
  EXPECT_FALSE(MatchesGlob("\xc3\x89", "\xc3\xa9"));
}

TEST(GlobTest, HostileGlobStaysFast) {
  std::string glob;
  for (int i = 0; i < 100; ++i) glob += "*a";
  EXPECT_FALSE(MatchesGlob(glob + "b", std::string(10000, 'a')));
}

}  // namespace
}  // namespace retort::policy
