// The strict loader: every refusal with its place, and every kind of value that a message can hold.
#include "proto/strict_yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "google/rpc/error_details.pb.h"
#include "retort/jobs/v1/job_spec.pb.h"
#include "retort/policy/v1/facts.pb.h"
#include "retort/policy/v1/pack.pb.h"
#include "retort/server/v1/server_config.pb.h"
#include "retort/teacher/v1/payload.pb.h"

namespace retort {
namespace {

using ::testing::HasSubstr;

template <typename T>
T Load(std::string_view yaml) {
  T out;
  const absl::Status status = LoadYaml(yaml, "t.yaml", &out);
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

template <typename T>
std::string Refusal(std::string_view yaml) {
  T out;
  const absl::Status status = LoadYaml(yaml, "t.yaml", &out);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << yaml;
  return std::string(status.message());
}

TEST(StrictYamlTest, LoadsNestedMessages) {
  const auto spec = Load<jobs::v1::JobSpec>(R"(
display_name: Kitchen
purpose:
  distributed: true
  competition: { declared_by: someone, providers: [] }
  monthly_active_users: 9007199254740991
prompts:
  - { id: a, text: "How long?" }
  - id: b
    text: |
      Two
      lines
sampling: { temperature: 0.5, top_p: 1, seed: 18446744073709551615, max_tokens: 64 }
)");
  EXPECT_EQ(spec.display_name(), "Kitchen");
  EXPECT_TRUE(spec.purpose().distributed());
  EXPECT_TRUE(spec.purpose().has_competition());
  EXPECT_FALSE(spec.purpose().has_hosted());
  EXPECT_EQ(spec.purpose().monthly_active_users(), 9007199254740991);
  ASSERT_EQ(spec.prompts_size(), 2);
  EXPECT_EQ(spec.prompts(1).text(), "Two\nlines\n");
  EXPECT_EQ(spec.sampling().temperature(), 0.5);
  EXPECT_EQ(spec.sampling().seed(), 18446744073709551615u);
}

TEST(StrictYamlTest, EmptyDocumentIsEmptyMessage) {
  EXPECT_EQ(Load<jobs::v1::JobSpec>("").ByteSizeLong(), 0u);
  EXPECT_EQ(Load<jobs::v1::JobSpec>("# only a comment\n").ByteSizeLong(), 0u);
  EXPECT_EQ(Load<jobs::v1::JobSpec>("{}").ByteSizeLong(), 0u);
}

TEST(StrictYamlTest, ReplacesWhatWasThere) {
  jobs::v1::JobSpec spec;
  spec.set_teacher("old");
  ASSERT_TRUE(LoadYaml("display_name: x", "t.yaml", &spec).ok());
  EXPECT_EQ(spec.teacher(), "");
}

TEST(StrictYamlTest, PlainScalarStaysText) {
  const auto pack = Load<policy::v1::Pack>("version: 1.10\nid: true\ntitle: 0x1F\nnotes: 2026-01-01\n");
  EXPECT_EQ(pack.version(), "1.10");
  EXPECT_EQ(pack.id(), "true");
  EXPECT_EQ(pack.title(), "0x1F");
  EXPECT_EQ(pack.notes(), "2026-01-01");
}

TEST(StrictYamlTest, EnumsWithAndWithoutPrefixInAnyCase) {
  for (const char* name : {"open_weights", "OPEN_WEIGHTS", "CHANNEL_OPEN_WEIGHTS", "Channel_Open_Weights"}) {
    const auto config = Load<server::v1::TeacherConfig>(std::string("channel: ") + name);
    EXPECT_EQ(config.channel(), teacher::v1::CHANNEL_OPEN_WEIGHTS) << name;
  }
}

TEST(StrictYamlTest, RefusesUnspecifiedAndNumbersAsEnum) {
  for (const char* name : {"unspecified", "CHANNEL_UNSPECIFIED", "0", "5", "[]"}) {
    EXPECT_THAT(Refusal<server::v1::TeacherConfig>(std::string("channel: ") + name),
                HasSubstr("wanted consumer_app, "))
        << name;
  }
}

TEST(StrictYamlTest, SuggestsNearEnumName) {
  EXPECT_EQ(
      Refusal<server::v1::TeacherConfig>("channel: open_weigths"),
      "t.yaml:1:10: channel: saw \"open_weigths\", wanted consumer_app, first_party_api, cloud_marketplace, "
      "managed_distillation, open_weights (did you mean open_weights?)");
}

TEST(StrictYamlTest, LoadsTimestamps) {
  EXPECT_EQ(Load<policy::v1::Facts>("generated_time: 1970-01-02T00:00:01Z").generated_time().seconds(),
            86401);
  EXPECT_EQ(Load<policy::v1::Facts>("generated_time: 2026-01-01").generated_time().seconds(), 1767225600);
  const auto facts = Load<policy::v1::Facts>("generated_time: \"2024-02-29T23:59:59.000006Z\"");
  EXPECT_EQ(facts.generated_time().seconds(), 1709251199);
  EXPECT_EQ(facts.generated_time().nanos(), 6000);
}

TEST(StrictYamlTest, RefusesBadTimestamps) {
  for (const char* text : {"2026-02-29", "2026-13-01", "2026-01-01T00:00:00", "2026-01-01T24:00:00Z",
                           "2026-01-01T00:00:60Z", "2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00.Z",
                           "2026-01-01T00:00:00.1234567890Z", "0000-01-01", "yesterday", "1767225600",
                           "2026-01-01 "
                           "00:00:00Z",
                           "[]", "{}"}) {
    EXPECT_THAT(Refusal<policy::v1::Facts>(std::string("generated_time: ") + text),
                HasSubstr("wanted a time in UTC"))
        << text;
  }
}

TEST(StrictYamlTest, LoadsDurations) {
  EXPECT_EQ(Load<google::rpc::RetryInfo>("retry_delay: 5s").retry_delay().seconds(), 5);
  const auto info = Load<google::rpc::RetryInfo>("retry_delay: -0.25s");
  EXPECT_EQ(info.retry_delay().seconds(), 0);
  EXPECT_EQ(info.retry_delay().nanos(), -250000000);
}

TEST(StrictYamlTest, RefusesBadDurations) {
  for (const char* text : {"5", "5m", "s", ".5s", "5.s", "1e3s", "315576000001s", "--5s", "5 s"}) {
    EXPECT_THAT(Refusal<google::rpc::RetryInfo>(std::string("retry_delay: ") + text),
                HasSubstr("wanted a duration"))
        << text;
  }
}

TEST(StrictYamlTest, LoadsMaps) {
  const auto facts = Load<policy::v1::Facts>("screening: { findings: { email: 2, iban: 1 } }");
  EXPECT_EQ(facts.screening().findings().at("email"), 2);
  EXPECT_EQ(facts.screening().findings().size(), 2u);
}

TEST(StrictYamlTest, RefusesBadMapValue) {
  EXPECT_EQ(Refusal<policy::v1::Facts>("screening:\n  findings:\n    email: many\n"),
            "t.yaml:3:12: screening.findings.email: saw \"many\", wanted an integer from -2147483648 to "
            "2147483647");
}

TEST(StrictYamlTest, LoadsBytesAsBase64) {
  EXPECT_EQ(Load<teacher::v1::SamplePayload>("raw_request: AAEC/w==").raw_request(),
            std::string("\0\1\2\xff", 4));
  EXPECT_EQ(Load<teacher::v1::SamplePayload>("raw_request: \"\"").raw_request(), "");
}

TEST(StrictYamlTest, RefusesBadBase64) {
  for (const char* text : {"AAEC/w", "AAEC_w==", "AAEC/x==", "\"AAEC /w==\"", "=", "a"}) {
    EXPECT_THAT(Refusal<teacher::v1::SamplePayload>(std::string("raw_request: ") + text),
                HasSubstr("wanted standard base64"))
        << text;
  }
}

TEST(StrictYamlTest, RefusesUnknownKeyWithSuggestion) {
  EXPECT_EQ(
      Refusal<jobs::v1::JobSpec>("display_name: x\npurpose:\n  distribted: true\n"),
      "t.yaml:3:3: purpose.distribted: saw an unknown key, wanted a field of StudentFacts (did you mean "
      "distributed?)");
  EXPECT_EQ(Refusal<jobs::v1::JobSpec>("zzzzzz: 1"),
            "t.yaml:1:1: zzzzzz: saw an unknown key, wanted a field of JobSpec");
}

TEST(StrictYamlTest, RefusesDuplicateKey) {
  EXPECT_EQ(Refusal<jobs::v1::JobSpec>("teacher: a\nteacher: b\n"),
            "t.yaml:2:1: saw the key \"teacher\" a second time, wanted each key once");
  EXPECT_THAT(Refusal<policy::v1::Facts>("screening: { findings: { email: 1, email: 2 } }"),
              HasSubstr("a second time"));
}

TEST(StrictYamlTest, RefusesWrongTypes) {
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("purpose: yes"), HasSubstr("wanted a mapping (StudentFacts)"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("prompts: { id: a }"),
              HasSubstr("saw a mapping, wanted a sequence"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("teacher: [a]"), HasSubstr("saw a sequence, wanted text"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("extract_only: yes"), HasSubstr("wanted true or false"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("extract_only: \"true\""),
              HasSubstr("saw the text \"true\", wanted true or"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("concurrency: 1.5"), HasSubstr("wanted an integer"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("concurrency: \"16\""), HasSubstr("wanted an integer"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("- a\n- b\n"),
              HasSubstr("saw a sequence, wanted a mapping (JobSpec)"));
}

TEST(StrictYamlTest, RefusesNothing) {
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("teacher:\n"), HasSubstr("teacher: saw nothing, wanted text"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("teacher: ~\n"), HasSubstr("saw nothing"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("purpose: null\n"), HasSubstr("saw nothing, wanted a mapping"));
}

TEST(StrictYamlTest, RefusesIntegersOutOfRange) {
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("concurrency: 2147483648"),
              HasSubstr("from -2147483648 to 2147483647"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("sampling: { seed: -1 }"),
              HasSubstr("from 0 to 18446744073709551615"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("sampling: { seed: 18446744073709551616 }"),
              HasSubstr("wanted an integer"));
  for (const char* text : {"007", "+1", "0x10", "1_000", "-0", "1e3", "-"}) {
    EXPECT_THAT(Refusal<jobs::v1::JobSpec>(std::string("concurrency: ") + text), HasSubstr("wanted")) << text;
  }
}

TEST(StrictYamlTest, RefusesNumbersThatAreNotFinite) {
  for (const char* text : {".inf", "inf", "nan", ".nan", "1e999", "1.", ".5", "0x1p3", "1,5"}) {
    EXPECT_THAT(Refusal<jobs::v1::JobSpec>(std::string("sampling: { top_p: '") + text + "' }"),
                HasSubstr("a finite number"))
        << text;
    EXPECT_THAT(Refusal<jobs::v1::JobSpec>(std::string("sampling:\n  top_p: ") + text),
                HasSubstr("a finite number"))
        << text;
  }
  EXPECT_THAT(Refusal<teacher::v1::TokenTrace>("top_logprobs: [1e39]"),
              HasSubstr("top_logprobs[0]: saw \"1e39\""));
}

TEST(StrictYamlTest, LoadsFloatsWithExponent) {
  EXPECT_FLOAT_EQ(Load<teacher::v1::TokenTrace>("top_logprobs: [-1.5e-3]").top_logprobs(0), -0.0015f);
}

TEST(StrictYamlTest, RefusesTwoMembersOfOneof) {
  EXPECT_EQ(Refusal<server::v1::TeacherConfig>("local: {}\nopenai_chat: {}\n"),
            "t.yaml:2:1: openai_chat: saw a second member of backend, wanted only local or only openai_chat");
}

TEST(StrictYamlTest, RefusesAnchorsAliasesAndTags) {
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("teacher: &a x"), HasSubstr("saw an anchor"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("teacher: *a"), HasSubstr("saw "));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("purpose: &p { }\nstudent: *p"), HasSubstr("saw an anchor"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("teacher: !!str x"), HasSubstr("saw the tag"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("teacher: ! x"), HasSubstr("saw the tag"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("prompts: !x []"), HasSubstr("saw the tag"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("!x\nteacher: a"), HasSubstr("saw the tag"));
}

TEST(StrictYamlTest, RefusesSeveralDocumentsAndDirectives) {
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("teacher: a\n---\nteacher: b\n"),
              HasSubstr("saw a second document"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("%YAML 1.2\n---\nteacher: a\n"), HasSubstr("saw a directive"));
  EXPECT_EQ(Load<jobs::v1::JobSpec>("---\nteacher: a\n").teacher(), "a");
}

TEST(StrictYamlTest, RefusesDeepNesting) {
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("prompts: " + std::string(31, '[') + std::string(31, ']')),
              HasSubstr("wanted a mapping (Prompt)"));  // 32 levels are read, and wrong for another reason
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("prompts: " + std::string(32, '[') + std::string(32, ']')),
              HasSubstr("nesting deeper than 32"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>(std::string(100000, '[')), HasSubstr("saw "));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>(std::string(100000, '{')), HasSubstr("saw "));
  std::string compact;
  for (int i = 0; i < 5000; ++i) compact += "- ";
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>(compact), HasSubstr("nesting deeper than 32"));
}

TEST(StrictYamlTest, RefusesLargeInput) {
  jobs::v1::JobSpec spec;
  const std::string yaml = "teacher: " + std::string(100, 'a');
  EXPECT_TRUE(LoadYaml(yaml, "t.yaml", &spec, yaml.size()).ok());
  const absl::Status status = LoadYaml(yaml, "t.yaml", &spec, yaml.size() - 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("saw 109 bytes, wanted at most 108 bytes"));
}

TEST(StrictYamlTest, RefusesBytesThatAreNotText) {
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("teacher: a\nteacher: \xff\n"),
              HasSubstr("t.yaml:2:1: saw bytes that are not text"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>(std::string_view("teacher: \0", 10)),
              HasSubstr("t.yaml:1:10: saw bytes"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("teacher: \xc0\x80"), HasSubstr("bytes that are not text"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("teacher: \xed\xa0\x80"), HasSubstr("bytes that are not text"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("\xef\xbb\xbfteacher: a"), HasSubstr("byte order mark"));
  EXPECT_THAT(Refusal<jobs::v1::JobSpec>("\xff\xfet\0e\0"), HasSubstr("bytes that are not text"));
}

TEST(StrictYamlTest, RefusesBrokenYaml) {
  for (const char* yaml :
       {"teacher: \"a", "teacher: [a", "a: b: c", "teacher: a\n\tdisplay_name: b", "}", "prompts: [}",
        "teacher: \"\\q\"", "teacher: \"\\ud800\"", "? [a]\n: b\n", "? {a: b}\n: c\n"}) {
    EXPECT_THAT(Refusal<jobs::v1::JobSpec>(yaml), HasSubstr("t.yaml:")) << yaml;
  }
}

TEST(StrictYamlTest, CutsLongValuesInMessages) {
  const std::string message = Refusal<jobs::v1::JobSpec>("concurrency: " + std::string(500, 'x'));
  EXPECT_THAT(message, HasSubstr(std::string(64, 'x') + "…"));
  EXPECT_LT(message.size(), 250u);
}

TEST(StrictYamlFileTest, ReadsAndNamesFiles) {
  const auto folder = std::filesystem::temp_directory_path() / "strict_yaml_test";
  std::filesystem::create_directories(folder);
  const std::string path = (folder / "job.yaml").string();
  std::ofstream(path) << "teacher: a\n";
  jobs::v1::JobSpec spec;
  EXPECT_TRUE(LoadYamlFile(path, &spec).ok());
  EXPECT_EQ(spec.teacher(), "a");
  EXPECT_EQ(LoadYamlFile(path, &spec, 5).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(LoadYamlFile(path + ".no", &spec).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(LoadYamlFile(folder.string(), &spec).code(), absl::StatusCode::kUnavailable);
  std::ofstream(path) << "teacher: [\n";
  EXPECT_THAT(LoadYamlFile(path, &spec).message(), HasSubstr(path + ":"));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace retort
