#include "student/inference/teacher_gguf.h"

#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace retort::student {
namespace {

constexpr std::string_view kFileName = "SmolLM2-135M-Instruct.Q4_1.gguf";

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsFile(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

}  // namespace

absl::StatusOr<std::string> FindTeacherGguf() {
  if (const std::string named = Environment("RETORT_TEACHER_GGUF"); !named.empty()) {
    if (IsFile(named)) return named;
    return absl::NotFoundError("RETORT_TEACHER_GGUF names " + named +
                               ", which is not a file; wanted a GGUF file of a Llama-architecture model");
  }
  std::string cache = Environment("XDG_CACHE_HOME");
  if (cache.empty()) cache = Environment("HOME") + "/.cache";
  const std::string path = cache + "/retort/" + std::string(kFileName);
  if (IsFile(path)) return path;
  return absl::NotFoundError(
      "the embedded teacher's file " + path +
      " is missing; run deploy/setup/debian.sh once with a network, or set RETORT_TEACHER_GGUF to "
      "a GGUF file of a Llama-architecture model");
}

}  // namespace retort::student
