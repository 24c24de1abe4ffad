#include "services/ledger/trusted_keys.h"

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <system_error>

#include "services/edge/channel.h"

namespace retort::services {
namespace {

constexpr size_t kKeyFileBytesMax = 64 << 10;

absl::StatusOr<std::vector<std::string>> Lines(const std::string& path) {
  auto text = ReadSmallFile(path, kKeyFileBytesMax);
  if (!text.ok()) return text.status();
  std::istringstream in(*text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) lines.push_back(line);
  }
  if (lines.empty()) return absl::InvalidArgumentError(path + ": empty; wanted a public key on each line");
  return lines;
}

}  // namespace

absl::StatusOr<std::vector<ledger::TrustedKey>> LoadTrustedKeys(const std::string& folder,
                                                                const ledger::SigningKey& log_key) {
  constexpr std::string_view kEnd = ".vkey";
  std::error_code error;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::string name = at->path().filename().string();
    if (name.front() != '.') names.push_back(std::move(name));
  }
  if (error == std::errc::no_such_file_or_directory)
    return absl::NotFoundError(folder + ": " + error.message());
  if (error) return absl::FailedPreconditionError(folder + ": " + error.message());
  std::sort(names.begin(), names.end());
  std::vector<ledger::TrustedKey> keys;
  for (const std::string& name : names) {
    const std::string path = folder + "/" + name;
    if (name.size() <= kEnd.size() || !name.ends_with(kEnd))
      return absl::InvalidArgumentError(path + ": wanted files <role>.vkey in this folder");
    const auto lines = Lines(path);
    if (!lines.ok()) return lines.status();
    const std::string role = name.substr(0, name.size() - kEnd.size());
    if (role != "log") {
      for (const std::string& line : *lines) keys.push_back({role, line});
      continue;
    }
    const auto listed = ledger::VerifyingKey::Parse(lines->front());
    if (!listed.ok() || lines->size() != 1 || listed->key_id() != log_key.key_id()) {
      return absl::FailedPreconditionError(path + ": is not the public half of keys.log, which is " +
                                           log_key.vkey());
    }
  }
  if (keys.empty())
    return absl::InvalidArgumentError(folder + ": no key of a role; wanted files <role>.vkey");
  return keys;
}

}  // namespace retort::services
