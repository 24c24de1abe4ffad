#include "services/gateway/browser_rules.h"

#include <gtest/gtest.h>

namespace retort::services::gateway {
namespace {

TEST(BrowserRulesTest, OriginsAreAsBrowsersSendThem) {
  for (const char* text : {"https://console.example", "http://localhost:3000", "http://127.0.0.1:1",
                           "http://[::1]:8080", "https://[::1]"}) {
    EXPECT_TRUE(IsOrigin(text)) << text;
  }
  for (const char* text :
       {"", "*", "null", "console.example", "https://", "https://Console.example", "https://a/",
        "https://a:443", "http://a:80", "https://a:", "https://a:0", "ftp://a", "https://a b", "https://a?x",
        "https://user@a", "https://a:999999", "http://[::1]:0", "http://[]"}) {
    EXPECT_FALSE(IsOrigin(text)) << text;
  }
}

TEST(BrowserRulesTest, OnlyListedOriginsMayCall) {
  const std::set<std::string> origins = {"https://a.example"};
  EXPECT_TRUE(OriginAllowed({}, origins));
  EXPECT_TRUE(OriginAllowed({{"origin", "https://a.example"}}, origins));
  for (const char* origin :
       {"https://b.example", "null", "", "https://a.example.evil", "HTTPS://A.EXAMPLE"}) {
    EXPECT_FALSE(OriginAllowed({{"origin", origin}}, origins)) << origin;
  }
  EXPECT_FALSE(OriginAllowed({{"origin", "https://a.example"}, {"origin", "https://b.example"}}, origins));
  EXPECT_FALSE(OriginAllowed({{"origin", "https://a.example"}}, {}));
}

TEST(BrowserRulesTest, APageMayReadTheHeadersOfItsResponse) {
  EXPECT_EQ(CorsHeaders({}, {{"x-a", "1"}}), Headers());
  const Headers headers = CorsHeaders({{"origin", "https://a.example"}}, {{"x-a", "1"}, {"trailer-x", "2"}});
  EXPECT_EQ(ValueOf(headers, "access-control-allow-origin"), "https://a.example");
  EXPECT_EQ(ValueOf(headers, "access-control-expose-headers"), "x-a, trailer-x");
  EXPECT_EQ(ValueOf(headers, "vary"), "Origin");
}

TEST(BrowserRulesTest, OnlyLoopbackNamesAreThisMachine) {
  for (const char* host : {"localhost:8080", "127.0.0.1:8080", "[::1]:8080"}) {
    EXPECT_TRUE(IsLoopbackHost(host, 8080)) << host;
  }
  for (const char* host : {"", "localhost", "localhost:8081", "evil.example:8080",
                           "127.0.0.1.evil.example:8080", "localhost.evil.example:8080", "127.0.0.2:8080",
                           "LOCALHOST.:8080", "0.0.0.0:8080", "localhost:08080"}) {
    EXPECT_FALSE(IsLoopbackHost(host, 8080)) << host;
  }
  EXPECT_TRUE(IsLoopbackHost("localhost", 80));
}

}  // namespace
}  // namespace retort::services::gateway
