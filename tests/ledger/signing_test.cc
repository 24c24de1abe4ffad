#include "ledger/signing.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "ledger/base64.h"
#include "ledger/hex.h"
#include "ledger/key_registry.h"
#include "ledger/signed_statement.h"
#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

constexpr char kPublishedVkey[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
constexpr char kPublishedKey[] =
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";

std::string Bytes(const Signature& signature) {
  return {reinterpret_cast<const char*>(signature.data()), signature.size()};
}

TEST(SigningTest, Rfc8032TestOne) {
  const auto key = SigningKey::FromSeed(
      "x", *HexDecode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"));
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(HexEncode(Bytes(key->Sign(""))),
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24"
            "655141438e7a100b");
  EXPECT_EQ(
      HexEncode(key->key_id()),
      HexEncode(Sha256(*HexDecode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))));
}

TEST(SigningTest, PublishedKeyGivesPublishedVkey) {
  const auto key = SigningKey::Parse(kPublishedKey);
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->vkey(), kPublishedVkey);
  const auto verifier = VerifyingKey::Parse(kPublishedVkey);
  ASSERT_TRUE(verifier.ok()) << verifier.status();
  EXPECT_EQ(verifier->vkey(), kPublishedVkey);
  EXPECT_EQ(verifier->key_id(), key->key_id());
  EXPECT_TRUE(verifier->Verify("text", key->Sign("text")).ok());
  EXPECT_EQ(verifier->Verify("texx", key->Sign("text")).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(verifier->Verify("text", "short").code(), absl::StatusCode::kInvalidArgument);
}

TEST(SigningTest, EveryFlippedBitOfASignatureFails) {
  const auto key = SigningKey::Parse(kPublishedKey);
  const auto verifier = VerifyingKey::Parse(kPublishedVkey);
  const Signature signature = key->Sign("text");
  for (size_t bit = 0; bit < signature.size() * 8; ++bit) {
    Signature changed = signature;
    changed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_EQ(verifier->Verify("text", changed).code(), absl::StatusCode::kDataLoss) << bit;
  }
}

TEST(SigningTest, RefusesScalarsBeyondTheGroupOrder) {
  // S + L is the same number modulo the order L = 2^252 + 27742317777372353535851937790883648493: another
  // signature.
  const std::string order = *HexDecode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
  const auto key = SigningKey::Parse(kPublishedKey);
  const auto verifier = VerifyingKey::Parse(kPublishedVkey);
  Signature signature = key->Sign("text");
  unsigned carry = 0;
  for (size_t i = 0; i < 32; ++i) {
    const unsigned sum = signature[32 + i] + static_cast<uint8_t>(order[i]) + carry;
    signature[32 + i] = static_cast<uint8_t>(sum);
    carry = sum >> 8;
  }
  ASSERT_EQ(carry, 0u);
  EXPECT_EQ(verifier->Verify("text", signature).code(), absl::StatusCode::kDataLoss);
}

TEST(SigningTest, RefusesMalformedVkeys) {
  for (const std::string bad :
       {"", "PeterNeumann", "PeterNeumann+c74f20a3",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+BBpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy", "x+00000000+"}) {
    EXPECT_EQ(VerifyingKey::Parse(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(SigningTest, VkeyBase64MayHoldPlus) {
  for (int i = 0; i < 2000; ++i) {
    const auto key = SigningKey::FromSeed("name", AsView(Sha256(std::to_string(i))));
    const std::string vkey = key->vkey();
    if (vkey.find('+', vkey.find('+', 5) + 1) == std::string::npos) continue;
    EXPECT_TRUE(VerifyingKey::Parse(vkey).ok()) << vkey;
    return;
  }
  FAIL() << "no key with a plus in its base64";
}

TEST(SigningTest, ChecksNames) {
  EXPECT_TRUE(CheckKeyName("example.com/foo").ok());
  for (const std::string bad : {"", "a b", "a+b", "a\tb", "a\nb",
                                "a\xC2\xA0"
                                "b",
                                "a\xE2\x80\x83"
                                "b",
                                "a\xE3\x80\x80"}) {
    EXPECT_EQ(CheckKeyName(bad).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(CheckKeyName(std::string(256, 'a')).ok());
}

TEST(SigningTest, KeyFileRoundTrip) {
  const TemporaryFolder folder;
  const auto key = SigningKey::Generate("test/key");
  ASSERT_TRUE(key.ok()) << key.status();
  const std::string path = folder / "key";
  ASSERT_TRUE(key->Save(path).ok());
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const auto loaded = SigningKey::Load(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->vkey(), key->vkey());
  EXPECT_EQ(loaded->Sign("x"), key->Sign("x"));
  EXPECT_EQ(key->Save(path).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(key->Save(folder / "no/such/key").code(), absl::StatusCode::kUnavailable);
}

TEST(SigningTest, KeyFileErrors) {
  const TemporaryFolder folder;
  EXPECT_EQ(SigningKey::Load(folder / "absent").status().code(), absl::StatusCode::kNotFound);
  const std::string path = folder / "key";
  WriteWholeFile(path, std::string(kPublishedKey) + "\n");
  chmod(path.c_str(), 0640);
  EXPECT_EQ(SigningKey::Load(path).status().code(), absl::StatusCode::kFailedPrecondition);
  chmod(path.c_str(), 0600);
  EXPECT_TRUE(SigningKey::Load(path).ok());
  WriteWholeFile(path, "garbage");
  const absl::Status status = SigningKey::Load(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()).find("garbage"), std::string::npos);
  EXPECT_EQ(SigningKey::Load(folder / ".").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(SigningTest, AnotherNameIsTheSameKey) {
  const auto key = SigningKey::Parse(kPublishedKey);
  const auto renamed = key->WithName("other");
  ASSERT_TRUE(renamed.ok()) << renamed.status();
  EXPECT_EQ(renamed->key_id(), key->key_id());
  EXPECT_NE(renamed->note_id(), key->note_id());
  EXPECT_EQ(key->WithName("a b").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SignedStatementTest, TypeIsPartOfWhatIsSigned) {
  const TestKeys keys = TestKeys::Make();
  const auto verifier = VerifyingKey::Parse(keys.teacher.vkey());
  SignedStatement statement = SignStatement(keys.teacher, StatementType::kCapture, "{}");
  EXPECT_TRUE(VerifyStatement(*verifier, StatementType::kCapture, statement).ok());
  EXPECT_EQ(VerifyStatement(*verifier, StatementType::kDecision, statement).code(),
            absl::StatusCode::kDataLoss);
  statement.key_id[0] ^= 1;
  EXPECT_EQ(VerifyStatement(*verifier, StatementType::kCapture, statement).code(),
            absl::StatusCode::kDataLoss);
}

TEST(KeyRegistryTest, KeysCountFromTheirEntryOn) {
  const TestKeys keys = TestKeys::Make();
  KeyRegistry registry(*VerifyingKey::Parse(keys.log.vkey()));
  const KeyStatement add{.role = "teacher", .vkey = keys.teacher.vkey(), .action = "add"};
  KeyStatement retire = add;
  retire.action = "retire";
  ASSERT_TRUE(registry.Register(3, add).ok());
  ASSERT_TRUE(registry.Register(7, retire).ok());
  const SignedStatement statement = SignStatement(keys.teacher, StatementType::kCapture, "{}");
  const auto accepted = [&](uint64_t index) {
    return registry.Check(index, StatementType::kCapture, statement).ok();
  };
  EXPECT_FALSE(accepted(2));
  EXPECT_FALSE(accepted(3));
  EXPECT_TRUE(accepted(4));
  EXPECT_TRUE(accepted(7));
  EXPECT_FALSE(accepted(8));
  EXPECT_TRUE(registry.Current().empty());
  EXPECT_EQ(registry.Register(9, retire).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(registry.Register(9, add).ok());
  EXPECT_TRUE(accepted(KeyRegistry::kNow));
  EXPECT_EQ(registry.Register(10, add).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(registry.Register(11, {.role = "log", .vkey = keys.jobs.vkey(), .action = "add"}).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::ledger
