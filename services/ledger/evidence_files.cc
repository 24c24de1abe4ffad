#include "services/ledger/evidence_files.h"

#include <set>

#include "ledger/hex.h"
#include "ledger/statement.h"
#include "ledger/tile.h"

namespace retort::services {
namespace {

// The attachment that an entry names; empty for kinds that name none.
absl::StatusOr<std::string> AttachmentOf(const ledger::Entry& entry) {
  const std::string& json = entry.statements.front().statement;
  switch (entry.kind) {
    case ledger::EntryKind::kPolicyPack: {
      const auto pack = ledger::PolicyPackStatement::Parse(json);
      if (!pack.ok()) return pack.status();
      return pack->sha256;
    }
    case ledger::EntryKind::kDataset: {
      const auto dataset = ledger::DatasetStatement::Parse(json);
      if (!dataset.ok()) return dataset.status();
      return dataset->manifest_sha256;
    }
    case ledger::EntryKind::kTraining: {
      const auto training = ledger::TrainingStatement::Parse(json);
      if (!training.ok()) return training.status();
      return training->manifest_sha256;
    }
    default:
      return std::string();
  }
}

}  // namespace

absl::Status ForEachEvidenceFile(
    const ledger::Log& log, const ledger::SignedCheckpoint& checkpoint,
    const std::function<absl::Status(const std::string& path, std::string_view content)>& visit) {
  if (auto s = visit("checkpoint", checkpoint.note); !s.ok()) return s;
  std::set<std::string> attachments;
  for (const auto& tile : ledger::BundlesOf(checkpoint.checkpoint.size)) {
    std::string bundle, hashes;
    const uint64_t first = tile.index * ledger::kTileWidth;
    const auto take = [&](const ledger::StoredEntry& entry) {
      ledger::AppendToBundle(bundle, entry.leaf);
      hashes += ledger::AsView(entry.leaf_hash);
      const auto named = AttachmentOf(entry.entry);
      if (!named.ok()) return absl::DataLossError(std::string(named.status().message()));
      if (!named->empty()) attachments.insert(*named);
      return absl::OkStatus();
    };
    if (auto s = log.ForEachEntry(first, first + tile.width, {}, take); !s.ok()) return s;
    if (auto s = visit(ledger::TilePath(tile), bundle); !s.ok()) return s;
    const ledger::TileId leaf_hashes{.level = 0, .index = tile.index, .width = tile.width};
    if (auto s = visit(ledger::TilePath(leaf_hashes), hashes); !s.ok()) return s;
  }
  for (const std::string& sha256 : attachments) {
    const auto digest = ledger::DigestFromHex(sha256);
    if (!digest.ok()) return absl::DataLossError(std::string(digest.status().message()));
    const auto content = log.ReadAttachment(*digest);
    if (!content.ok()) return absl::DataLossError(std::string(content.status().message()));
    if (auto s = visit("attachments/" + sha256, *content); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace retort::services
