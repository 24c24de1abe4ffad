#include "ledger/digest.h"

#include <gtest/gtest.h>

#include "ledger/base64.h"
#include "ledger/dsse.h"
#include "ledger/hex.h"
#include "ledger/uuid.h"

namespace retort::ledger {
namespace {

TEST(DigestTest, KnownHashes) {
  // FIPS 180-4 example "abc", and the empty string.
  EXPECT_EQ(HexEncode(Sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HexEncode(Sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(DigestTest, PiecesHashLikeTheWhole) {
  Sha256Hasher hasher;
  for (int round = 0; round < 2; ++round) {
    hasher.Update("a");
    hasher.Update("");
    hasher.Update("bc");
    EXPECT_EQ(hasher.Finish(), Sha256("abc"));
  }
  EXPECT_EQ(SaltedDigest("a", "bc"), Sha256("abc"));
}

TEST(HexTest, RoundTripAndStrictness) {
  EXPECT_EQ(HexEncode(std::string_view("\x00\xff\x10", 3)), "00ff10");
  EXPECT_EQ(*HexDecode("00ff10"), std::string("\x00\xff\x10", 3));
  for (const std::string bad : {"0", "FF", "0g", " 0", "0x"}) {
    EXPECT_EQ(HexDecode(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_TRUE(DigestFromHex(std::string(64, 'a')).ok());
  for (const size_t length : {0, 62, 63, 65, 66}) {
    EXPECT_FALSE(DigestFromHex(std::string(length, 'a')).ok()) << length;
  }
}

TEST(Base64Test, PublishedVectors) {
  const std::pair<std::string, std::string> vectors[] = {// RFC 4648 section 10
                                                         {"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(Base64Encode(bytes), text);
    ASSERT_TRUE(Base64Decode(text).ok()) << text;
    EXPECT_EQ(*Base64Decode(text), bytes);
  }
}

TEST(Base64Test, RefusesOtherForms) {
  for (const std::string bad : {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zm9v ", "Zm9v\n", "Zm-v", "Zm_v",
                                "=g==", "Zg==Zg==", "====", "Z==="}) {
    EXPECT_EQ(Base64Decode(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(UuidTest, HasVersionAndVariant) {
  Digest ones;
  ones.fill(0xFF);
  EXPECT_EQ(UuidFromDigest(ones), "ffffffff-ffff-8fff-bfff-ffffffffffff");
  EXPECT_EQ(UuidFromDigest(Digest{}), "00000000-0000-8000-8000-000000000000");
}

TEST(UuidTest, SampleRequestIdIsTheDigestOfItsParts) {
  // printf 'retort/sample/v1\njob\n7\n2' | sha256sum
  EXPECT_EQ(SampleRequestId("job", 7, 2), UuidFromDigest(Sha256("retort/sample/v1\njob\n7\n2")));
  EXPECT_NE(SampleRequestId("job", 7, 2), SampleRequestId("job", 72, 0));
  EXPECT_TRUE(IsUuid(SampleRequestId("job", 7, 2)));
}

TEST(UuidTest, AcceptsOnlyTheCanonicalForm) {
  EXPECT_TRUE(IsUuid("01234567-89ab-4def-8123-456789abcdef"));
  for (const std::string bad :
       {"", "01234567-89AB-4def-8123-456789abcdef", "0123456789ab4def8123456789abcdef",
        "01234567-89ab-4def-8123-456789abcde", "01234567-89ab-4def-8123-456789abcdefg",
        "01234567089ab-4def-8123-456789abcdef", "{1234567-89ab-4def-8123-456789abcdef"}) {
    EXPECT_FALSE(IsUuid(bad)) << bad;
  }
}

TEST(DsseTest, PublishedEncodings) {
  const std::string encoding = PreAuthenticationEncoding("http://example.com/HelloWorld", "hello world");
  EXPECT_EQ(encoding, "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
  EXPECT_EQ(HexEncode(Sha256(encoding)), "217751fac2c4f14edb2c9297fbc34abcb016ba88e74757e875ec4ac16fb6b6a1");
  EXPECT_EQ(PreAuthenticationEncoding("", ""), "DSSEv1 0  0 ");
  EXPECT_EQ(PreAuthenticationEncoding("\xC3\xA9", "x"), "DSSEv1 2 \xC3\xA9 1 x");  // bytes, not characters
}

}  // namespace
}  // namespace retort::ledger
