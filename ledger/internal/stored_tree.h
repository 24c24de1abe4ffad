// The tree of a stored log: full tiles in the database, the ragged right edge in memory. Implementation only.
//
// A snapshot is immutable and stays valid while the log grows: hashes of full tiles never change, and older
// ragged tiles are prefixes of newer ones. The writer copies the newest snapshot, appends, and publishes the
// copy.
#ifndef LEDGER_INTERNAL_STORED_TREE_H_
#define LEDGER_INTERNAL_STORED_TREE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/digest.h"
#include "ledger/internal/store.h"
#include "ledger/merkle.h"

namespace retort::ledger::internal {

struct FullTile {
  uint32_t level;
  uint64_t index;
  std::string hashes;  // 256 x 32 bytes
};

class StoredTree {
 public:
  StoredTree() = default;

  // Rebuilds the right edge of the tree of `size` leaves: level 0 from the entries themselves, level n + 1
  // from the full tiles of level n. DataLoss when an entry or a tile is missing or has a wrong size.
  static absl::StatusOr<StoredTree> Rebuild(const Store& store, uint64_t size);

  // Adds a leaf; tiles that became full are appended to `completed` and must be written before anybody reads
  // them.
  void Append(const Digest& leaf_hash, std::vector<FullTile>& completed);

  uint64_t size() const { return size_; }
  Digest Root() const { return range_.Root(); }

  // Hashes of perfect subtrees of this tree, for proofs. `store` and this snapshot must outlive the source,
  // which belongs to one thread and remembers the tile it read last.
  NodeSource Nodes(const Store& store) const;

 private:
  uint64_t size_ = 0;
  CompactRange range_;
  std::vector<std::vector<Digest>>
      edge_;  // per level of tiles: the hashes of its ragged tile, fewer than 256
};

}  // namespace retort::ledger::internal

#endif  // LEDGER_INTERNAL_STORED_TREE_H_
