#include "services/identity/spiffe_id.h"

#include <gtest/gtest.h>

namespace retort::services {
namespace {

TEST(SpiffeIdTest, TakesApartWhatTheStandardAllows) {
  const auto id = SpiffeId::Parse("spiffe://retort.example/people/Anna_K-1.x");
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(id->trust_domain(), "retort.example");
  EXPECT_EQ(id->path(), "/people/Anna_K-1.x");
  EXPECT_EQ(id->text(), "spiffe://retort.example/people/Anna_K-1.x");
  EXPECT_TRUE(SpiffeId::Parse("spiffe://a_b-c.9/...").ok());  // three dots are a name
  EXPECT_TRUE(SpiffeId::Parse("spiffe://" + std::string(255, 'd') + "/x").ok());
  EXPECT_TRUE(SpiffeId::Parse("spiffe://d/" + std::string(2048 - 11, 'p')).ok());
}

TEST(SpiffeIdTest, RefusesEverythingElse) {
  for (const std::string& text : std::vector<std::string>{"",
                                                          "spiffe://",
                                                          "spiffe:///x",
                                                          "spiffe://retort.example",
                                                          "spiffe://retort.example/",
                                                          "SPIFFE://retort.example/x",
                                                          "spiffe:/retort.example/x",
                                                          "https://retort.example/x",
                                                          "spiffe://Retort.example/x",
                                                          "spiffe://retort.example:443/x",
                                                          "spiffe://anna@retort.example/x",
                                                          "spiffe://retort.example/x?y",
                                                          "spiffe://retort.example/x#y",
                                                          "spiffe://retort.example/x%2Fy",
                                                          "spiffe://retort.example//x",
                                                          "spiffe://retort.example/x/",
                                                          "spiffe://retort.example/./x",
                                                          "spiffe://retort.example/x/..",
                                                          "spiffe://retort.example/x y",
                                                          "spiffe://retort.example/\xC3\xA9",
                                                          " spiffe://retort.example/x",
                                                          "spiffe://retort.example/x\n",
                                                          std::string("spiffe://retort.example/x\0y", 27),
                                                          "spiffe://" + std::string(256, 'd') + "/x",
                                                          "spiffe://d/" + std::string(2048 - 10, 'p')}) {
    const auto id = SpiffeId::Parse(text);
    EXPECT_EQ(id.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_LT(id.status().message().size(), 250u);
  }
}

TEST(SpiffeIdTest, ACertificateNamesExactlyOne) {
  EXPECT_TRUE(SpiffeId::FromCertificateUris({"spiffe://retort.example/x"}).ok());
  for (const std::vector<std::string>& uris : {std::vector<std::string>{},
                                               {"https://retort.example/x"},
                                               {"spiffe://retort.example/x", "spiffe://retort.example/x"},
                                               {"spiffe://retort.example/x", "https://retort.example"}}) {
    EXPECT_EQ(SpiffeId::FromCertificateUris(uris).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace retort::services
