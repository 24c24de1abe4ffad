#include "proto/canonical_json.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace retort {
namespace {

constexpr size_t kSizeMax = 1 << 16;

TEST(CanonicalJsonTest, WritesTheOneForm) {
  const nlohmann::json value = {
      {"b", {1, -2, true, false, nullptr}}, {"a", "x\"\\\b\t\n\f\r\x01\x1f/\u20ac"}, {"", {}}};
  EXPECT_EQ(
      WriteCanonicalJson(value),
      "{\"\":null,\"a\":\"x\\\"\\\\\\b\\t\\n\\f\\r\\u0001\\u001f/\u20ac\",\"b\":[1,-2,true,false,null]}");
}

TEST(CanonicalJsonTest, ParsesWhatItWrites) {
  for (const std::string text :
       {R"({})", R"([])", R"("")", "0", "-1", "9007199254740991", "-9007199254740991", "true", "null",
        R"({"a":{"b":[[],{}]},"c":"\u0000\u001f\n\\"})", "\"\xF0\x9F\x98\x80\""}) {
    const auto value = ParseCanonicalJson(text, kSizeMax);
    ASSERT_TRUE(value.ok()) << text << value.status();
    EXPECT_EQ(WriteCanonicalJson(*value), text);
  }
}

TEST(CanonicalJsonTest, RefusesEveryOtherForm) {
  const std::vector<std::string> texts = {"",
                                          " {}",
                                          "{} ",
                                          "{ }",
                                          "[1, 2]",
                                          R"({"b":1,"a":2})",
                                          R"({"a":1,"a":1})",
                                          "1.0",
                                          "1e3",
                                          "-0",
                                          "01",
                                          "+1",
                                          "-",
                                          "9007199254740992",
                                          "-9007199254740992",
                                          "99999999999999999999",
                                          "NaN",
                                          "truE",
                                          "nul",
                                          R"("\/")",
                                          R"("\u0041")",
                                          R"("\u000A")",
                                          R"("\u000a")",
                                          R"("\u001F")",
                                          R"("\ud83d\ude00")",
                                          R"("\x")",
                                          "\"\t\"",
                                          "\"a",
                                          "[1",
                                          "[1,]",
                                          "{\"a\"}",
                                          "{\"a\":}",
                                          "{a:1}",
                                          "{\"a\":1,}",
                                          "{\"\xC3\xA9\":1}",
                                          "\"\xFF\"",
                                          "\"\xC0\x80\"",
                                          "\"\xED\xA0\x80\"",
                                          "\"\xE2\x82\"",
                                          "\"\xF4\x90\x80\x80\"",
                                          "[]]",
                                          "// x"};
  for (const std::string& text : texts) {
    EXPECT_EQ(ParseCanonicalJson(text, kSizeMax).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(CanonicalJsonTest, BoundsDepthAndSize) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(ParseCanonicalJson(nested(kCanonicalDepthMax), kSizeMax).ok());
  EXPECT_FALSE(ParseCanonicalJson(nested(kCanonicalDepthMax + 1), kSizeMax).ok());
  EXPECT_FALSE(ParseCanonicalJson(std::string(60000, '['), kSizeMax).ok());
  EXPECT_TRUE(ParseCanonicalJson("\"ab\"", 4).ok());
  EXPECT_FALSE(ParseCanonicalJson("\"ab\"", 3).ok());
}

TEST(CanonicalJsonTest, MessagesHoldPlaceNotText) {
  const auto value = ParseCanonicalJson(R"({"secret":1.5})", kSizeMax);
  EXPECT_EQ(value.status().message(), "canonical JSON, byte 11: floating point; only integers are allowed");
}

TEST(CanonicalJsonDeathTest, FloatingPointIsAFaultOfTheProgram) {
  EXPECT_DEATH(WriteCanonicalJson(nlohmann::json(1.5)), "floating point");
}

}  // namespace
}  // namespace retort
