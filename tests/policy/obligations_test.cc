#include "policy/obligations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace retort::policy {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

Obligation Make(const std::string& kind, const std::string& text, const std::string& trigger = "on_train") {
  return {"pack", "rule", kind, trigger, text};
}

TEST(CheckReleaseTest, NamePrefix) {
  const Obligation duty = Make("name_prefix", "Llama");
  EXPECT_THAT(CheckRelease({duty}, {.student_name = "Llama-Acme-7B"}), IsEmpty());
  const auto unmet = CheckRelease({duty}, {.student_name = "DeepSeek-R1-Distill-Llama-70B"});
  ASSERT_EQ(unmet.size(), 1u);
  EXPECT_EQ(unmet[0].obligation, duty);
  EXPECT_EQ(unmet[0].reason,
            "name is \"DeepSeek-R1-Distill-Llama-70B\", wanted a name that begins with \"Llama\"");
  EXPECT_EQ(CheckRelease({duty}, {.student_name = "llama-acme"}).size(), 1u);
}

TEST(CheckReleaseTest, DisplayNoticeTakesAnyAlternative) {
  const Obligation duty = Make("display_notice", "Built with Qwen | Improved using Qwen");
  EXPECT_THAT(CheckRelease({duty}, {.files = {{"README.md", "# A\nImproved using Qwen.\n"}}}), IsEmpty());
  EXPECT_THAT(CheckRelease({duty}, {.files = {{"README.md", "Built with Qwen"}}}), IsEmpty());
  EXPECT_THAT(CheckRelease({duty}, {.files = {{"README.md", "built with qwen"}}}).at(0).reason,
              HasSubstr("wanted \"Built with Qwen\" or \"Improved using Qwen\""));
  EXPECT_THAT(CheckRelease({duty}, {.files = {{"NOTICE", "Built with Qwen"}}}).at(0).reason,
              HasSubstr("there is no README.md"));
}

TEST(CheckReleaseTest, NoticeFileAndCreditLine) {
  EXPECT_THAT(CheckRelease({Make("notice_file", "N")}, {.files = {{"NOTICE", "xNx"}}}), IsEmpty());
  EXPECT_EQ(CheckRelease({Make("notice_file", "N")}, {.files = {{"README.md", "N"}}}).size(), 1u);
  EXPECT_THAT(CheckRelease({Make("credit_line", "C")}, {.files = {{"README.md", "C"}}}), IsEmpty());
  EXPECT_EQ(CheckRelease({Make("credit_line", "C")}, {}).size(), 1u);
}

TEST(CheckReleaseTest, LicenceCopyNeedsText) {
  const Obligation duty = Make("licence_copy", "Gemma Terms of Use");
  EXPECT_THAT(CheckRelease({duty}, {.files = {{"LICENSE.gemma-terms-of-use", "the whole text"}}}), IsEmpty());
  EXPECT_EQ(CheckRelease({duty}, {.files = {{"LICENSE.gemma-terms-of-use", " \n"}}}).size(), 1u);
  EXPECT_THAT(CheckRelease({duty}, {}).at(0).reason, HasSubstr("LICENSE.gemma-terms-of-use"));
}

TEST(CheckReleaseTest, DutiesThatAreNotDueAreMet) {
  const Obligation distribute = Make("name_prefix", "L", "on_distribute_student"),
                   host = Make("name_prefix", "L", "on_host_student"),
                   either = Make("name_prefix", "L", "on_distribute_or_host_student");
  EXPECT_THAT(CheckRelease({distribute, host, either}, {}), IsEmpty());
  EXPECT_EQ(CheckRelease({distribute, host, either}, {.distributed = true}).size(), 2u);
  EXPECT_EQ(CheckRelease({distribute, host, either}, {.hosted = true}).size(), 2u);
  EXPECT_EQ(CheckRelease({distribute, host, either}, {.distributed = true, .hosted = true}).size(), 3u);
}

TEST(CheckReleaseTest, UnknownKindIsNeverMet) {
  EXPECT_THAT(CheckRelease({Make("dance", "now")}, {}).at(0).reason, HasSubstr("\"dance\" is unknown"));
}

TEST(NoticesTest, WrittenNoticesMeetTheDuties) {
  const std::vector<Obligation> duties = {Make("display_notice", "Built with Qwen | Improved using Qwen"),
                                          Make("notice_file", "Notice."),
                                          Make("credit_line", "Credit."),
                                          Make("use_limits_flowdown", "Limits."),
                                          Make("preserve_provenance_marks", "watermarks."),
                                          Make("modified_file_marks", "all weights.")};
  ReleasePlan plan;
  EXPECT_EQ(CheckRelease(duties, plan).size(), duties.size());
  const RequiredNotices notices = NoticesFor(duties, plan);
  EXPECT_EQ(notices.notice, "Notice.\n");
  EXPECT_EQ(notices.use_limits, "Limits.\n");
  EXPECT_THAT(notices.model_card, HasSubstr("Built with Qwen\n"));
  plan.files = {{"README.md", "# Card\n" + notices.model_card},
                {"NOTICE", notices.notice},
                {"USE_LIMITS.md", notices.use_limits}};
  EXPECT_THAT(CheckRelease(duties, plan), IsEmpty());
}

TEST(NoticesTest, WritesOnlyWhatIsDueAndOnce) {
  const Obligation duty = Make("notice_file", "N", "on_distribute_student");
  EXPECT_EQ(NoticesFor({duty, duty}, {}).notice, "");
  EXPECT_EQ(NoticesFor({duty, duty}, {.distributed = true}).notice, "N\n");
  EXPECT_EQ(NoticesFor({Make("licence_copy", "MIT")}, {}).licence_copies,
            (std::map<std::string, std::string>{{"LICENSE.mit", "MIT"}}));
}

TEST(LicenceCopyPathTest, IsAPlainFileName) {
  EXPECT_EQ(LicenceCopyPath("DeepSeek Model License 1.0"), "LICENSE.deepseek-model-license-1.0");
  EXPECT_EQ(LicenceCopyPath("../../etc/passwd"), "LICENSE...-..-etc-passwd");
  EXPECT_EQ(LicenceCopyPath("a / b!"), "LICENSE.a-b");
}

TEST(ObligationsTest, StatementFormKeepsEverything) {
  const Obligation duty{"p", "r", "k", "t", "x"};
  EXPECT_EQ(FromStatement(ToStatement(duty)), duty);
}

TEST(ObligationsTest, UniteKeepsEachOnceInOrder) {
  const Obligation a = {"a", "r", "k", "t", "x"}, b = {"b", "r", "k", "t", "x"};
  EXPECT_EQ(UniteObligations({{b, a}, {a}, {}}), (std::vector<Obligation>{a, b}));
  EXPECT_THAT(UniteObligations({}), IsEmpty());
}

}  // namespace
}  // namespace retort::policy
