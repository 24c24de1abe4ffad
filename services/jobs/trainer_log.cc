#include "services/jobs/trainer_log.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace retort::jobs {

int64_t BytesOf(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

std::vector<v1::JobLogLine> TrainerLines(const std::filesystem::path& path, int64_t from) {
  std::vector<v1::JobLogLine> lines;
  const int64_t size = BytesOf(path);
  const int64_t begin = std::max(from, size - kTrainerLogBytesMax);
  std::ifstream in(path, std::ios::binary);
  in.seekg(begin);
  std::string text;
  if (begin > from) std::getline(in, text);  // the rest of a line whose beginning is left out
  while (std::getline(in, text)) {
    if (text.empty()) continue;
    v1::JobLogLine line;
    line.set_severity(v1::JobLogLine::SEVERITY_INFO);
    line.set_component("trainer");
    line.set_text(text);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace retort::jobs
