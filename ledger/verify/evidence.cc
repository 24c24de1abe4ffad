#include "ledger/verify/evidence.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "ledger/hex.h"
#include "ledger/internal/status_text.h"
#include "ledger/merkle.h"
#include "ledger/tile.h"
#include "ledger/verify/internal/entry_auditor.h"
#include "ledger/verify/internal/findings.h"
#include "ledger/verify/pack_manifest.h"

namespace retort::ledger {
namespace {

namespace fs = std::filesystem;
using internal::EntryAuditor;
using internal::Findings;

constexpr uint64_t kBundleBytesMax = uint64_t{kTileWidth} * (2 + kEntryBytesMax);
constexpr uint64_t kAttachmentReadBytesMax = 64 << 20;
constexpr std::string_view kStudentFolder = "student/";
constexpr std::string_view kAttachmentFolder = "attachments/";

// Bytes of a file of at most `bytes_max`. NotFound, InvalidArgument when larger, Unavailable.
absl::StatusOr<std::string> ReadFile(const fs::path& path, uint64_t bytes_max) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return absl::NotFoundError("is missing");
  if (fs::file_size(path, error) > bytes_max || error) {
    return absl::InvalidArgumentError("is larger than " + std::to_string(bytes_max) + " bytes");
  }
  std::ifstream in(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  if (!in.is_open() || in.bad()) return absl::UnavailableError("cannot be read");
  return bytes;
}

// Leaf hashes that the pack claims. They prove nothing by themselves; once they lead to the signed root, they
// tell which entry a changed byte belongs to.
class ClaimedHashes {
 public:
  // False when the pack has none, or, which is a finding, too few.
  bool Read(const fs::path& folder, uint64_t size, Findings& findings) {
    hashes_.reserve(std::min<uint64_t>(size, 1 << 20));
    std::error_code error;
    if (!fs::exists(folder / "tile/0", error)) return false;
    for (const TileId& tile : TilesOf(size)) {
      if (tile.level > 0) break;
      const std::string path = TilePath(tile);
      const absl::StatusOr<std::string> bytes = ReadFile(folder / path, kTileWidth * sizeof(Digest));
      if (!findings.Check(path, bytes.status())) return false;
      const size_t wanted = tile.width * sizeof(Digest);
      if (bytes->size() != wanted) {
        findings.Add(path, (bytes->size() < wanted ? "truncated at byte " : "is too long: ") +
                               std::to_string(bytes->size()) + ", wanted " + std::to_string(wanted));
        return false;
      }
      for (size_t i = 0; i < tile.width; ++i) {
        Digest hash;
        std::copy_n(bytes->begin() + static_cast<ptrdiff_t>(i * hash.size()), hash.size(), hash.begin());
        hashes_.push_back(hash);
      }
    }
    return true;
  }
  const std::vector<Digest>& hashes() const { return hashes_; }

 private:
  std::vector<Digest> hashes_;
};

class PackVerifier {
 public:
  PackVerifier(const std::string& folder, const EvidenceVisitor& visitor, VerifyReport& report)
      : folder_(folder), visitor_(visitor), report_(report), findings_(report) {}

  void Verify(VerifyingKey log_key, std::string_view origin, const std::string& note) {
    HashFiles();
    ReadManifest();
    const absl::StatusOr<Checkpoint> checkpoint = OpenCheckpoint(note, log_key, origin);
    if (!findings_.Check("checkpoint", checkpoint.status())) {
      report_.not_checked.push_back("the entries: without a checkpoint nobody vouches for them");
    } else {
      report_.checkpoint = *checkpoint;
      report_.checked.push_back({"signed checkpoint of " + checkpoint->origin, 1});
      EntryAuditor auditor(
          std::move(log_key), [this](const std::string& sha256) { return Attachment(sha256); }, visitor_,
          findings_);
      const bool complete = VerifyEntries(*checkpoint, auditor);
      VerifyAttachments(auditor, complete);
      VerifyStudent(auditor, complete);
      const EntryAuditor::Counts& counts = auditor.counts();
      report_.checked.push_back({"signatures of statements", counts.signatures});
      report_.checked.push_back({"request ids, each of them once", auditor.request_ids()});
      report_.checked.push_back({"signed decisions", counts.decisions});
      if (counts.reviews > 0)
        report_.checked.push_back({"reviews by people, each of a decision in the log", counts.reviews});
      report_.checked.push_back({"policy packs", counts.packs});
      report_.checked.push_back({"samples listed by datasets, all of them allowed", counts.dataset_samples});
      report_.checked.push_back({"milestones of training runs, chained", counts.milestones});
      if (counts.accesses > 0) {
        report_.checked.push_back({"records of who was let in or refused", counts.accesses});
      }
      if (counts.attempts > 0) {
        report_.checked.push_back(
            {"attempts at training runs, numbered without a gap, their costs computed again",
             counts.attempts});
        report_.not_checked.push_back(
            "that the clocks, energy counters and declared prices behind the costs were right");
      }
    }
    VerifyManifest();
    report_.not_checked.push_back(
        "that the log showed everybody this tree: compare the checkpoint with one that somebody else holds");
    report_.not_checked.push_back(
        "the texts of the samples: they stay encrypted in the ledger, and the pack holds their salted "
        "digests only");
    report_.not_checked.push_back(
        "that what the services signed is true, and that training again would give these weights");
    if (!visitor_.decision)
      report_.not_checked.push_back("whether the packs, evaluated again, give these decisions");
  }

 private:
  // Every file is read once; its digest serves the release and the manifest.
  void HashFiles() {
    absl::StatusOr<std::map<std::string, PackFile>> files = HashPackFiles(folder_.string());
    if (findings_.Check("pack", files.status())) files_ = *std::move(files);
  }

  void ReadManifest() {
    const absl::StatusOr<std::string> bytes = ReadFile(folder_ / "manifest.json", kAttachmentReadBytesMax);
    if (!findings_.Check("manifest.json", bytes.status())) return;
    absl::StatusOr<PackManifest> manifest = PackManifest::Parse(*bytes);
    if (findings_.Check("manifest.json", manifest.status())) manifest_ = *std::move(manifest);
  }

  std::optional<std::string> Attachment(const std::string& sha256) {
    const absl::StatusOr<std::string> bytes =
        ReadFile(folder_ / std::string(kAttachmentFolder) / sha256, kAttachmentReadBytesMax);
    if (!bytes.ok() || HexEncode(Sha256(*bytes)) != sha256) return std::nullopt;
    return *bytes;
  }

  // False when entries are missing, so that nothing may be concluded from absence.
  bool VerifyEntries(const Checkpoint& checkpoint, EntryAuditor& auditor) {
    ClaimedHashes claimed;
    const bool have_claims = claimed.Read(folder_, checkpoint.size, findings_);
    const bool claims_hold = have_claims && RootOf(claimed.hashes()) == checkpoint.root;
    CompactRange range;
    for (const TileId& tile : BundlesOf(checkpoint.size)) {
      const std::string path = TilePath(tile);
      const absl::StatusOr<std::string> bundle = ReadFile(folder_ / path, kBundleBytesMax);
      bool complete = findings_.Check(path, bundle.status());
      if (complete)
        complete = VerifyBundle(path, *bundle, tile.width, claims_hold ? &claimed : nullptr, auditor, range);
      if (!complete) {
        report_.not_checked.push_back("entries from " + std::to_string(range.size()) +
                                      " on, and the tree's root");
        return false;
      }
      if (visitor_.progress) visitor_.progress(range.size(), checkpoint.size);
    }
    const Digest root = range.Root();
    report_.checked.push_back({"entries, hashed up to the root of the checkpoint", range.size()});
    if (root != checkpoint.root) {
      findings_.Add("checkpoint", "the root of the entries is " + HexEncode(root) + "; signed is " +
                                      HexEncode(checkpoint.root));
    } else if (have_claims && !claims_hold) {
      findings_.Add("tile/0", "the hashes do not lead to the root of the checkpoint, though the entries do");
    }
    return true;
  }

  bool VerifyBundle(const std::string& path, std::string_view bundle, uint32_t width,
                    const ClaimedHashes* claimed, EntryAuditor& auditor, CompactRange& range) {
    size_t at = 0;
    for (uint32_t i = 0; i < width; ++i) {
      const uint64_t index = range.size();
      const size_t left = bundle.size() - at;
      const size_t length = left < 2 ? 0
                                     : static_cast<size_t>(static_cast<uint8_t>(bundle[at])) << 8 |
                                           static_cast<uint8_t>(bundle[at + 1]);
      if (left < 2 + length) {
        findings_.Add(path, "truncated at byte " + std::to_string(bundle.size()) + ", entry " +
                                std::to_string(index) + " wants " + std::to_string(2 + length - left) +
                                " more");
        return false;
      }
      const std::string_view leaf = bundle.substr(at + 2, length);
      const Digest hash = LeafHash(leaf);
      range.Append(hash);
      const size_t before = report_.findings.size();
      auditor.Take(index, leaf, hash);
      // The statements hold, yet the bytes are not those in the tree: the header was changed, or entries were
      // swapped.
      if (claimed != nullptr && report_.findings.size() == before && claimed->hashes()[index] != hash) {
        findings_.Add(
            "entry " + std::to_string(index),
            "leaf hash is " + HexEncode(hash) + "; the tree has " + HexEncode(claimed->hashes()[index]));
      }
      at += 2 + length;
    }
    if (at != bundle.size()) {
      findings_.Add(path, std::to_string(bundle.size() - at) + " bytes after the last entry, at byte " +
                              std::to_string(at));
    }
    return true;
  }

  void VerifyAttachments(const EntryAuditor& auditor, bool complete) {
    uint64_t checked = 0;
    for (const auto& [path, file] : files_) {
      if (!path.starts_with(kAttachmentFolder)) continue;
      ++checked;
      const std::string name = path.substr(kAttachmentFolder.size());
      if (HexEncode(file.sha256) != name) {
        findings_.Add(path, "SHA-256 " + HexEncode(file.sha256) + " is not its name");
      } else if (complete && !auditor.named_attachments().contains(name)) {
        report_.not_checked.push_back(path + ": no entry under the checkpoint names it");
      }
    }
    report_.checked.push_back({"attachments", checked});
  }

  void VerifyStudent(const EntryAuditor& auditor, bool complete) {
    const auto first = files_.lower_bound(std::string(kStudentFolder));
    const bool has_student = first != files_.end() && first->first.starts_with(kStudentFolder);
    std::optional<uint64_t> entry = manifest_.has_value() ? manifest_->release_entry : std::nullopt;
    if (!manifest_.has_value() && has_student && !auditor.releases().empty())
      entry = auditor.releases().rbegin()->first;
    for (const auto& [index, release] : auditor.releases()) {
      if (index != entry) {
        report_.not_checked.push_back("the files of the student that entry " + std::to_string(index) +
                                      " (RELEASE) released: they are not in this pack");
      }
    }
    if (!entry.has_value()) {
      if (has_student)
        findings_.Add("student", "files are here, but the pack names no RELEASE entry for them");
      return;
    }
    const auto release = auditor.releases().find(*entry);
    if (release == auditor.releases().end()) {
      if (complete) {
        findings_.Add("student", "the pack says that entry " + std::to_string(*entry) +
                                     " released it, which is no verified RELEASE");
      }
      return;
    }
    report_.release_entry = entry;
    std::set<std::string> listed;
    for (const ReleasedFile& wanted : release->second.files) {
      const std::string path = std::string(kStudentFolder) + wanted.path;
      listed.insert(path);
      CheckReleasedFile(path, wanted);
    }
    for (auto at = first; at != files_.end() && at->first.starts_with(kStudentFolder); ++at) {
      if (!listed.contains(at->first)) {
        findings_.Add(at->first, "is not among the files of entry " + std::to_string(*entry) + " (RELEASE)");
      }
    }
    report_.checked.push_back({"released files", listed.size()});
  }

  void CheckReleasedFile(const std::string& path, const ReleasedFile& wanted) {
    const auto file = files_.find(path);
    if (file == files_.end()) return findings_.Add(path, "is missing");
    const auto wanted_bytes = static_cast<uint64_t>(wanted.bytes);
    if (file->second.bytes != wanted_bytes) {
      return findings_.Add(
          path, (file->second.bytes < wanted_bytes ? "truncated at byte " : "is too long: ") +
                    std::to_string(file->second.bytes) + ", wanted " + std::to_string(wanted_bytes) +
                    " bytes");
    }
    const std::string sha256 = HexEncode(file->second.sha256);
    if (sha256 != wanted.sha256) findings_.Add(path, "SHA-256 " + sha256 + ", wanted " + wanted.sha256);
  }

  // Last, because what it finds has mostly been named better by then.
  void VerifyManifest() {
    if (!manifest_.has_value()) return;
    for (const auto& [path, wanted] : manifest_->files) {
      const auto file = files_.find(path);
      if (file == files_.end()) {
        findings_.Add(path, "is in manifest.json but not in the pack");
      } else if (!(file->second == wanted)) {
        findings_.Add(path, "SHA-256 " + HexEncode(file->second.sha256) + ", manifest.json wants " +
                                HexEncode(wanted.sha256));
      }
    }
    for (const auto& [path, file] : files_) {
      if (!manifest_->files.contains(path)) findings_.Add(path, "is not in manifest.json");
    }
    report_.checked.push_back({"files against manifest.json", manifest_->files.size()});
  }

  const fs::path folder_;
  const EvidenceVisitor& visitor_;
  VerifyReport& report_;
  Findings findings_;
  std::map<std::string, PackFile> files_;
  std::optional<PackManifest> manifest_;
};

}  // namespace

std::string VerifyReport::Verdict() const {
  return findings.empty() ? "VERIFIED" : "FAILED: " + findings.front().ToString();
}

absl::StatusOr<VerifyReport> VerifyEvidence(const std::string& folder, std::string_view log_vkey,
                                            std::string_view origin, const EvidenceVisitor& visitor) {
  absl::StatusOr<VerifyingKey> log_key = VerifyingKey::Parse(log_vkey);
  if (!log_key.ok()) return log_key.status();
  const absl::StatusOr<std::string> note = ReadFile(fs::path(folder) / "checkpoint", 1 << 20);
  if (!note.ok()) return internal::About(folder + "/checkpoint", note.status());
  VerifyReport report{.log_vkey = std::string(log_vkey)};
  const std::string wanted_origin = origin.empty() ? log_key->name() : std::string(origin);
  PackVerifier(folder, visitor, report).Verify(*std::move(log_key), wanted_origin, *note);
  return report;
}

}  // namespace retort::ledger
