#include "services/gateway/query.h"

#include <gtest/gtest.h>

namespace retort::services::gateway {
namespace {

TEST(QueryTest, DecodesNamesAndValuesInAnyOrder) {
  const auto query = ParseQuery("message=%7B%22name%22%3A%22a+b%22%7D&x=&encoding=json&connect=v1&flag");
  ASSERT_TRUE(query.ok()) << query.status();
  EXPECT_EQ(query->at("message"), "{\"name\":\"a b\"}");
  EXPECT_EQ(query->at("encoding"), "json");
  EXPECT_EQ(query->at("x"), "");
  EXPECT_EQ(query->at("flag"), "");
  EXPECT_EQ(*ParseQuery("a=1=2&&"), (std::map<std::string, std::string>{{"a", "1=2"}}));
  EXPECT_TRUE(ParseQuery("")->empty());
}

TEST(QueryTest, RefusesPercentWithoutDigits) {
  for (const char* text : {"message=%", "message=%4", "message=%4g", "%zz=1", "message=a%2"}) {
    EXPECT_EQ(ParseQuery(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  EXPECT_EQ(ParseQuery("message=a%20")->at("message"), "a ");
}

TEST(QueryTest, RefusesAParameterOfTheProtocolTwice) {
  EXPECT_EQ(ParseQuery("message=1&message=2").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseQuery("other=1&other=2")->at("other"), "2");
}

TEST(QueryTest, UrlBase64MayBePadded) {
  EXPECT_EQ(*DecodeUrlBase64("-_8"), "\xfb\xff");
  EXPECT_EQ(*DecodeUrlBase64("-_8="), "\xfb\xff");
  for (const char* text : {"+/8=", "a", "a b=", "-_8=="}) {
    EXPECT_EQ(DecodeUrlBase64(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace retort::services::gateway
