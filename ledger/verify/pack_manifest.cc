#include "ledger/verify/pack_manifest.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <vector>

#include "ledger/hex.h"
#include "ledger/internal/statement_fields.h"

namespace retort::ledger {
namespace internal {

constexpr size_t kPackManifestBytesMax = 64 << 20;
constexpr int64_t kPackVersion = 1;

struct PackFileMember {
  std::string path, sha256;
  int64_t bytes = 0;
};
struct PackObject {
  std::vector<PackFileMember> files;
  int64_t release_entry = -1;
  int64_t version = kPackVersion;
};

template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, PackFileMember>
void Fields(S& s, V& v) {
  v.Text("path", s.path, Form::kName);
  v.Text("sha256", s.sha256, Form::kDigest);
  v.Number("bytes", s.bytes, 0);
}

template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, PackObject>
void Fields(S& s, V& v) {
  v.List("files", s.files);
  v.Number("release_entry", s.release_entry, -1);
  v.Number("version", s.version, kPackVersion);
}

}  // namespace internal

namespace {

constexpr char kManifestName[] = "manifest.json";

bool IsPlainPath(std::string_view path) {
  if (path.empty() || path.size() > 4096 || path.find('\\') != std::string_view::npos) return false;
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

absl::StatusOr<PackFile> HashFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::UnavailableError("cannot open " + path.string());
  Sha256Hasher hasher;
  PackFile file;
  std::vector<char> buffer(1 << 20);
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0) {
    hasher.Update(std::string_view(buffer.data(), static_cast<size_t>(in.gcount())));
    file.bytes += static_cast<uint64_t>(in.gcount());
  }
  if (in.bad()) return absl::UnavailableError("cannot read " + path.string());
  file.sha256 = hasher.Finish();
  return file;
}

}  // namespace

std::string PackManifest::ToJson() const {
  internal::PackObject object;
  for (const auto& [path, file] : files) {
    object.files.push_back(
        {.path = path, .sha256 = HexEncode(file.sha256), .bytes = static_cast<int64_t>(file.bytes)});
  }
  if (release_entry.has_value()) object.release_entry = static_cast<int64_t>(*release_entry);
  return internal::WriteStatement(object);
}

absl::StatusOr<PackManifest> PackManifest::Parse(std::string_view json) {
  const absl::StatusOr<internal::PackObject> object =
      internal::ReadStatement<internal::PackObject>(json, "manifest", internal::kPackManifestBytesMax);
  if (!object.ok()) return object.status();
  if (object->version != internal::kPackVersion) {
    return absl::InvalidArgumentError("manifest.version is " + std::to_string(object->version) +
                                      "; wanted 1");
  }
  PackManifest manifest;
  std::string_view before;
  for (const internal::PackFileMember& member : object->files) {
    if (!IsPlainPath(member.path)) {
      return absl::InvalidArgumentError("manifest.files.path is " + internal::Shown(member.path) +
                                        "; wanted a plain relative path");
    }
    if (member.path <= before)
      return absl::InvalidArgumentError("manifest.files are not in ascending order of path");
    before = member.path;
    manifest.files[member.path] = {.bytes = static_cast<uint64_t>(member.bytes),
                                   .sha256 = *DigestFromHex(member.sha256)};  // its form was checked
  }
  if (object->release_entry >= 0) manifest.release_entry = static_cast<uint64_t>(object->release_entry);
  return manifest;
}

absl::StatusOr<std::map<std::string, PackFile>> HashPackFiles(const std::string& folder) {
  namespace fs = std::filesystem;
  std::map<std::string, PackFile> files;
  std::error_code error;
  fs::recursive_directory_iterator at(folder, error);
  for (; !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    const fs::file_status status = at->symlink_status(error);
    if (error) break;
    if (fs::is_directory(status)) continue;
    const std::string path = at->path().lexically_relative(folder).generic_string();
    if (!fs::is_regular_file(status)) {
      return absl::InvalidArgumentError(internal::Shown(path) + " is neither a regular file nor a folder");
    }
    if (path == kManifestName) continue;
    const absl::StatusOr<PackFile> file = HashFile(at->path());
    if (!file.ok()) return file.status();
    files[path] = *file;
  }
  if (error) return absl::UnavailableError("folder " + folder + ": " + error.message());
  return files;
}

absl::Status WritePackManifest(const std::string& folder, std::optional<uint64_t> release_entry) {
  absl::StatusOr<std::map<std::string, PackFile>> files = HashPackFiles(folder);
  if (!files.ok()) return files.status();
  const PackManifest manifest{.files = *std::move(files), .release_entry = release_entry};
  const std::filesystem::path path = std::filesystem::path(folder) / kManifestName;
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << manifest.ToJson();
  out.flush();
  if (!out) return absl::UnavailableError("cannot write " + path.string());
  return absl::OkStatus();
}

}  // namespace retort::ledger
