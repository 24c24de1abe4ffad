#include "services/gateway/metadata.h"

#include <gtest/gtest.h>

namespace retort::services::gateway {
namespace {

TEST(MetadataTest, PassesWhatIsForTheService) {
  const auto metadata =
      ToMetadata({{"traceparent", "00-a-b-01"}, {"x-a", "1"}, {"x-a", "2"}, {"x-bin", "AQI"}});
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  EXPECT_EQ(*metadata,
            (Metadata{{"traceparent", "00-a-b-01"}, {"x-a", "1"}, {"x-a", "2"}, {"x-bin", "\1\2"}}));
}

TEST(MetadataTest, DropsWhatIsNot) {
  const auto metadata = ToMetadata({{"host", "a"},
                                    {"content-length", "1"},
                                    {"connection", "close"},
                                    {"cookie", "c"},
                                    {"authorization", "secret"},
                                    {"connect-timeout-ms", "1"},
                                    {"grpc-timeout", "1H"},
                                    {"sec-fetch-site", "none"},
                                    {"retort-forwarded-identity", "spiffe://a/b"},
                                    {"retort-forwarded-secret", "s"},
                                    {"retort-forwarded-anything", "s"},
                                    {"x~y", "not a name of gRPC"},
                                    {"te", "trailers"},
                                    {"user-agent", "curl"}});
  ASSERT_TRUE(metadata.ok()) << metadata.status();
  EXPECT_EQ(*metadata, Metadata());
}

TEST(MetadataTest, BinaryHeadersAreBase64PaddedOrNotAndMayBeJoined) {
  EXPECT_EQ(*ToMetadata({{"a-bin", "AQI="}}), (Metadata{{"a-bin", "\1\2"}}));
  EXPECT_EQ(*ToMetadata({{"a-bin", "AQ, Ag=="}}), (Metadata{{"a-bin", "\1"}, {"a-bin", "\2"}}));
  EXPECT_EQ(ToMetadata({{"a-bin", "not base64!"}}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MetadataTest, RefusesBytesThatGrpcCannotCarry) {
  const auto refused = ToMetadata({{"x-name", "Zo\xc3\xab"}});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("x-name"), std::string::npos);
}

TEST(MetadataTest, ResponsesCannotChangeTheFraming) {
  const Metadata from = {{"x-a", "1"},
                         {"content-length", "0"},
                         {"transfer-encoding", "chunked"},
                         {"x-bin", "\1\2"},
                         {"set-cookie", "a=b"},
                         {"trailer-x", "forged"},
                         {"connect-x", "1"},
                         {"grpc-status-details-bin", ""},
                         {"retort-forwarded-secret", "s"},
                         {"x-b", "a\r\nb: c"},
                         {"access-control-allow-origin", "*"}};
  EXPECT_EQ(ToHeaders(from), (Headers{{"x-a", "1"}, {"x-bin", "AQI"}}));
}

TEST(MetadataTest, TrailersHaveAPrefix) {
  EXPECT_EQ(ToHeaders({{"x-a", "1"}, {"x-bin", "\1"}}, "trailer-"),
            (Headers{{"trailer-x-a", "1"}, {"trailer-x-bin", "AQ"}}));
}

}  // namespace
}  // namespace retort::services::gateway
