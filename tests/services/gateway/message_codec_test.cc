#include "services/gateway/message_codec.h"

#include <gtest/gtest.h>

#include "retort/jobs/v1/jobs.pb.h"

namespace retort::services::gateway {
namespace {

using absl::StatusCode;

const google::protobuf::Descriptor& Type() {
  return *jobs::v1::ListJobsRequest::descriptor();
}

TEST(MessageCodecTest, JsonBecomesBytes) {
  jobs::v1::ListJobsRequest want;
  want.set_parent("projects/p");
  want.set_page_size(3);
  for (const char* text :
       {R"({"parent":"projects/p","pageSize":3})", R"({"parent":"projects/p","page_size":"3"})"}) {
    const auto bytes = RequestBytes(Type(), Codec::kJson, text);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(*bytes, want.SerializeAsString()) << text;
  }
  EXPECT_EQ(*RequestBytes(Type(), Codec::kJson, "{}"), "");
}

TEST(MessageCodecTest, RefusesUnknownFields) {
  const auto refused = RequestBytes(Type(), Codec::kJson, R"({"parent":"projects/p","pageSise":3})");
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("pageSise"), std::string::npos) << refused.status();
}

TEST(MessageCodecTest, RefusesWhatIsNoMessage) {
  for (const char* text :
       {"", "{", "[]", "\"a\"", "{\"pageSize\":\"x\"}", "{\"parent\":1.5e}", "{} {}", "\xff"}) {
    EXPECT_EQ(RequestBytes(Type(), Codec::kJson, text).status().code(), StatusCode::kInvalidArgument) << text;
  }
  EXPECT_EQ(RequestBytes(Type(), Codec::kProto, "\x0a\xff").status().code(), StatusCode::kInvalidArgument);
}

TEST(MessageCodecTest, NoErrorRepeatsAValue) {
  for (const char* text :
       {R"({"pageSize":"my secret"})", R"({"pageSize":{"a":"my secret"}})", R"({"parent":["my secret"]})",
        R"({"parent": my secret})", "{\"a\nmy secret\":1}", R"({"parent":"my secret" "pageSize":1})"}) {
    const auto refused = RequestBytes(Type(), Codec::kJson, text);
    EXPECT_FALSE(refused.ok()) << text;
    EXPECT_EQ(refused.status().message().find("secret"), std::string::npos) << refused.status();
  }
}

TEST(MessageCodecTest, DepthIsBounded) {
  std::string deep;
  for (int i = 0; i < 10'000; ++i) deep += R"({"parent":)";
  EXPECT_EQ(RequestBytes(Type(), Codec::kJson, deep).status().code(), StatusCode::kInvalidArgument);
}

TEST(MessageCodecTest, AnswersAreCanonicalJson) {
  jobs::v1::Job job;
  job.set_name("projects/p/jobs/j");
  job.mutable_create_time()->set_seconds(1);
  const auto json = ResponseBody(*jobs::v1::Job::descriptor(), Codec::kJson, job.SerializeAsString());
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(*json, R"({"name":"projects/p/jobs/j","createTime":"1970-01-01T00:00:01Z"})");
  EXPECT_EQ(*ResponseBody(*jobs::v1::Job::descriptor(), Codec::kProto, job.SerializeAsString()),
            job.SerializeAsString());
  EXPECT_EQ(ResponseBody(*jobs::v1::Job::descriptor(), Codec::kJson, "\x0a\xff").status().code(),
            StatusCode::kInternal);
}

}  // namespace
}  // namespace retort::services::gateway
