#include "ledger/internal/stored_tree.h"

#include <algorithm>
#include <cassert>
#include <memory>
#include <optional>
#include <utility>

#include "ledger/tile.h"

namespace retort::ledger::internal {
namespace {

constexpr size_t kDigestBytes = 32;

Digest HashAt(std::string_view tile, size_t i) {
  Digest digest;
  const std::string_view bytes = tile.substr(i * kDigestBytes, kDigestBytes);
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

absl::StatusOr<std::string> ReadTile(const Store& store, uint32_t level, uint64_t index) {
  absl::StatusOr<std::optional<std::string>> tile = store.Get(Family::kTiles, TileKey(level, index));
  if (!tile.ok()) return tile.status();
  if (!tile->has_value() || (*tile)->size() != kTileWidth * kDigestBytes) {
    return absl::DataLossError("tile " + std::to_string(level) + "/" + std::to_string(index) +
                               " is missing or cut short");
  }
  return **std::move(tile);
}

Digest RootOfTile(std::string_view tile, size_t first, size_t count) {
  CompactRange range;
  for (size_t i = first; i < first + count; ++i) range.Append(HashAt(tile, i));
  return range.Root();
}

// The last tile that a source read, whole, so that neighbouring nodes cost no second read.
struct LastTile {
  uint32_t level = 0;
  uint64_t index = 0;
  std::string hashes;
};

}  // namespace

absl::StatusOr<StoredTree> StoredTree::Rebuild(const Store& store, uint64_t size) {
  StoredTree tree;
  tree.size_ = size;
  uint64_t hashes = size;
  for (uint32_t level = 0; hashes > 0; ++level, hashes /= kTileWidth) {
    std::vector<Digest>& edge = tree.edge_.emplace_back();
    for (uint64_t i = hashes - hashes % kTileWidth; i < hashes; ++i) {
      if (level == 0) {
        const absl::StatusOr<std::optional<std::string>> leaf = store.Get(Family::kEntries, BigEndian(i));
        if (!leaf.ok()) return leaf.status();
        if (!leaf->has_value()) return absl::DataLossError("entry " + std::to_string(i) + " is missing");
        edge.push_back(LeafHash(**leaf));
      } else {
        const absl::StatusOr<std::string> tile = ReadTile(store, level - 1, i);
        if (!tile.ok()) return tile.status();
        edge.push_back(RootOfTile(*tile, 0, kTileWidth));
      }
    }
  }
  // The compact range is the perfect subtrees of [0, size), largest first.
  const NodeSource nodes = tree.Nodes(store);
  std::vector<Digest> roots;
  uint64_t at = 0;
  for (uint32_t level = 64; level-- > 0;) {
    if ((size >> level & 1) == 0) continue;
    absl::StatusOr<Digest> root = nodes(NodeId{level, at >> level});
    if (!root.ok()) return root.status();
    roots.push_back(*root);
    at += uint64_t{1} << level;
  }
  absl::StatusOr<CompactRange> range = CompactRange::FromHashes(size, std::move(roots));
  assert(range.ok());
  tree.range_ = *std::move(range);
  return tree;
}

void StoredTree::Append(const Digest& leaf_hash, std::vector<FullTile>& completed) {
  range_.Append(leaf_hash);
  uint64_t index = size_++;  // of the hash at `level` that is added
  Digest hash = leaf_hash;
  for (uint32_t level = 0;; ++level) {
    if (edge_.size() == level) edge_.emplace_back();
    std::vector<Digest>& edge = edge_[level];
    assert(edge.size() == index % kTileWidth);
    edge.push_back(hash);
    if (edge.size() < kTileWidth) return;
    FullTile tile{.level = level, .index = index / kTileWidth};
    for (const Digest& part : edge) tile.hashes += AsView(part);
    hash = RootOfTile(tile.hashes, 0, kTileWidth);
    completed.push_back(std::move(tile));
    edge.clear();
    index /= kTileWidth;
  }
}

NodeSource StoredTree::Nodes(const Store& store) const {
  // Shared because std::function copies; each source has its own.
  auto last = std::make_shared<LastTile>();
  return [this, &store, last](NodeId node) -> absl::StatusOr<Digest> {
    const uint32_t level = node.level / kTileHeight;
    const uint32_t height = node.level % kTileHeight;
    const uint64_t first = node.index << height;  // among the hashes of that level of tiles
    const size_t count = size_t{1} << height;
    const uint64_t tile = first / kTileWidth;
    const size_t offset = first % kTileWidth;
    assert(level < edge_.size() && "a node outside the tree");
    const uint64_t hashes = size_ >> (level * kTileHeight);
    if (tile == hashes / kTileWidth) {  // the ragged one
      const std::vector<Digest>& edge = edge_[level];
      assert(offset + count <= edge.size());
      return RootOf(std::vector<Digest>(edge.begin() + static_cast<ptrdiff_t>(offset),
                                        edge.begin() + static_cast<ptrdiff_t>(offset + count)));
    }
    if (last->hashes.empty() || last->level != level || last->index != tile) {
      absl::StatusOr<std::string> hashes_of_tile = ReadTile(store, level, tile);
      if (!hashes_of_tile.ok()) return hashes_of_tile.status();
      *last = LastTile{level, tile, *std::move(hashes_of_tile)};
    }
    return RootOfTile(last->hashes, offset, count);
  };
}

}  // namespace retort::ledger::internal
