#include "services/gateway/request_parser.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace retort::services::gateway {
namespace {

using State = RequestParser::State;

constexpr size_t kHeadMax = 1024;

// Feeds `bytes` in pieces of `step`, taking a body of at most 100 bytes; returns what was not used.
std::string FeedAll(RequestParser& parser, std::string_view bytes, size_t step) {
  std::string unread;
  while (!bytes.empty()) {
    unread.append(bytes.substr(0, step));
    bytes.remove_prefix(std::min(step, bytes.size()));
    for (size_t used = 1; used > 0 && !unread.empty();) {
      used = parser.Feed(unread);
      unread.erase(0, used);
      if (parser.state() == State::kHead) parser.AcceptBody(100);
    }
  }
  return unread;
}

TEST(RequestParserTest, ReadsARequestHoweverItIsCut) {
  const std::string request =
      "POST /a.B/C?x=1 HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nX-A: 1\r\nx-a: "
      "2\r\nContent-Length: "
      "5\r\n\r\nhello";
  for (size_t step = 1; step <= request.size(); ++step) {
    RequestParser parser(kHeadMax);
    EXPECT_EQ(FeedAll(parser, request, step), "");
    ASSERT_EQ(parser.state(), State::kDone) << step;
    EXPECT_EQ(parser.head().method, "POST");
    EXPECT_EQ(parser.head().target, "/a.B/C?x=1");
    EXPECT_EQ(parser.head().content_length, 5u);
    EXPECT_EQ(JoinedValues(parser.head().headers, "x-a"), "1,2");
    EXPECT_EQ(ValueOf(parser.head().headers, "content-type"), "application/json");
    EXPECT_EQ(parser.body(), "hello");
  }
}

TEST(RequestParserTest, ReadsChunksAndLeavesTheNextRequest) {
  const std::string next = "GET / HTTP/1.1\r\n";
  for (size_t step = 1; step < 90; ++step) {
    RequestParser parser(kHeadMax);
    EXPECT_EQ(FeedAll(parser,
                      "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
                      "chunked\r\n\r\n3\r\nabc\r\n2;e=1\r\nde\r\n0\r\n\r\n" +
                          next,
                      step),
              next)
        << step;
    ASSERT_EQ(parser.state(), State::kDone) << step;
    EXPECT_FALSE(parser.head().content_length.has_value());
    EXPECT_EQ(parser.body(), "abcde");
  }
}

TEST(RequestParserTest, WithoutABodyItIsDoneAtOnce) {
  RequestParser parser(kHeadMax);
  EXPECT_EQ(FeedAll(parser, "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 1000), "");
  EXPECT_EQ(parser.state(), State::kDone);
  EXPECT_FALSE(parser.head().keep_alive);
  EXPECT_EQ(parser.head().content_length, 0u);
}

TEST(RequestParserTest, RefusesWhatIsNoRequestOfThisVersion) {
  const std::pair<const char*, int> cases[] = {
      {"GET / HTTP/1.0\r\nHost: h\r\n\r\n", 505},
      {"GET / HTTP/3.7\r\nHost: h\r\n\r\n", 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"GET / HTTP/1.1\r\n\r\n", 400},                        // no Host
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},  // two
      {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},     // for a proxy
      {"(x) / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 505},
      {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: \1\r\n\r\n", 400},
      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},  // TLS to a port without
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n", 413},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
  };
  for (const auto& [text, status] : cases) {
    RequestParser parser(kHeadMax);
    FeedAll(parser, std::string_view(text, strlen(text)), 1000);
    EXPECT_EQ(parser.state(), State::kRefused) << text;
    EXPECT_EQ(parser.refusal().status, status) << text << parser.refusal().text;
  }
}

TEST(RequestParserTest, TheHeadIsBounded) {
  RequestParser parser(kHeadMax);
  const std::string head = "GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(2 * kHeadMax, 'x');
  const std::string unread = FeedAll(parser, head, 100);
  EXPECT_EQ(parser.state(), State::kRefused);
  EXPECT_EQ(parser.refusal().status, 431);
}

}  // namespace
}  // namespace retort::services::gateway
