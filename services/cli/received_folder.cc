#include "services/cli/received_folder.h"

#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <utility>

namespace retort::services {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPathBytesMax = 512;

bool IsSafePath(const std::string& path) {
  if (path.empty() || path.size() > kPathBytesMax || path.back() == '/') return false;
  for (unsigned char c : path) {
    if (c < 0x20 || c == 0x7f || c == '\\') return false;
  }
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '/');) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

}  // namespace

ReceivedFolder::ReceivedFolder(std::string path, std::string temporary)
    : path_(std::move(path)), temporary_(std::move(temporary)) {}

absl::StatusOr<std::unique_ptr<ReceivedFolder>> ReceivedFolder::Create(const std::string& path) {
  fs::path target = fs::path(path).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  std::error_code absent, error;  // not being there is what is hoped for, and no error of what follows
  if (fs::exists(fs::symlink_status(target, absent))) {
    return absl::AlreadyExistsError(target.string() + " is there already: give another --out, or remove it");
  }
  if (target.has_parent_path()) fs::create_directories(target.parent_path(), error);
  const std::string temporary = target.string() + ".partial-" + std::to_string(getpid());
  if (error || !fs::create_directory(temporary, error)) {
    return absl::FailedPreconditionError("cannot make " + temporary + ": " + error.message());
  }
  return std::unique_ptr<ReceivedFolder>(new ReceivedFolder(target.string(), temporary));
}

ReceivedFolder::~ReceivedFolder() {
  if (finished_) return;
  out_.close();
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
}

absl::Status ReceivedFolder::Write(const std::string& prefix, const std::string& file,
                                   std::string_view content, bool last) {
  const std::string path = prefix + file;
  if (current_.empty()) {
    if (!IsSafePath(path))
      return absl::InvalidArgumentError("the server named a file that is no safe relative path");
    if (seen_.size() >= kFilesMax) return absl::ResourceExhaustedError("the server sent too many files");
    if (!seen_.insert(path).second) return absl::InvalidArgumentError("the server sent " + path + " twice");
    std::error_code error;
    const fs::path full = fs::path(temporary_) / path;
    fs::create_directories(full.parent_path(), error);
    out_.open(full, std::ios::binary | std::ios::trunc);
    if (error || !out_) return absl::FailedPreconditionError("cannot write " + full.string());
    current_ = path;
  } else if (current_ != path) {
    return absl::InvalidArgumentError("the server began " + path + " before " + current_ + " was complete");
  }
  bytes_ += content.size();
  if (bytes_ > kBytesMax) return absl::ResourceExhaustedError("the server sent too much");
  out_.write(content.data(), static_cast<std::streamsize>(content.size()));
  if (last) {
    out_.close();
    current_.clear();
  }
  if (!out_)
    return absl::FailedPreconditionError("cannot write " + path + " into " + temporary_ +
                                         ": is the disk full?");
  return absl::OkStatus();
}

absl::Status ReceivedFolder::Finish() {
  if (!current_.empty()) return absl::FailedPreconditionError(current_ + " is not complete");
  std::error_code error;
  fs::rename(temporary_, path_, error);
  if (error)
    return absl::FailedPreconditionError("cannot rename " + temporary_ + " to " + path_ + ": " +
                                         error.message());
  finished_ = true;
  return absl::OkStatus();
}

}  // namespace retort::services
