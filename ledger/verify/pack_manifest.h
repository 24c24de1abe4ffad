// manifest.json of an evidence pack: canonical JSON
//   {"files":[{"bytes":N,"path":"…","sha256":"…"},…],"release_entry":N,"version":1}
// with every file of the folder but itself, ascending by path. release_entry is the index of the RELEASE
// entry whose files student/ holds, or -1 for none. It is not signed and proves nothing: it says which files
// belong together, so that a damaged copy is noticed and a file in it named.
#ifndef LEDGER_VERIFY_PACK_MANIFEST_H_
#define LEDGER_VERIFY_PACK_MANIFEST_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/digest.h"

namespace retort::ledger {

struct PackFile {
  uint64_t bytes = 0;
  Digest sha256{};
  bool operator==(const PackFile&) const = default;
};

struct PackManifest {
  std::map<std::string, PackFile> files;  // by path, relative to the pack
  std::optional<uint64_t> release_entry;

  std::string ToJson() const;
  // InvalidArgument naming what is wrong; paths with "..", ".", empty parts, a leading slash or backslashes
  // are refused.
  static absl::StatusOr<PackManifest> Parse(std::string_view json);
};

// Size and digest of every regular file under `folder`, manifest.json aside. InvalidArgument when there is
// anything but regular files and folders (links are refused); Unavailable when it cannot be read.
absl::StatusOr<std::map<std::string, PackFile>> HashPackFiles(const std::string& folder);

// Writes manifest.json of `folder` as it is now. The last step of making a pack.
absl::Status WritePackManifest(const std::string& folder, std::optional<uint64_t> release_entry);

}  // namespace retort::ledger

#endif  // LEDGER_VERIFY_PACK_MANIFEST_H_
