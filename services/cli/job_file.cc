#include "services/cli/job_file.h"

#include <filesystem>
#include <utility>

#include "proto/strict_yaml.h"

namespace retort::services {
namespace {

constexpr size_t kPromptFileBytesMax = size_t{32} << 20;  // 10,000 prompts of 3 KiB

}  // namespace

absl::StatusOr<retort::jobs::v1::JobSpec> LoadJobFile(const std::string& path) {
  retort::jobs::v1::JobSpec spec;
  if (auto s = LoadYamlFile(path, &spec, kPromptFileBytesMax); !s.ok()) return s;
  if (spec.prompts_file().empty()) {
    if (spec.prompts().empty()) {
      return absl::InvalidArgumentError(path + ": prompts: saw none, wanted `prompts` or `prompts_file`");
    }
    return spec;
  }
  if (!spec.prompts().empty()) {
    return absl::InvalidArgumentError(path +
                                      ": prompts_file: saw it beside `prompts`, wanted one of the two");
  }
  const std::string prompts_path = std::filesystem::path(path).parent_path() / spec.prompts_file();
  retort::jobs::v1::PromptSet prompts;
  if (auto s = LoadYamlFile(prompts_path, &prompts, kPromptFileBytesMax); !s.ok()) return s;
  *spec.mutable_prompts() = std::move(*prompts.mutable_prompts());
  spec.clear_prompts_file();
  return spec;
}

absl::Status RenameStudent(const std::string& name, retort::jobs::v1::JobSpec* spec) {
  if (!spec->has_student()) {
    return absl::InvalidArgumentError("--student: saw '" + name +
                                      "' for a job without a student, wanted a job file with `student`");
  }
  spec->mutable_student()->set_name(name);
  if (spec->purpose().has_name()) spec->mutable_purpose()->set_name(name);
  return absl::OkStatus();
}

}  // namespace retort::services
