#include "ledger/merkle.h"

#include <gtest/gtest.h>

#include <bit>

#include "ledger/hex.h"
#include "ledger/tile.h"

namespace retort::ledger {
namespace {

Digest D(const std::string& hex) {
  return *DigestFromHex(hex);
}

// The classic eight leaves and the roots of their first n (RFC 6962 test trees).
const std::vector<std::string>& ClassicLeaves() {
  static const std::vector<std::string> leaves = [] {
    std::vector<std::string> made;
    for (const std::string hex : {"", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                  "606162636465666768696a6b6c6d6e6f"}) {
      made.push_back(*HexDecode(hex));
    }
    return made;
  }();
  return leaves;
}
const char* const kRoots[] = {"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                              "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                              "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
                              "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
                              "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                              "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
                              "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
                              "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
                              "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};

// Perfect subtrees straight from the definition.
NodeSource SourceOf(const std::vector<Digest>& leaves) {
  return [&leaves](NodeId node) -> absl::StatusOr<Digest> {
    const size_t width = size_t{1} << node.level;
    const size_t first = node.index * width;
    EXPECT_LE(first + width, leaves.size());
    return RootOf(std::vector<Digest>(leaves.begin() + static_cast<ptrdiff_t>(first),
                                      leaves.begin() + static_cast<ptrdiff_t>(first + width)));
  };
}

std::vector<Digest> Hashes(size_t n) {
  std::vector<Digest> hashes;
  for (size_t i = 0; i < n; ++i) {
    hashes.push_back(LeafHash(i < 8 ? ClassicLeaves()[i] : "leaf " + std::to_string(i)));
  }
  return hashes;
}

TEST(MerkleTest, PublishedHashes) {
  EXPECT_EQ(EmptyRoot(), D(kRoots[0]));
  EXPECT_EQ(LeafHash(""), D(kRoots[1]));
  EXPECT_EQ(LeafHash("L123456"), D("395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"));
  // Not 32 bytes, so only the hash function is tested: SHA-256(0x01 "N123" "N456").
  EXPECT_EQ(Sha256("\x01N123N456"), D("aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"));
  EXPECT_NE(LeafHash(std::string(64, '\0')), NodeHash(Digest{}, Digest{}));
}

TEST(MerkleTest, PublishedRoots) {
  CompactRange range;
  for (size_t n = 0; n <= 8; ++n) {
    EXPECT_EQ(range.Root(), D(kRoots[n])) << n;
    const std::vector<Digest> hashes = Hashes(n);
    EXPECT_EQ(*TreeRoot(n, SourceOf(hashes)), D(kRoots[n])) << n;
    if (n < 8) range.Append(LeafHash(ClassicLeaves()[n]));
  }
}

TEST(MerkleTest, PublishedProofs) {
  const std::vector<Digest> hashes = Hashes(8);
  const NodeSource nodes = SourceOf(hashes);
  EXPECT_EQ(*InclusionProof(5, 8, nodes),
            (std::vector<Digest>{D("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"),
                                 D("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"),
                                 D(kRoots[4])}));
  EXPECT_EQ(*InclusionProof(2, 3, nodes), (std::vector<Digest>{D(kRoots[2])}));
  EXPECT_EQ(*ConsistencyProof(6, 8, nodes),
            (std::vector<Digest>{D("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"),
                                 D("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"),
                                 D(kRoots[4])}));
  EXPECT_EQ(*ConsistencyProof(2, 5, nodes),
            (std::vector<Digest>{D("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"),
                                 D("bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b")}));
  EXPECT_EQ(*ConsistencyProof(4, 7, nodes),
            (std::vector<Digest>{D("837dbb152e9b079010717e84e865da4ebc0fa198a806d59d31bf15accef22d0e")}));
}

TEST(MerkleTest, EveryInclusionProofVerifiesForItselfAlone) {
  const std::vector<Digest> hashes = Hashes(17);
  for (uint64_t size = 1; size <= hashes.size(); ++size) {
    const NodeSource nodes = SourceOf(hashes);
    const Digest root = *TreeRoot(size, nodes);
    for (uint64_t index = 0; index < size; ++index) {
      std::vector<Digest> proof = *InclusionProof(index, size, nodes);
      EXPECT_LE(proof.size(), static_cast<size_t>(std::bit_width(size - 1)));
      EXPECT_TRUE(VerifyInclusion(index, size, hashes[index], proof, root).ok()) << index << "/" << size;
      for (uint64_t other = 0; other < size; ++other) {
        EXPECT_EQ(VerifyInclusion(other, size, hashes[index], proof, root).ok(), other == index);
      }
      proof.push_back(Digest{});
      EXPECT_EQ(VerifyInclusion(index, size, hashes[index], proof, root).code(),
                absl::StatusCode::kInvalidArgument);
      proof.pop_back();
      if (proof.empty()) continue;
      proof.back()[0] ^= 1;
      EXPECT_EQ(VerifyInclusion(index, size, hashes[index], proof, root).code(), absl::StatusCode::kDataLoss);
      proof.pop_back();
      EXPECT_EQ(VerifyInclusion(index, size, hashes[index], proof, root).code(),
                absl::StatusCode::kInvalidArgument);
    }
    EXPECT_EQ(VerifyInclusion(size, size, hashes[0], {}, root).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(InclusionProof(size, size, nodes).status().code(), absl::StatusCode::kOutOfRange);
  }
  EXPECT_EQ(VerifyInclusion(0, 0, hashes[0], {}, EmptyRoot()).code(), absl::StatusCode::kInvalidArgument);
}

TEST(MerkleTest, EveryConsistencyProofVerifiesForItsSizesAlone) {
  const std::vector<Digest> hashes = Hashes(17);
  const NodeSource nodes = SourceOf(hashes);
  std::vector<Digest> roots;
  for (uint64_t size = 0; size <= hashes.size(); ++size) roots.push_back(*TreeRoot(size, nodes));
  for (uint64_t first = 0; first <= hashes.size(); ++first) {
    for (uint64_t second = first; second <= hashes.size(); ++second) {
      std::vector<Digest> proof = *ConsistencyProof(first, second, nodes);
      EXPECT_TRUE(VerifyConsistency(first, second, proof, roots[first], roots[second]).ok())
          << first << " " << second;
      if (first > 0 && first < second) {
        EXPECT_FALSE(VerifyConsistency(first, second, proof, roots[second], roots[second]).ok());
        EXPECT_FALSE(VerifyConsistency(first, second, proof, roots[first], roots[first]).ok());
        std::vector<Digest> shorter(proof.begin(), proof.end() - 1);
        EXPECT_FALSE(VerifyConsistency(first, second, shorter, roots[first], roots[second]).ok());
      }
      proof.push_back(Digest{});
      EXPECT_FALSE(VerifyConsistency(first, second, proof, roots[first], roots[second]).ok());
    }
    EXPECT_EQ(ConsistencyProof(first + 1, first, nodes).status().code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(VerifyConsistency(first + 1, first, {}, roots[0], roots[0]).code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(VerifyConsistency(5, 5, {}, roots[5], roots[4]).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(VerifyConsistency(0, 5, {}, roots[1], roots[5]).code(), absl::StatusCode::kDataLoss);
}

TEST(MerkleTest, ProofsNearTheLargestSizeEnd) {
  EXPECT_EQ(VerifyInclusion(0, ~uint64_t{0}, Digest{}, {}, Digest{}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(VerifyInclusion(~uint64_t{0} - 1, ~uint64_t{0}, Digest{}, std::vector<Digest>(64), Digest{}).ok(),
            false);
  EXPECT_FALSE(VerifyConsistency(1, ~uint64_t{0}, std::vector<Digest>(70), Digest{}, Digest{}).ok());
}

TEST(MerkleTest, CompactRangeRefusesWrongCounts) {
  EXPECT_TRUE(CompactRange::FromHashes(6, std::vector<Digest>(2)).ok());
  EXPECT_EQ(CompactRange::FromHashes(6, std::vector<Digest>(3)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(TileTest, PathsRoundTrip) {
  const std::pair<TileId, std::string> vectors[] = {
      {{.index = 5}, "tile/0/005"},
      {{.index = 1234067}, "tile/0/x001/x234/067"},
      {{.level = 63, .index = 999, .width = 1}, "tile/63/999.p/1"},
      {{.entries = true, .index = 1000, .width = 255}, "tile/entries/x001/000.p/255"},
      {{.index = ~uint64_t{0}}, "tile/0/x018/x446/x744/x073/x709/x551/615"}};
  for (const auto& [tile, path] : vectors) {
    EXPECT_EQ(TilePath(tile), path);
    ASSERT_TRUE(ParseTilePath(path).ok()) << path;
    EXPECT_EQ(*ParseTilePath(path), tile);
  }
}

TEST(TileTest, RefusesOtherPaths) {
  for (const std::string bad : {"",
                                "tile",
                                "tile/0",
                                "tile/0/",
                                "tile/0/5",
                                "tile/0/0005",
                                "tile/00/005",
                                "tile/64/005",
                                "tile/-1/005",
                                "tile/0/x000/005",
                                "tile/0/001/234",
                                "tile/0/x001",
                                "tile/0/005.p/0",
                                "tile/0/005.p/256",
                                "tile/0/005.p/01",
                                "tile/0/005.p/",
                                "tile/0/005/",
                                "/tile/0/005",
                                "tile/0/x018/x446/x744/x073/x709/x551/616",
                                "tile/entries/00a",
                                "tile/0/x-01/005",
                                "tile/0/+05"}) {
    EXPECT_EQ(ParseTilePath(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(TileTest, LayoutOfKnownSizes) {
  const auto count = [](uint64_t size, uint32_t level, uint32_t width) {
    size_t n = 0;
    for (const TileId& tile : TilesOf(size)) n += tile.level == level && tile.width == width;
    return n;
  };
  EXPECT_TRUE(TilesOf(0).empty());
  EXPECT_EQ(count(70000, 0, 256), 273u);
  EXPECT_EQ(count(70000, 0, 112), 1u);
  EXPECT_EQ(count(70000, 1, 256), 1u);
  EXPECT_EQ(count(70000, 1, 17), 1u);
  EXPECT_EQ(count(70000, 2, 1), 1u);
  EXPECT_EQ(TilesOf(70000).size(), 277u);
  EXPECT_EQ(TilesOf(256).size(), 2u);
  EXPECT_EQ(count(256, 1, 1), 1u);
  EXPECT_EQ(BundlesOf(257).size(), 2u);
}

TEST(TileTest, BundlesRoundTripAndNameTheCut) {
  std::string bundle;
  AppendToBundle(bundle, "");
  AppendToBundle(bundle, "abc");
  AppendToBundle(bundle, std::string(65535, 'x'));
  const auto entries = ParseBundle(bundle, 3);
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_EQ((*entries)[1], "abc");
  EXPECT_EQ((*entries)[2].size(), 65535u);
  EXPECT_EQ(ParseBundle(bundle.substr(0, 6), 3).status().message(),
            "truncated at byte 6: entry 1 of the bundle wants 1 more bytes");
  for (const size_t length : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{7}, bundle.size() - 1}) {
    EXPECT_EQ(ParseBundle(bundle.substr(0, length), 3).status().code(), absl::StatusCode::kDataLoss)
        << length;
  }
  EXPECT_EQ(ParseBundle(bundle, 2).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace retort::ledger
