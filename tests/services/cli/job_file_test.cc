#include "services/cli/job_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "policy/screening.h"

namespace retort::services {
namespace {

const std::string kExamples = std::string(RETORT_SOURCE_DIR) + "/deploy/examples/";

std::string Folder(const std::string& name) {
  const std::string folder = testing::TempDir() + "/" + name;
  std::filesystem::create_directories(folder);
  return folder;
}

TEST(LoadJobFileTest, InlinesPromptsBesideTheJob) {
  const std::string folder = Folder("job_file");
  std::ofstream(folder + "/job.yaml") << "teacher: embedded\nprompts_file: p.yaml\n";
  std::ofstream(folder + "/p.yaml") << "prompts:\n  - { id: a, text: \"Why?\" }\n";
  auto spec = LoadJobFile(folder + "/job.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->prompts_file(), "");
  ASSERT_EQ(spec->prompts_size(), 1);
  EXPECT_EQ(spec->prompts(0).text(), "Why?");
}

TEST(LoadJobFileTest, RefusesBothOrNeither) {
  const std::string folder = Folder("job_file_both");
  std::ofstream(folder + "/both.yaml") << "prompts_file: p.yaml\nprompts:\n  - { id: a, text: b }\n";
  std::ofstream(folder + "/none.yaml") << "teacher: embedded\n";
  EXPECT_EQ(LoadJobFile(folder + "/both.yaml").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(LoadJobFile(folder + "/none.yaml").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LoadJobFileTest, NamesFileLineAndKey) {
  const std::string folder = Folder("job_file_bad");
  std::ofstream(folder + "/job.yaml") << "teacher: embedded\ntraning:\n  steps: 3\n";
  auto spec = LoadJobFile(folder + "/job.yaml");
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(spec.status().message().find("job.yaml:2"), std::string::npos) << spec.status();
  EXPECT_NE(spec.status().message().find("traning"), std::string::npos) << spec.status();
  std::ofstream(folder + "/lost.yaml") << "prompts_file: nowhere.yaml\n";
  EXPECT_EQ(LoadJobFile(folder + "/lost.yaml").status().code(), absl::StatusCode::kNotFound);
}

TEST(RenameStudentTest, RenamesWhereverTheNameStands) {
  auto spec = LoadJobFile(kExamples + "cooking.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  ASSERT_TRUE(RenameStudent("kitchen-2", &*spec).ok());
  EXPECT_EQ(spec->student().name(), "kitchen-2");
  EXPECT_EQ(spec->purpose().name(), "kitchen-2");

  retort::jobs::v1::JobSpec undeclared;
  undeclared.mutable_student()->set_name("a");
  ASSERT_TRUE(RenameStudent("b", &undeclared).ok());
  EXPECT_FALSE(undeclared.purpose().has_name());  // what was not declared stays undeclared
}

TEST(RenameStudentTest, RefusesAJobWithoutAStudent) {
  retort::jobs::v1::JobSpec spec;
  const absl::Status status = RenameStudent("b", &spec);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("--student: saw 'b'"), std::string::npos) << status;
}

TEST(ExamplesTest, KitchenJobIsWhatItSays) {
  auto spec = LoadJobFile(kExamples + "cooking.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->teacher(), "embedded");
  EXPECT_EQ(spec->sampling().top_logprobs(), 32);
  std::set<std::string> ids, texts;
  int held_out = 0, planted = 0;
  for (const auto& prompt : spec->prompts()) {
    EXPECT_TRUE(ids.insert(prompt.id()).second) << prompt.id();
    EXPECT_TRUE(texts.insert(prompt.text()).second) << prompt.text();
    const bool is_planted = prompt.id().rfind("planted-", 0) == 0;
    held_out += prompt.split() == "held_out";
    planted += is_planted;
    const auto facts = policy::Screen({prompt.system(), prompt.text()}, "", "stop");
    EXPECT_EQ(!facts.findings().empty(), is_planted) << prompt.id();
  }
  EXPECT_GE(spec->prompts_size() - planted, 160);
  EXPECT_EQ(held_out, 32);
  EXPECT_EQ(planted, 8);
}

TEST(ExamplesTest, RefusedJobDeclaresItsCompetition) {
  auto spec = LoadJobFile(kExamples + "refused-openai.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->teacher(), "openai");
  EXPECT_TRUE(spec->purpose().distributed());
  ASSERT_EQ(spec->purpose().competition().providers_size(), 1);
  EXPECT_EQ(spec->purpose().competition().providers(0), "openai");
}

}  // namespace
}  // namespace retort::services
