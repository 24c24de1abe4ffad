#include "ledger/tile.h"

#include <cassert>
#include <charconv>
#include <cstdio>
#include <limits>

#include "absl/status/status.h"

namespace retort::ledger {
namespace {

constexpr uint32_t kLevelMax = 63;

std::string IndexPath(uint64_t index) {
  char group[8];
  std::snprintf(group, sizeof group, "%03u", static_cast<unsigned>(index % 1000));
  std::string path = group;
  for (index /= 1000; index > 0; index /= 1000) {
    std::snprintf(group, sizeof group, "x%03u/", static_cast<unsigned>(index % 1000));
    path.insert(0, group);
  }
  return path;
}

// Decimal without sign or leading zeros.
bool ParseDecimal(std::string_view text, uint64_t max, uint64_t& number) {
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, number);
  return !text.empty() && error == std::errc() && at == end && number <= max &&
         (text[0] != '0' || text.size() == 1);
}

}  // namespace

std::string TilePath(const TileId& tile) {
  std::string path = "tile/" + (tile.entries ? std::string("entries") : std::to_string(tile.level)) + "/";
  path += IndexPath(tile.index);
  if (tile.width != kTileWidth) path += ".p/" + std::to_string(tile.width);
  return path;
}

absl::StatusOr<TileId> ParseTilePath(std::string_view path) {
  const auto malformed = [] { return absl::InvalidArgumentError("not a path of a tile or an entry bundle"); };
  constexpr std::string_view kPrefix = "tile/";
  if (!path.starts_with(kPrefix) || path.size() > 64) return malformed();
  const std::string_view whole = path;
  path.remove_prefix(kPrefix.size());
  TileId tile;
  const size_t slash = path.find('/');
  if (slash == std::string_view::npos) return malformed();
  uint64_t number = 0;
  if (path.substr(0, slash) == "entries") {
    tile.entries = true;
  } else if (ParseDecimal(path.substr(0, slash), kLevelMax, number)) {
    tile.level = static_cast<uint32_t>(number);
  } else {
    return malformed();
  }
  path.remove_prefix(slash + 1);
  if (const size_t partial = path.find(".p/"); partial != std::string_view::npos) {
    if (!ParseDecimal(path.substr(partial + 3), kTileWidth - 1, number) || number == 0) return malformed();
    tile.width = static_cast<uint32_t>(number);
    path = path.substr(0, partial);
  }
  while (!path.empty()) {
    if (path[0] == 'x') path.remove_prefix(1);
    if (path.size() < 3) return malformed();
    unsigned group = 0;
    const auto [at, error] = std::from_chars(path.data(), path.data() + 3, group);
    if (error != std::errc() || at != path.data() + 3) return malformed();
    if (tile.index > (std::numeric_limits<uint64_t>::max() - group) / 1000) return malformed();
    tile.index = tile.index * 1000 + group;
    path.remove_prefix(3);
    if (!path.empty()) {
      if (path[0] != '/' || path.size() == 1) return malformed();
      path.remove_prefix(1);
    }
  }
  if (TilePath(tile) != whole) return malformed();  // leading groups of zeros, a missing or a stray x
  return tile;
}

std::vector<TileId> TilesOf(uint64_t size) {
  std::vector<TileId> tiles;
  uint64_t hashes = size;
  for (uint32_t level = 0; hashes > 0; ++level, hashes /= kTileWidth) {
    for (uint64_t i = 0; i < hashes / kTileWidth; ++i) tiles.push_back({.level = level, .index = i});
    if (const uint32_t width = static_cast<uint32_t>(hashes % kTileWidth); width > 0) {
      tiles.push_back({.level = level, .index = hashes / kTileWidth, .width = width});
    }
  }
  return tiles;
}

std::vector<TileId> BundlesOf(uint64_t size) {
  std::vector<TileId> bundles;
  for (uint64_t i = 0; i < size / kTileWidth; ++i) bundles.push_back({.entries = true, .index = i});
  if (const uint32_t width = static_cast<uint32_t>(size % kTileWidth); width > 0) {
    bundles.push_back({.entries = true, .index = size / kTileWidth, .width = width});
  }
  return bundles;
}

void AppendToBundle(std::string& bundle, std::string_view entry) {
  assert(entry.size() <= 65'535);
  bundle += static_cast<char>(entry.size() >> 8);
  bundle += static_cast<char>(entry.size() & 0xFF);
  bundle += entry;
}

absl::StatusOr<std::vector<std::string_view>> ParseBundle(std::string_view bundle, uint32_t count) {
  std::vector<std::string_view> entries;
  size_t at = 0;
  const auto truncated = [&](size_t wanted) {
    return absl::DataLossError("truncated at byte " + std::to_string(bundle.size()) + ": entry " +
                               std::to_string(entries.size()) + " of the bundle wants " +
                               std::to_string(wanted) + " more bytes");
  };
  while (entries.size() < count) {
    const size_t left = bundle.size() - at;
    if (left < 2) return truncated(2 - left);
    const size_t length =
        static_cast<size_t>(static_cast<uint8_t>(bundle[at])) << 8 | static_cast<uint8_t>(bundle[at + 1]);
    if (left - 2 < length) return truncated(length - (left - 2));
    entries.push_back(bundle.substr(at + 2, length));
    at += 2 + length;
  }
  if (at != bundle.size()) {
    return absl::DataLossError(std::to_string(bundle.size() - at) + " bytes after the last of " +
                               std::to_string(count) + " entries, at byte " + std::to_string(at));
  }
  return entries;
}

}  // namespace retort::ledger
