// The manifest of a frozen dataset: which SAMPLE entries it holds. An attachment that a DATASET entry names
// by SHA-256.
#ifndef LEDGER_DATASET_MANIFEST_H_
#define LEDGER_DATASET_MANIFEST_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/digest.h"

namespace retort::ledger {

struct ListedSample {
  uint64_t index = 0;  // of the SAMPLE entry
  Digest leaf_hash{};
  std::string prompt_id;
  bool held_out = false;

  bool operator==(const ListedSample&) const = default;
};

struct DatasetManifest {
  std::vector<ListedSample> samples;  // train first, then held out; each in prompt order

  // Canonical JSON {"samples":[{"index":…,"leaf_hash":"…","prompt_id":"…","split":"…"},…]}.
  std::string ToJson() const;

  // InvalidArgument naming what is wrong: not canonical, an unknown or missing member, an entry listed twice,
  // a train sample after a held-out one.
  static absl::StatusOr<DatasetManifest> Parse(std::string_view json);
};

}  // namespace retort::ledger

#endif  // LEDGER_DATASET_MANIFEST_H_
