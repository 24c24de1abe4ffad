#include "services/cli/log_check.h"

#include <gtest/gtest.h>

#include "ledger/merkle.h"
#include "ledger/proof_file.h"

namespace retort::services {
namespace {

// A log of two leaves with a proof of the second.
struct TwoLeaves {
  ledger::SigningKey key = ledger::SigningKey::FromSeed("test/log", std::string(32, 'k')).value();
  std::string first = "first", second = "second";
  std::string note, proof;

  TwoLeaves() {
    const ledger::Digest root = ledger::NodeHash(ledger::LeafHash(first), ledger::LeafHash(second));
    note = ledger::SignCheckpoint({"test/log", 2, root}, key);
    proof = ledger::FormatProofFile({std::nullopt, 1, {ledger::LeafHash(first)}, note});
  }
  ledger::VerifyingKey Public() const { return ledger::VerifyingKey::Parse(key.vkey()).value(); }
};

TEST(CheckProofFileTest, AcceptsTheLeaf) {
  const TwoLeaves log;
  const LogCheck check = CheckProofFile(log.proof, log.second, log.Public());
  EXPECT_EQ(check.Verdict(), "VERIFIED");
  EXPECT_EQ(check.checkpoint.size, 2u);
  EXPECT_FALSE(check.not_checked.empty());
}

TEST(CheckProofFileTest, RefusesAnotherLeaf) {
  const TwoLeaves log;
  const LogCheck check = CheckProofFile(log.proof, log.first, log.Public());
  EXPECT_EQ(check.Verdict().rfind("FAILED: entry 1: ", 0), 0u) << check.Verdict();
}

TEST(CheckProofFileTest, RefusesAnotherKey) {
  const TwoLeaves log;
  const auto other = ledger::SigningKey::FromSeed("test/log", std::string(32, 'o')).value();
  const LogCheck check =
      CheckProofFile(log.proof, log.second, ledger::VerifyingKey::Parse(other.vkey()).value());
  EXPECT_EQ(check.Verdict().rfind("FAILED: ", 0), 0u) << check.Verdict();
}

TEST(CheckProofFileTest, RefusesRubbish) {
  const TwoLeaves log;
  EXPECT_EQ(CheckProofFile("rubbish", log.second, log.Public()).Verdict().rfind("FAILED: proof file: ", 0),
            0u);
}

TEST(CheckCheckpointTest, ChecksTheSignature) {
  const TwoLeaves log;
  EXPECT_EQ(CheckCheckpoint(log.note, log.Public()).Verdict(), "VERIFIED");
  std::string changed = log.note;
  changed[changed.find("\n2\n") + 1] = '3';
  EXPECT_EQ(CheckCheckpoint(changed, log.Public()).Verdict().rfind("FAILED: checkpoint: ", 0), 0u);
}

}  // namespace
}  // namespace retort::services
