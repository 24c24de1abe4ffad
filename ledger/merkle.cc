#include "ledger/merkle.h"

#include <bit>
#include <cassert>
#include <string>
#include <utility>

namespace retort::ledger {
namespace {

// Root of the leaves [begin, end), where begin is a multiple of the largest power of two below end - begin:
// the shape of every subtree that a proof names. Folds the perfect subtrees of the range, largest first, from
// the right.
absl::StatusOr<Digest> RangeRoot(uint64_t begin, uint64_t end, const NodeSource& nodes) {
  assert(begin < end);
  std::vector<Digest> roots;
  uint64_t at = begin;
  for (uint64_t left = end - begin; left > 0;) {
    const uint32_t level = static_cast<uint32_t>(std::bit_width(left) - 1);
    assert(at % (uint64_t{1} << level) == 0);
    absl::StatusOr<Digest> root = nodes(NodeId{level, at >> level});
    if (!root.ok()) return root.status();
    roots.push_back(*root);
    at += uint64_t{1} << level;
    left -= uint64_t{1} << level;
  }
  Digest root = roots.back();
  for (size_t i = roots.size() - 1; i-- > 0;) root = NodeHash(roots[i], root);
  return root;
}

// k of RFC 6962: the largest power of two strictly below n, n > 1.
uint64_t Split(uint64_t n) {
  return std::bit_floor(n - 1);
}

absl::Status WrongLength(size_t seen, uint64_t wanted) {
  return absl::InvalidArgumentError("proof of " + std::to_string(seen) + " hashes; wanted " +
                                    std::to_string(wanted));
}

}  // namespace

Digest LeafHash(std::string_view leaf) {
  thread_local Sha256Hasher hasher;
  hasher.Update(std::string_view("\0", 1));
  hasher.Update(leaf);
  return hasher.Finish();
}

Digest NodeHash(const Digest& left, const Digest& right) {
  char bytes[65];
  bytes[0] = 1;
  std::copy(left.begin(), left.end(), bytes + 1);
  std::copy(right.begin(), right.end(), bytes + 33);
  return Sha256(std::string_view(bytes, sizeof bytes));
}

Digest EmptyRoot() {
  return Sha256("");
}

absl::StatusOr<CompactRange> CompactRange::FromHashes(uint64_t size, std::vector<Digest> hashes) {
  if (hashes.size() != static_cast<size_t>(std::popcount(size))) {
    return absl::InvalidArgumentError("compact range of " + std::to_string(hashes.size()) +
                                      " hashes for size " + std::to_string(size) + "; wanted " +
                                      std::to_string(std::popcount(size)));
  }
  CompactRange range;
  range.size_ = size;
  range.hashes_ = std::move(hashes);
  return range;
}

void CompactRange::Append(const Digest& leaf_hash) {
  Digest hash = leaf_hash;
  for (uint64_t n = size_; n & 1; n >>= 1) {
    hash = NodeHash(hashes_.back(), hash);
    hashes_.pop_back();
  }
  hashes_.push_back(hash);
  ++size_;
  assert(hashes_.size() == static_cast<size_t>(std::popcount(size_)));
}

Digest CompactRange::Root() const {
  if (hashes_.empty()) return EmptyRoot();
  Digest root = hashes_.back();
  for (size_t i = hashes_.size() - 1; i-- > 0;) root = NodeHash(hashes_[i], root);
  return root;
}

Digest RootOf(const std::vector<Digest>& leaf_hashes) {
  CompactRange range;
  for (const Digest& hash : leaf_hashes) range.Append(hash);
  return range.Root();
}

absl::StatusOr<Digest> TreeRoot(uint64_t size, const NodeSource& nodes) {
  if (size == 0) return EmptyRoot();
  return RangeRoot(0, size, nodes);
}

absl::StatusOr<std::vector<Digest>> InclusionProof(uint64_t index, uint64_t size, const NodeSource& nodes) {
  if (index >= size) {
    return absl::OutOfRangeError("index " + std::to_string(index) + " is outside a tree of size " +
                                 std::to_string(size));
  }
  std::vector<Digest> proof;  // root's side first while descending; turned round at the end
  uint64_t begin = 0;
  uint64_t end = size;
  while (end - begin > 1) {
    const uint64_t middle = begin + Split(end - begin);
    const bool left = index < middle;
    absl::StatusOr<Digest> sibling = left ? RangeRoot(middle, end, nodes) : RangeRoot(begin, middle, nodes);
    if (!sibling.ok()) return sibling.status();
    proof.push_back(*sibling);
    (left ? end : begin) = middle;
  }
  return std::vector<Digest>(proof.rbegin(), proof.rend());
}

absl::StatusOr<std::vector<Digest>> ConsistencyProof(uint64_t first, uint64_t second,
                                                     const NodeSource& nodes) {
  if (first > second) {
    return absl::OutOfRangeError("size " + std::to_string(first) + " is beyond size " +
                                 std::to_string(second));
  }
  std::vector<Digest> proof;
  if (first == 0 || first == second) return proof;
  uint64_t begin = 0;
  uint64_t end = second;
  while (first != end) {  // SUB(first - begin, D[begin:end]) of RFC 6962 section 2.1.2
    const uint64_t middle = begin + Split(end - begin);
    const bool left = first <= middle;
    absl::StatusOr<Digest> other = left ? RangeRoot(middle, end, nodes) : RangeRoot(begin, middle, nodes);
    if (!other.ok()) return other.status();
    proof.push_back(*other);
    (left ? end : begin) = middle;
  }
  if (begin != 0) {  // the old tree is not itself a subtree of the new one, so the last piece of it is named
    absl::StatusOr<Digest> last = RangeRoot(begin, end, nodes);
    if (!last.ok()) return last.status();
    proof.push_back(*last);
  }
  return std::vector<Digest>(proof.rbegin(), proof.rend());
}

absl::Status VerifyInclusion(uint64_t index, uint64_t size, const Digest& leaf_hash,
                             const std::vector<Digest>& proof, const Digest& root) {
  if (index >= size) {
    return absl::InvalidArgumentError("index " + std::to_string(index) + " is outside a tree of size " +
                                      std::to_string(size));
  }
  // Below `inner` levels the path has a sibling on either side; above, only on the left (RFC 9162
  // section 2.1.3.2, in the closed form).
  const int inner = std::bit_width(index ^ (size - 1));
  const uint64_t border = static_cast<uint64_t>(inner >= 64 ? 0 : std::popcount(index >> inner));
  if (proof.size() != static_cast<uint64_t>(inner) + border) {
    return WrongLength(proof.size(), static_cast<uint64_t>(inner) + border);
  }
  Digest hash = leaf_hash;
  for (size_t i = 0; i < proof.size(); ++i) {
    const bool sibling_left = i >= static_cast<size_t>(inner) || (index >> i & 1) != 0;
    hash = sibling_left ? NodeHash(proof[i], hash) : NodeHash(hash, proof[i]);
  }
  if (hash != root) return absl::DataLossError("inclusion proof does not lead to the root");
  return absl::OkStatus();
}

absl::Status VerifyConsistency(uint64_t first, uint64_t second, const std::vector<Digest>& proof,
                               const Digest& first_root, const Digest& second_root) {
  if (first > second) {
    return absl::InvalidArgumentError("size " + std::to_string(first) + " is beyond size " +
                                      std::to_string(second));
  }
  if (first == 0 || first == second) {
    if (!proof.empty()) return WrongLength(proof.size(), 0);
    if (first_root != (first == 0 ? EmptyRoot() : second_root)) {
      return absl::DataLossError(first == 0 ? "root of size 0 is not the empty root"
                                            : "equal sizes have unequal roots");
    }
    return absl::OkStatus();
  }
  std::vector<Digest> path;
  if (std::has_single_bit(first)) path.push_back(first_root);
  path.insert(path.end(), proof.begin(), proof.end());
  if (proof.empty()) return absl::InvalidArgumentError("proof of 0 hashes between unequal sizes");

  uint64_t fn = first - 1;
  uint64_t sn = second - 1;
  const auto shift = [&fn, &sn] {
    fn >>= 1;
    sn >>= 1;
  };
  while (fn & 1) shift();
  Digest first_hash = path[0];
  Digest second_hash = path[0];
  for (size_t i = 1; i < path.size(); ++i) {
    if (sn == 0) return absl::InvalidArgumentError("consistency proof is too long");
    if ((fn & 1) != 0 || fn == sn) {
      first_hash = NodeHash(path[i], first_hash);
      second_hash = NodeHash(path[i], second_hash);
      while ((fn & 1) == 0 && fn != 0) shift();
    } else {
      second_hash = NodeHash(second_hash, path[i]);
    }
    shift();
  }
  if (sn != 0) return absl::InvalidArgumentError("consistency proof is too short");
  if (first_hash != first_root)
    return absl::DataLossError("consistency proof does not lead to the first root");
  if (second_hash != second_root)
    return absl::DataLossError("consistency proof does not lead to the second root");
  return absl::OkStatus();
}

}  // namespace retort::ledger
