#include "services/demo/tamper.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "ledger/entry.h"
#include "ledger/tile.h"
#include "services/demo/file_bytes.h"

namespace retort::services {
namespace {

namespace fs = std::filesystem;

struct Bundle {
  std::string path;  // relative to the pack
  ledger::TileId tile;
};

// The bundles of a pack in log order.
std::vector<Bundle> BundlesIn(const std::string& pack) {
  std::vector<Bundle> bundles;
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(pack, error);
       !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    const std::string path = fs::relative(it->path(), pack, error).generic_string();
    if (!it->is_regular_file(error)) continue;
    if (auto tile = ledger::ParseTilePath(path); tile.ok() && tile->entries) bundles.push_back({path, *tile});
  }
  std::sort(bundles.begin(), bundles.end(),
            [](const Bundle& a, const Bundle& b) { return a.tile.index < b.tile.index; });
  return bundles;
}

absl::Status FlipAt(const std::string& path, uint64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  char byte = 0;
  file.get(byte);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 1));
  file.close();
  if (!file) return absl::UnavailableError(path + ": cannot be changed");
  return absl::OkStatus();
}

}  // namespace

absl::Status CopyPack(const std::string& from, const std::string& to) {
  std::error_code error;
  if (fs::exists(to, error)) return absl::AlreadyExistsError(to + " is there already");
  fs::copy(from, to, fs::copy_options::recursive, error);
  if (error) return absl::UnavailableError("cannot copy " + from + ": " + error.message());
  return absl::OkStatus();
}

absl::StatusOr<std::string> FlipInSample(const std::string& pack, ledger::StatementType type) {
  for (const Bundle& bundle : BundlesIn(pack)) {
    const std::string path = pack + "/" + bundle.path;
    const std::string bytes = ReadFile(path);
    auto leaves = ledger::ParseBundle(bytes, bundle.tile.width);
    if (!leaves.ok()) return absl::DataLossError(bundle.path + ": " + std::string(leaves.status().message()));
    for (size_t i = 0; i < leaves->size(); ++i) {
      const std::string_view leaf = (*leaves)[i];
      auto entry = ledger::ParseEntry(leaf);
      if (!entry.ok() || entry->kind != ledger::EntryKind::kSample) continue;
      const auto& statement = entry->statements[type == ledger::StatementType::kCapture ? 0 : 1].statement;
      const size_t in_leaf = leaf.find(statement);
      const uint64_t offset =
          static_cast<uint64_t>(leaf.data() - bytes.data()) + in_leaf + statement.size() / 2;
      if (auto s = FlipAt(path, offset); !s.ok()) return s;
      return "entry " + std::to_string(bundle.tile.index * ledger::kTileWidth + i) + " (SAMPLE)";
    }
  }
  return absl::NotFoundError(pack + " holds no SAMPLE entry");
}

absl::StatusOr<std::string> FlipInFile(const std::string& pack, const std::string& file) {
  std::error_code error;
  const uint64_t size = fs::file_size(pack + "/" + file, error);
  if (error || size == 0) return absl::NotFoundError(file + " is missing or empty");
  if (auto s = FlipAt(pack + "/" + file, size / 2); !s.ok()) return s;
  return file;
}

absl::StatusOr<std::string> TruncateEntries(const std::string& pack) {
  const std::vector<Bundle> bundles = BundlesIn(pack);
  if (bundles.empty()) return absl::NotFoundError(pack + " holds no entries");
  const std::string path = pack + "/" + bundles.back().path;
  std::error_code error;
  fs::resize_file(path, fs::file_size(path, error) / 2, error);
  if (error) return absl::UnavailableError(path + ": cannot be cut: " + error.message());
  return bundles.back().path;
}

}  // namespace retort::services
