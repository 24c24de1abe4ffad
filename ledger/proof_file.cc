#include "ledger/proof_file.h"

#include <algorithm>
#include <charconv>

#include "ledger/base64.h"
#include "ledger/internal/status_text.h"
#include "ledger/merkle.h"

namespace retort::ledger {
namespace {

constexpr std::string_view kHeader = "c2sp.org/tlog-proof@v1\n";
constexpr size_t kHashesMax = 64;

absl::Status Malformed(int line, std::string_view rule) {
  return absl::InvalidArgumentError("proof file, line " + std::to_string(line) + ": " + std::string(rule));
}

}  // namespace

std::string FormatProofFile(const ProofFile& proof) {
  std::string text(kHeader);
  if (proof.extra.has_value()) text += "extra " + Base64Encode(*proof.extra) + "\n";
  text += "index " + std::to_string(proof.index) + "\n";
  for (const Digest& hash : proof.hashes) text += Base64Encode(AsView(hash)) + "\n";
  return text + "\n" + proof.checkpoint;
}

absl::StatusOr<ProofFile> ParseProofFile(std::string_view text) {
  if (!text.starts_with(kHeader)) return Malformed(1, "wanted c2sp.org/tlog-proof@v1");
  text.remove_prefix(kHeader.size());
  int number = 1;
  std::string_view line;
  const auto next = [&]() -> bool {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return false;
    line = text.substr(0, end);
    text.remove_prefix(end + 1);
    ++number;
    return true;
  };
  ProofFile proof;
  if (!next()) return Malformed(2, "wanted a line with the index");
  if (line.starts_with("extra ")) {
    absl::StatusOr<std::string> extra = Base64Decode(line.substr(6));
    if (!extra.ok()) return Malformed(number, internal::MessageOf(extra.status()));
    proof.extra = *std::move(extra);
    if (!next()) return Malformed(number + 1, "wanted a line with the index");
  }
  if (!line.starts_with("index ")) return Malformed(number, "wanted \"index\" and a number");
  line.remove_prefix(6);
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), proof.index);
  if (line.empty() || error != std::errc() || end != line.data() + line.size() ||
      (line[0] == '0' && line.size() > 1)) {
    return Malformed(number, "the index is not a decimal number without leading zeros");
  }
  while (true) {
    if (!next()) return Malformed(number + 1, "wanted a hash or the empty line before the checkpoint");
    if (line.empty()) break;
    if (proof.hashes.size() == kHashesMax) return Malformed(number, "more than 64 hashes");
    const absl::StatusOr<std::string> bytes = Base64Decode(line);
    if (!bytes.ok()) return Malformed(number, internal::MessageOf(bytes.status()));
    Digest hash;
    if (bytes->size() != hash.size()) {
      return Malformed(number, "a hash of " + std::to_string(bytes->size()) + " bytes; wanted 32");
    }
    std::copy(bytes->begin(), bytes->end(), hash.begin());
    proof.hashes.push_back(hash);
  }
  if (text.empty()) return Malformed(number + 1, "wanted a checkpoint");
  proof.checkpoint = text;
  return proof;
}

absl::StatusOr<Checkpoint> VerifyProofFile(const ProofFile& proof, std::string_view leaf,
                                           const VerifyingKey& log_key, std::string_view origin) {
  absl::StatusOr<Checkpoint> checkpoint = OpenCheckpoint(proof.checkpoint, log_key, origin);
  if (!checkpoint.ok()) return checkpoint.status();
  absl::Status status =
      VerifyInclusion(proof.index, checkpoint->size, LeafHash(leaf), proof.hashes, checkpoint->root);
  if (!status.ok()) return status;
  return checkpoint;
}

}  // namespace retort::ledger
