#include "ledger/dataset_manifest.h"

#include <set>

#include "ledger/hex.h"
#include "ledger/internal/statement_fields.h"

namespace retort::ledger {
namespace internal {

constexpr size_t kManifestBytesMax = 64 << 20;

// The members as JSON has them.
struct ListedMember {
  int64_t index = 0;
  std::string leaf_hash, prompt_id, split;
};
struct ManifestObject {
  std::vector<ListedMember> samples;
};

template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, ListedMember>
void Fields(S& s, V& v) {
  v.Number("index", s.index, 0);
  v.Text("leaf_hash", s.leaf_hash, Form::kDigest);
  v.Text("prompt_id", s.prompt_id, Form::kName);
  v.Choice("split", s.split, {"train", "held_out"});
}

template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, ManifestObject>
void Fields(S& s, V& v) {
  v.List("samples", s.samples);
}

}  // namespace internal

std::string DatasetManifest::ToJson() const {
  internal::ManifestObject object;
  for (const ListedSample& sample : samples) {
    object.samples.push_back({.index = static_cast<int64_t>(sample.index),
                              .leaf_hash = HexEncode(sample.leaf_hash),
                              .prompt_id = sample.prompt_id,
                              .split = sample.held_out ? "held_out" : "train"});
  }
  return internal::WriteStatement(object);
}

absl::StatusOr<DatasetManifest> DatasetManifest::Parse(std::string_view json) {
  const absl::StatusOr<internal::ManifestObject> object =
      internal::ReadStatement<internal::ManifestObject>(json, "manifest", internal::kManifestBytesMax);
  if (!object.ok()) return object.status();
  DatasetManifest manifest;
  std::set<uint64_t> listed;
  for (const internal::ListedMember& member : object->samples) {
    ListedSample sample{.index = static_cast<uint64_t>(member.index),
                        .leaf_hash = *DigestFromHex(member.leaf_hash),  // its form was checked
                        .prompt_id = member.prompt_id,
                        .held_out = member.split == "held_out"};
    if (!listed.insert(sample.index).second) {
      return absl::InvalidArgumentError("manifest lists entry " + std::to_string(sample.index) + " twice");
    }
    if (!sample.held_out && !manifest.samples.empty() && manifest.samples.back().held_out) {
      return absl::InvalidArgumentError("manifest lists train entry " + std::to_string(sample.index) +
                                        " after a held-out one");
    }
    manifest.samples.push_back(std::move(sample));
  }
  return manifest;
}

}  // namespace retort::ledger
