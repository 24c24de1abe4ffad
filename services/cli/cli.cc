#include "services/cli/cli.h"

#include <algorithm>
#include <filesystem>

#include "proto/edit_distance.h"
#include "services/cli/exit_code.h"

namespace retort::services {
std::string Cli::FullName(std::string_view collection, const std::string& id) const {
  if (id.rfind("projects/", 0) == 0) return id;
  return parent() + "/" + std::string(collection) + "/" + id;
}

absl::StatusOr<std::unique_ptr<Client>> Cli::Connect() const {
  auto resolved = ResolveConnection(connection, ProcessEnvironment());
  if (!resolved.ok()) return resolved.status();
  return Client::Connect(*resolved, std::chrono::seconds(timeout_seconds));
}

int Cli::PrintItem(const std::string& json) const {
  auto text = RenderedItem(json, output);
  if (!text.ok()) return Fail(text.status());
  out << *text;
  return kExitOk;
}

int Cli::PrintItems(const std::vector<std::string>& items) const {
  auto text = RenderedItems(items, output);
  if (!text.ok()) return Fail(text.status());
  out << *text;
  return kExitOk;
}

int Cli::Fail(const absl::Status& status) const {
  err << Printable(ErrorText(status)) << std::endl;
  return ExitCodeOf(status);
}

std::string DidYouMean(std::string_view typed, const std::vector<std::string>& names) {
  std::string best;
  size_t best_distance = 0;
  for (const std::string& name : names) {
    const size_t distance = EditDistance(typed, name);
    const size_t limit = std::max<size_t>(1, std::max(typed.size(), name.size()) / 3);
    if (distance <= limit && (best.empty() || distance < best_distance)) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

absl::StatusOr<std::string> ReadVkey(const std::string& argument) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(argument, ignored)) {
    if (argument.find('+') != std::string::npos) return argument;
    return absl::NotFoundError("--key " + argument +
                               ": no such file, and not a verifier key (name+id+base64)");
  }
  auto text = ReadSmallFile(argument, 4096);
  if (!text.ok()) return text.status();
  while (!text->empty() && (text->back() == '\n' || text->back() == '\r' || text->back() == ' '))
    text->pop_back();
  return *text;
}

}  // namespace retort::services
