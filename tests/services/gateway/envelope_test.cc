#include "services/gateway/envelope.h"

#include <gtest/gtest.h>

#include "services/gateway/gzip.h"

namespace retort::services::gateway {
namespace {

using absl::StatusCode;

TEST(EnvelopeTest, HasFlagsAndALengthInNetworkOrder) {
  EXPECT_EQ(MakeEnvelope(kEndStreamFlag, "{}"), std::string("\2\0\0\0\2{}", 7));
  EXPECT_EQ(MakeEnvelope(0, std::string(0x10203, 'x')).substr(0, 5), std::string("\0\0\1\2\3", 5));
}

TEST(EnvelopeTest, ReadsTheOnlyMessage) {
  const std::string body = MakeEnvelope(kCompressedFlag, "abc");
  const auto envelope = OnlyEnvelope(body);
  ASSERT_TRUE(envelope.ok()) << envelope.status();
  EXPECT_EQ(envelope->flags, kCompressedFlag);
  EXPECT_EQ(envelope->message, "abc");
}

TEST(EnvelopeTest, WantsExactlyOne) {
  EXPECT_EQ(OnlyEnvelope("").status().code(), StatusCode::kUnimplemented);
  EXPECT_EQ(OnlyEnvelope(MakeEnvelope(0, "a") + MakeEnvelope(0, "b")).status().code(),
            StatusCode::kUnimplemented);
}

TEST(EnvelopeTest, RefusesOneThatIsCutOff) {
  const std::string whole = MakeEnvelope(0, "abc");
  for (size_t length = 1; length < whole.size(); ++length) {
    EXPECT_EQ(OnlyEnvelope(whole.substr(0, length)).status().code(), StatusCode::kInvalidArgument) << length;
  }
}

TEST(EnvelopeTest, RefusesFlagsThatNoRequestHas) {
  for (int flags = 2; flags < 256; ++flags) {
    EXPECT_EQ(OnlyEnvelope(MakeEnvelope(static_cast<uint8_t>(flags), "a")).status().code(),
              StatusCode::kInvalidArgument)
        << flags;
  }
}

TEST(GzipTest, ComesBack) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{100'000}}) {
    std::string text(size, 'a');
    for (size_t i = 0; i < size; i += 7) text[i] = static_cast<char>(i * 31);
    const auto back = Gunzip(Gzip(text), size);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, text);
  }
}

TEST(GzipTest, ABombIsRefusedAtItsBound) {
  const std::string bomb = Gzip(std::string(64 << 20, '\0'));
  EXPECT_LT(bomb.size(), size_t{1} << 20);
  EXPECT_EQ(Gunzip(bomb, 1 << 20).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Gunzip(Gzip("abcd"), 3).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(*Gunzip(Gzip("abcd"), 4), "abcd");
}

TEST(GzipTest, RefusesWhatIsNoGzip) {
  const std::string whole = Gzip("hello");
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_EQ(Gunzip(whole.substr(0, length), 100).status().code(), StatusCode::kInvalidArgument) << length;
  }
  EXPECT_EQ(Gunzip(whole + "x", 100).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Gunzip(whole + whole, 100).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Gunzip("{\"name\":\"x\"}", 100).status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::services::gateway
