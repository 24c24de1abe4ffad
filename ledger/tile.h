// Tiles and entry bundles (C2SP tlog-tiles v0.1.0): how a log is cut into immutable files of 256 hashes or
// entries.
#ifndef LEDGER_TILE_H_
#define LEDGER_TILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::ledger {

inline constexpr uint32_t kTileWidth = 256;
inline constexpr uint32_t kTileHeight = 8;  // levels of the tree in one tile

struct TileId {
  bool entries = false;  // an entry bundle; `level` is then 0
  uint32_t level = 0;    // 0 to 63
  uint64_t index = 0;
  uint32_t width = kTileWidth;  // 1 to 256

  bool operator==(const TileId&) const = default;
};

// "tile/0/x001/x234/067", "tile/entries/000.p/37" and so on, without a leading slash.
std::string TilePath(const TileId& tile);

// Inverse of TilePath. InvalidArgument for anything that TilePath does not write.
absl::StatusOr<TileId> ParseTilePath(std::string_view path);

// All hash tiles that a checkpoint of `size` implies, level by level, the partial one of each level last.
std::vector<TileId> TilesOf(uint64_t size);

// All entry bundles of `size` entries in order.
std::vector<TileId> BundlesOf(uint64_t size);

// Appends one entry to a bundle: u16 big-endian length, then the bytes. At most 65,535 bytes (asserted).
void AppendToBundle(std::string& bundle, std::string_view entry);

// Entries of a bundle that must hold exactly `count`; views into `bundle`. DataLoss with the byte offset when
// it is truncated ("truncated at byte N: entry 12 of the bundle wants M more bytes") or longer.
absl::StatusOr<std::vector<std::string_view>> ParseBundle(std::string_view bundle, uint32_t count);

}  // namespace retort::ledger

#endif  // LEDGER_TILE_H_
