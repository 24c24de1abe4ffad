// Every parser of ledger formats: no input crashes it, and whatever it accepts it writes back byte for byte.
// The first byte of an input picks the parser.
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ledger/base64.h"
#include "ledger/checkpoint.h"
#include "ledger/dataset_manifest.h"
#include "ledger/entry.h"
#include "ledger/note.h"
#include "ledger/proof_file.h"
#include "ledger/signing.h"
#include "ledger/statement.h"
#include "ledger/tile.h"

namespace retort::ledger {
namespace {

template <typename Statement>
void TryStatement(std::string_view text) {
  if (const auto statement = Statement::Parse(text); statement.ok()) assert(statement->ToJson() == text);
}

void Try(uint8_t parser, std::string_view text) {
  switch (parser % 18) {
    case 0:
      if (const auto entry = ParseEntry(text); entry.ok()) assert(*EncodeEntry(*entry) == text);
      return;
    case 1:
      (void)ParseNote(text);
      return;
    case 2:
      (void)ParseCheckpoint(text);
      return;
    case 3:
      if (const auto key = VerifyingKey::Parse(text); key.ok()) assert(key->vkey() == text);
      return;
    case 4:
      (void)SigningKey::Parse(text);
      return;
    case 5:
      if (const auto bytes = Base64Decode(text); bytes.ok()) assert(Base64Encode(*bytes) == text);
      return;
    case 6:
      if (const auto tile = ParseTilePath(text); tile.ok()) assert(TilePath(*tile) == text);
      return;
    case 7:
      (void)ParseBundle(text, 3);
      return;
    case 8:
      if (const auto proof = ParseProofFile(text); proof.ok()) assert(FormatProofFile(*proof) == text);
      return;
    case 9:
      if (const auto manifest = DatasetManifest::Parse(text); manifest.ok())
        assert(manifest->ToJson() == text);
      return;
    case 10:
      return TryStatement<CaptureStatement>(text);
    case 11:
      return TryStatement<DecisionStatement>(text);
    case 12:
      return TryStatement<PolicyPackStatement>(text);
    case 13:
      return TryStatement<DatasetStatement>(text);
    case 14:
      return TryStatement<TrainingStatement>(text);
    case 15:
      return TryStatement<ReleaseStatement>(text);
    case 16:
      return TryStatement<KeyStatement>(text);
    default:
      TryStatement<AccessStatement>(text);
      TryStatement<ReviewStatement>(text);
      return TryStatement<ErasureStatement>(text);
  }
}

}  // namespace
}  // namespace retort::ledger

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) retort::ledger::Try(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
