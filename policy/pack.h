// Policy packs: the terms of a provider, a licence or a company, as data. A pack is one YAML file of
// proto/retort/policy/v1/pack.proto; its identity is the SHA-256 of its exact bytes, which decisions and the
// ledger name. Loading checks everything that can be wrong with a pack, so that evaluation has no failure
// left.
//
// LoadedPack and PackSet are immutable values; any number of threads may read one.
#ifndef POLICY_PACK_H_
#define POLICY_PACK_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/policy/v1/pack.pb.h"

namespace retort::policy {

// Pack id of what evaluation itself says; no file may use it.
inline constexpr std::string_view kBuiltinPack = "retort.builtin";

class LoadedPack {
 public:
  // Parses and validates one pack. `name` is only used in messages.
  // InvalidArgument: the YAML is not a Pack (proto/strict_yaml.h); a required member is missing; an id, date,
  // fact path or test does not have the form that pack.proto asks for; a test does not fit the type of its
  // fact; conditions are nested deeper than 16; a rule names an obligation that the pack lacks, or the pack
  // holds one that no rule names.
  static absl::StatusOr<LoadedPack> Parse(const std::string& name, std::string bytes);

  const v1::Pack& pack() const { return *pack_; }
  const std::string& bytes() const { return *bytes_; }   // exactly as read
  const std::string& sha256() const { return sha256_; }  // lower-case hex of bytes()

  // "read", "secondary" or "unconfirmed".
  std::string_view confidence() const;

  // True when the condition of rule `index` reads a fact below screening.
  bool ReadsScreening(int index) const { return reads_screening_[static_cast<size_t>(index)]; }

 private:
  LoadedPack() = default;
  std::shared_ptr<const v1::Pack> pack_;  // shared: packs are copied with every PackSet and never change
  std::shared_ptr<const std::string> bytes_;
  std::string sha256_;
  std::vector<bool> reads_screening_;  // by rule
};

// The packs that are active together, sorted by id.
class PackSet {
 public:
  // No packs: everything is denied.
  PackSet() = default;

  // Every *.yaml file directly in the folder `path`, at most 1,000 of at most 1 MiB each.
  // NotFound: no such folder; InvalidArgument: a pack is wrong, two have one id, a pack incorporates an id
  // that is not there, is not a usage policy, or incorporates itself through others; FailedPrecondition: the
  // folder holds no pack.
  static absl::StatusOr<PackSet> LoadFolder(const std::string& path);

  // Same from memory: (name for messages, bytes) pairs in any order. An empty list gives an empty set.
  static absl::StatusOr<PackSet> FromPacks(std::vector<std::pair<std::string, std::string>> packs);

  const std::vector<LoadedPack>& packs() const { return packs_; }

  // Null when no pack has this id. Owned by the set.
  const LoadedPack* Find(std::string_view id) const;

  // Positions in packs() of those that incorporate the pack at position `index`; incorporation has no cycle.
  const std::vector<size_t>& IncorporatedBy(size_t index) const { return incorporated_by_[index]; }

 private:
  std::vector<LoadedPack> packs_;
  std::vector<std::vector<size_t>> incorporated_by_;
};

}  // namespace retort::policy

#endif  // POLICY_PACK_H_
