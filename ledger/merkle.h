// The Merkle tree of RFC 6962 section 2.1, and its proofs as RFC 9162 sections 2.1.3 and 2.1.4 verify them.
//
// A tree of n leaves is made of perfect subtrees: node (level, index) covers leaves [index * 2^level, (index
// + 1) * 2^level). A CompactRange holds the roots of the perfect subtrees of [0, n), at most 64 hashes, and
// is all that appending needs. Proofs are generated from any source of perfect subtree hashes. Pure
// functions, no threads.
#ifndef LEDGER_MERKLE_H_
#define LEDGER_MERKLE_H_

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/digest.h"

namespace retort::ledger {

Digest LeafHash(std::string_view leaf);                    // SHA-256(0x00 || leaf)
Digest NodeHash(const Digest& left, const Digest& right);  // SHA-256(0x01 || left || right)
Digest EmptyRoot();                                        // SHA-256 of nothing

struct NodeId {
  uint32_t level = 0;  // height above the leaves, 0 to 63
  uint64_t index = 0;
  bool operator==(const NodeId&) const = default;
};

class CompactRange {
 public:
  CompactRange() = default;

  // The range [0, size) with these subtree roots, largest first. InvalidArgument unless there are
  // popcount(size).
  static absl::StatusOr<CompactRange> FromHashes(uint64_t size, std::vector<Digest> hashes);

  void Append(const Digest& leaf_hash);
  uint64_t size() const { return size_; }
  Digest Root() const;
  const std::vector<Digest>& hashes() const { return hashes_; }

 private:
  uint64_t size_ = 0;
  std::vector<Digest> hashes_;  // one for each set bit of size_, high to low
};

// Root of a perfect or ragged tree over these leaf hashes.
Digest RootOf(const std::vector<Digest>& leaf_hashes);

// Hash of a perfect subtree that lies inside the tree in question. Its errors pass through.
using NodeSource = std::function<absl::StatusOr<Digest>(NodeId)>;

// Root of the tree of the first `size` leaves.
absl::StatusOr<Digest> TreeRoot(uint64_t size, const NodeSource& nodes);

// Inclusion proof of leaf `index` in the tree of `size` leaves, leaf's sibling first. OutOfRange when index
// >= size.
absl::StatusOr<std::vector<Digest>> InclusionProof(uint64_t index, uint64_t size, const NodeSource& nodes);

// Consistency proof between the trees of the first `first` and `second` leaves; empty when first is 0 or
// equals second. OutOfRange when first > second.
absl::StatusOr<std::vector<Digest>> ConsistencyProof(uint64_t first, uint64_t second,
                                                     const NodeSource& nodes);

// OK when `proof` leads from `leaf_hash` at `index` to `root` of `size` leaves. InvalidArgument when index >=
// size or the proof has another length than index and size imply; DataLoss when it leads elsewhere.
absl::Status VerifyInclusion(uint64_t index, uint64_t size, const Digest& leaf_hash,
                             const std::vector<Digest>& proof, const Digest& root);

// OK when the tree (second, second_root) extends (first, first_root). For first = 0 the proof must be empty
// and first_root the empty tree's. InvalidArgument for sizes or lengths that cannot be; DataLoss when roots
// do not match.
absl::Status VerifyConsistency(uint64_t first, uint64_t second, const std::vector<Digest>& proof,
                               const Digest& first_root, const Digest& second_root);

}  // namespace retort::ledger

#endif  // LEDGER_MERKLE_H_
