#include "ledger/note.h"

#include <gtest/gtest.h>

#include "ledger/base64.h"
#include "ledger/checkpoint.h"
#include "ledger/hex.h"
#include "ledger/merkle.h"
#include "ledger/proof_file.h"

namespace retort::ledger {
namespace {

constexpr char kDash[] = "\xE2\x80\x94";

VerifyingKey Key(const std::string& vkey) {
  absl::StatusOr<VerifyingKey> key = VerifyingKey::Parse(vkey);
  EXPECT_TRUE(key.ok()) << key.status();
  return *std::move(key);
}

std::string SpecificationNote() {
  return std::string("This is an example message.\n\n") + kDash +
         " example.com/foo "
         "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
}
const char* const kSpecificationVkey =
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

// Keys are SHA-256("log") and SHA-256("w") as seeds; the tree is the first seven classic leaves.
std::string DigestNote() {
  return std::string("example.com/log1\n7\n3bib5AOAnjJXUNPSY814kpwpQreUKjS3fhIslZSnTIw=\n\n") + kDash +
         " example.com/log1 "
         "TY2zYva70qgMfkkUZit9x9hme+5ogju57IVss57rg0M0RQERs7NRcHw8m5BCrwjsPmyodaXLFTBie3ctxhQVWMOqbgY=\n" +
         kDash +
         " example.com/w1 "
         "IaArZgAAAABlU/EAeMQujgmhkV+q8giHMuyJEQo1MQ577rl9sm2/6wwY99mDgOW1eCxUeJxdG5AHyP3Vx+64KxW/"
         "NLW6rTpSoju/Dw=="
         "\n";
}
const char* const kLogVkey = "example.com/log1+4d8db362+AZsfhHkc/HZjBFhU04netcqVRJ2HXydqg4QLBgqznPxx";

TEST(NoteTest, OpensThePublishedNotes) {
  const auto text = OpenNote(SpecificationNote(), Key(kSpecificationVkey));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "This is an example message.\n");
  const std::string neumann =
      std::string(
          "If you think cryptography is the answer to your problem,\n"
          "then you don't know what your problem is.\n\n") +
      kDash +
      " PeterNeumann "
      "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
  EXPECT_TRUE(
      OpenNote(neumann, Key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")).ok());
  const auto key =
      SigningKey::Parse("PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz");
  EXPECT_EQ(SignNote(neumann.substr(0, neumann.find("\n\n") + 1), *key), neumann);
}

TEST(NoteTest, EveryFlippedBitIsNoticed) {
  const std::string note = SpecificationNote();
  const VerifyingKey key = Key(kSpecificationVkey);
  for (size_t bit = 0; bit < note.size() * 8; ++bit) {
    std::string changed = note;
    changed[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_FALSE(OpenNote(changed, key).ok()) << bit;
  }
}

TEST(NoteTest, EveryTruncationIsNoticed) {
  const std::string note = SpecificationNote();
  for (size_t length = 0; length < note.size(); ++length) {
    EXPECT_FALSE(OpenNote(note.substr(0, length), Key(kSpecificationVkey)).ok()) << length;
  }
}

TEST(NoteTest, SplitsAtTheLastBlankLine) {
  const auto key = SigningKey::FromSeed("name", AsView(Sha256("seed")));
  const std::string text = "first\n\nsecond\n";
  const auto opened = OpenNote(SignNote(text, *key), Key(key->vkey()));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(*opened, text);
}

TEST(NoteTest, OneBadLineOfAKnownKeySpoilsTheNote) {
  const auto key = SigningKey::FromSeed("name", AsView(Sha256("seed")));
  const std::string good = SignNote("text\n", *key);
  const std::string bad_line = SignNote("other\n", *key).substr(std::string("other\n\n").size());
  EXPECT_EQ(OpenNote(good + bad_line, Key(key->vkey())).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(OpenNote("text\n\n" + bad_line, Key(key->vkey())).status().code(), absl::StatusCode::kDataLoss);
}

TEST(NoteTest, UnknownKeysAreIgnoredButNotEnough) {
  const auto key = SigningKey::FromSeed("name", AsView(Sha256("seed")));
  const auto other = SigningKey::FromSeed("name", AsView(Sha256("other seed")));
  const std::string note = SignNote("text\n", *key);
  const std::string line = SignNote("text\n", *other).substr(std::string("text\n\n").size());
  EXPECT_TRUE(OpenNote(note + line, Key(key->vkey())).ok());
  EXPECT_EQ(OpenNote("text\n\n" + line, Key(key->vkey())).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(NoteTest, RefusesMalformedNotes) {
  const std::string line = std::string(kDash) + " name " + Base64Encode(std::string(68, 'x')) + "\n";
  for (const std::string& bad :
       {std::string(), std::string("text\n"), std::string("text\n\n"), "text\n" + line,
        "text\n\n" + line + "\n", "te\rxt\n\n" + line, std::string("te\0xt\n\n", 7) + line,
        "te\xFFxt\n\n" + line, "text\n\n-" + line, "text\n\n" + line.substr(0, line.size() - 1),
        "text\n\n" + std::string(kDash) + " name AAAA\n", "text\n\n" + std::string(kDash) + " name\n",
        "text\n\n" + std::string(kDash) + " na+me AAAAAAAA\n"}) {
    EXPECT_EQ(ParseNote(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  std::string many = "text\n\n";
  for (int i = 0; i < 65; ++i) many += line;
  EXPECT_FALSE(ParseNote(many).ok());
  EXPECT_TRUE(ParseNote(many.substr(0, many.size() - line.size())).ok());
}

TEST(CheckpointTest, OpensThePublishedCheckpoint) {
  const auto checkpoint = OpenCheckpoint(DigestNote(), Key(kLogVkey), "example.com/log1");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->size, 7u);
  EXPECT_EQ(HexEncode(checkpoint->root), "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c");
  const auto key = SigningKey::FromSeed("example.com/log1", AsView(Sha256("log")));
  EXPECT_EQ(key->vkey(), kLogVkey);
  const std::string ours = SignCheckpoint(*checkpoint, *key);
  EXPECT_EQ(DigestNote().substr(0, ours.size()), ours);
  EXPECT_EQ(OpenCheckpoint(DigestNote(), Key(kLogVkey), "example.com/log2").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CheckpointTest, ReadsOnlyTheCanonicalForm) {
  const std::string root = "3bib5AOAnjJXUNPSY814kpwpQreUKjS3fhIslZSnTIw=";
  EXPECT_TRUE(ParseCheckpoint("o\n0\n" + root + "\n").ok());
  EXPECT_TRUE(ParseCheckpoint("o\n18446744073709551615\n" + root + "\nextension\n").ok());
  for (const std::string& bad :
       {std::string(), "o\n7\n" + root, "\n7\n" + root + "\n", "o\n07\n" + root + "\n",
        "o\n+7\n" + root + "\n", "o\n-7\n" + root + "\n", "o\n 7\n" + root + "\n", "o\n\n" + root + "\n",
        "o\n18446744073709551616\n" + root + "\n", "o\n7x\n" + root + "\n", std::string("o\n7\nAAAA\n"),
        "o\n7\n" + root + "\n\n", std::string("o\n7\n"),
        std::string("o\n7\n3bib5AOAnjJXUNPSY814kpwpQreUKjS3fhIslZSnTIx=\n")}) {
    EXPECT_EQ(ParseCheckpoint(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(ProofFileTest, RoundTripAndVerification) {
  const auto key = SigningKey::FromSeed("o", AsView(Sha256("seed")));
  const Digest sibling = LeafHash("b");
  const Checkpoint checkpoint{.origin = "o", .size = 2, .root = NodeHash(LeafHash("a"), sibling)};
  ProofFile proof{
      .extra = "e", .index = 0, .hashes = {sibling}, .checkpoint = SignCheckpoint(checkpoint, *key)};
  const std::string text = FormatProofFile(proof);
  EXPECT_EQ(text.substr(0, 54),
            "c2sp.org/tlog-proof@v1\nextra ZQ==\nindex 0\n" + Base64Encode(AsView(sibling)).substr(0, 12));
  const auto parsed = ParseProofFile(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(FormatProofFile(*parsed), text);
  const VerifyingKey verifier = Key(key->vkey());
  const auto verified = VerifyProofFile(*parsed, "a", verifier, "o");
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_EQ(*verified, checkpoint);
  EXPECT_EQ(VerifyProofFile(*parsed, "b", verifier, "o").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(VerifyProofFile(*parsed, "a", verifier, "p").status().code(), absl::StatusCode::kInvalidArgument);
  proof.index = 1;
  EXPECT_EQ(VerifyProofFile(proof, "a", verifier, "o").status().code(), absl::StatusCode::kDataLoss);
  for (size_t length = 0; length < text.size(); ++length) {
    const auto cut = ParseProofFile(text.substr(0, length));
    EXPECT_FALSE(cut.ok() && VerifyProofFile(*cut, "a", verifier, "o").ok()) << length;
  }
  for (const std::string bad : {"index 01", "index -1", "index ", "index 1x"}) {
    EXPECT_FALSE(ParseProofFile(std::string("c2sp.org/tlog-proof@v1\n") + bad + "\n\nx").ok());
  }
}

}  // namespace
}  // namespace retort::ledger
