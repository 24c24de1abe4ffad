#include "services/jobs/validate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "services/edge/status.h"
#include "tests/services/jobs/example_job.h"

namespace retort::jobs {
namespace {

TEST(ValidateSpecTest, AcceptsTheExample) {
  const absl::Status status = ValidateSpec(ExampleSpec());
  EXPECT_TRUE(status.ok()) << status;
}

TEST(ValidateSpecTest, AcceptsExtractionAlone) {
  v1::JobSpec spec = ExampleSpec();
  spec.clear_student();
  spec.clear_training();
  spec.set_extract_only(true);
  EXPECT_TRUE(ValidateSpec(spec).ok());
}

struct BadSpec {
  const char* field;
  std::function<void(v1::JobSpec&)> spoil;
};

class ValidateSpecFieldTest : public testing::TestWithParam<BadSpec> {};

TEST_P(ValidateSpecFieldTest, NamesTheField) {
  v1::JobSpec spec = ExampleSpec();
  GetParam().spoil(spec);
  const absl::Status status = ValidateSpec(spec);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(services::ReasonOf(status), INVALID_FIELD);
  EXPECT_EQ(services::MetadataOf(status)["field"], GetParam().field) << status;
}

using Spec = v1::JobSpec;

INSTANTIATE_TEST_SUITE_P(
    Each, ValidateSpecFieldTest,
    testing::Values(
        BadSpec{"spec.teacher", [](Spec& s) { s.set_teacher("Smol"); }},
        BadSpec{"spec.teacher", [](Spec& s) { s.clear_teacher(); }},
        BadSpec{"spec.display_name", [](Spec& s) { s.set_display_name(std::string(201, 'x')); }},
        BadSpec{"spec.purpose", [](Spec& s) { s.clear_purpose(); }},
        BadSpec{"spec.purpose",
                [](Spec& s) { s.mutable_purpose()->mutable_competition()->add_providers("openai"); }},
        BadSpec{"spec.purpose.name", [](Spec& s) { s.mutable_purpose()->set_name("Other"); }},
        BadSpec{"spec.prompt_licence", [](Spec& s) { s.set_prompt_licence(std::string(257, 'x')); }},
        BadSpec{"spec.authorisations", [](Spec& s) { s.add_authorisations(""); }},
        BadSpec{"spec.training.data_ranks", [](Spec& s) { s.mutable_training()->set_data_ranks(257); }},
        BadSpec{"spec.training.expert_ranks", [](Spec& s) { s.mutable_training()->set_expert_ranks(-1); }},
        BadSpec{"spec.training.data_ranks", [](Spec& s) { s.mutable_training()->set_expert_ranks(3); }},
        BadSpec{"spec.training.data_ranks", [](Spec& s) { s.mutable_training()->set_data_ranks(251); }},
        BadSpec{"spec.prompts_file", [](Spec& s) { s.set_prompts_file("prompts.yaml"); }},
        BadSpec{"spec.prompts", [](Spec& s) { s.clear_prompts(); }},
        BadSpec{"spec.prompts",
                [](Spec& s) {
                  for (int i = 0; i < kPromptsMax; ++i) s.add_prompts();
                }},
        BadSpec{"spec.prompts",
                [](Spec& s) {
                  for (auto& prompt : *s.mutable_prompts()) prompt.set_split("held_out");
                }},
        BadSpec{"spec.prompts[1].id", [](Spec& s) { s.mutable_prompts(1)->set_id("prompt-0"); }},
        BadSpec{"spec.prompts[0].id", [](Spec& s) { s.mutable_prompts(0)->set_id("Prompt"); }},
        BadSpec{"spec.prompts[2].text", [](Spec& s) { s.mutable_prompts(2)->clear_text(); }},
        BadSpec{"spec.prompts[2].text",
                [](Spec& s) { s.mutable_prompts(2)->set_text(std::string(65537, 'x')); }},
        BadSpec{"spec.prompts[2].split", [](Spec& s) { s.mutable_prompts(2)->set_split("test"); }},
        BadSpec{"spec.sampling", [](Spec& s) { s.clear_sampling(); }},
        BadSpec{"spec.sampling.temperature", [](Spec& s) { s.mutable_sampling()->set_temperature(2.1); }},
        BadSpec{"spec.sampling.temperature",
                [](Spec& s) { s.mutable_sampling()->set_temperature(std::nan("")); }},
        BadSpec{"spec.sampling.top_p", [](Spec& s) { s.mutable_sampling()->set_top_p(0); }},
        BadSpec{"spec.sampling.max_tokens", [](Spec& s) { s.mutable_sampling()->set_max_tokens(8193); }},
        BadSpec{"spec.sampling.top_logprobs", [](Spec& s) { s.mutable_sampling()->set_top_logprobs(65); }},
        BadSpec{"spec.sampling.seed", [](Spec& s) { s.mutable_sampling()->set_seed(uint64_t{1} << 53); }},
        BadSpec{"spec.sampling.stop[0]", [](Spec& s) { s.mutable_sampling()->add_stop(""); }},
        BadSpec{"spec.student", [](Spec& s) { s.clear_student(); }},
        BadSpec{"spec.student.name", [](Spec& s) { s.mutable_student()->set_name("../x"); }},
        BadSpec{"spec.student.shape", [](Spec& s) { s.mutable_student()->set_shape("large"); }},
        BadSpec{"spec.training", [](Spec& s) { s.clear_training(); }},
        BadSpec{"spec.training.steps", [](Spec& s) { s.mutable_training()->set_steps(0); }},
        BadSpec{"spec.training.sequence_length",
                [](Spec& s) { s.mutable_training()->set_sequence_length(32); }},
        BadSpec{"spec.training.batch_tokens", [](Spec& s) { s.mutable_training()->set_batch_tokens(100); }},
        BadSpec{"spec.training.learning_rate", [](Spec& s) { s.mutable_training()->set_learning_rate(0); }},
        BadSpec{"spec.training.warmup_steps", [](Spec& s) { s.mutable_training()->set_warmup_steps(5); }},
        BadSpec{"spec.training.cross_entropy_weight",
                [](Spec& s) { s.mutable_training()->set_cross_entropy_weight(1.5); }},
        BadSpec{"spec.training.weight_decay", [](Spec& s) { s.mutable_training()->set_weight_decay(-1); }},
        BadSpec{"spec.training.prediction_layers",
                [](Spec& s) { s.mutable_training()->set_prediction_layers(5); }},
        BadSpec{"spec.training.prediction_layers",
                [](Spec& s) { s.mutable_training()->set_prediction_layers(-1); }},
        BadSpec{"spec.training.prediction_loss_weight",
                [](Spec& s) { s.mutable_training()->set_prediction_layers(1); }},
        BadSpec{"spec.training.prediction_loss_weight",
                [](Spec& s) {
                  s.mutable_training()->set_prediction_layers(1);
                  s.mutable_training()->set_prediction_loss_weight(1.5);
                }},
        BadSpec{"spec.training.prediction_loss_weight",
                [](Spec& s) { s.mutable_training()->set_prediction_loss_weight(0.3); }},
        BadSpec{"spec.training.threads", [](Spec& s) { s.mutable_training()->set_threads(-1); }},
        BadSpec{"spec.training.checkpoint_every",
                [](Spec& s) { s.mutable_training()->set_checkpoint_every(5); }},
        BadSpec{"spec.concurrency", [](Spec& s) { s.set_concurrency(257); }}));

TEST(ValidateSpecTest, RefusesWhatDoesNotFitIntoAMessage) {
  v1::JobSpec spec = ExampleSpec();
  for (int i = 0; i < 60; ++i) {
    v1::Prompt& prompt = *spec.add_prompts();
    prompt.set_id("big-" + std::to_string(i));
    prompt.set_text(std::string(60'000, 'x'));
  }
  EXPECT_EQ(services::MetadataOf(ValidateSpec(spec))["field"], "spec");
}

TEST(ValidateSpecTest, MessagesDoNotShowPrompts) {
  v1::JobSpec spec = ExampleSpec();
  spec.mutable_prompts(0)->set_text("SECRET" + std::string(70'000, 'x'));
  EXPECT_EQ(ValidateSpec(spec).ToString().find("SECRET"), std::string::npos);
}

TEST(ValidateRequestTest, ChecksNamesAndIds) {
  v1::CreateJobRequest create = ExampleRequest();
  EXPECT_TRUE(Validate(create).ok());
  create.set_job_id("ask");
  EXPECT_EQ(services::MetadataOf(Validate(create))["field"], "job_id");
  create = ExampleRequest();
  create.set_parent("p");
  EXPECT_EQ(services::MetadataOf(Validate(create))["field"], "parent");
  create = ExampleRequest();
  create.set_request_id("not-a-uuid");
  EXPECT_EQ(services::MetadataOf(Validate(create))["field"], "request_id");

  v1::GetJobRequest get;
  get.set_name("projects/p/jobs/");
  EXPECT_EQ(services::MetadataOf(Validate(get))["field"], "name");
  v1::ListJobsRequest list;
  list.set_parent("projects/p");
  EXPECT_TRUE(Validate(list).ok());
  list.set_page_size(-1);
  EXPECT_EQ(services::MetadataOf(Validate(list))["field"], "page_size");
  v1::DownloadStudentRequest download;
  download.set_name("projects/p/students/../../etc");
  EXPECT_EQ(services::MetadataOf(Validate(download))["field"], "name");
}

TEST(ValidateRequestTest, ChecksQuestions) {
  v1::AskTeacherRequest ask;
  ask.set_teacher("projects/p/teachers/smol");
  *ask.mutable_sampling() = ExampleSpec().sampling();
  EXPECT_EQ(services::MetadataOf(Validate(ask))["field"], "messages");
  ask.add_messages()->set_role("robot");
  EXPECT_EQ(services::MetadataOf(Validate(ask))["field"], "messages[0].role");
  ask.mutable_messages(0)->set_role("user");
  EXPECT_TRUE(Validate(ask).ok());
  ask.mutable_messages(0)->set_content(std::string(256 * 1024 + 1, 'x'));
  EXPECT_EQ(services::MetadataOf(Validate(ask))["field"], "messages");
}

v1::ExchangeRendezvousRequest ExampleRendezvous() {
  v1::ExchangeRendezvousRequest request;
  request.set_job("projects/p/jobs/example");
  request.set_job_uid("6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10");
  request.set_run("logits");
  request.set_rank(1);
  request.set_data_ranks(2);
  request.set_expert_ranks(2);
  request.set_binary_sha256(std::string(64, 'a'));
  request.set_manifest_sha256(std::string(64, 'b'));
  request.set_transport("nccl");
  request.mutable_patience()->set_seconds(5);
  return request;
}

TEST(ValidateRendezvousTest, AcceptsTheExample) {
  EXPECT_TRUE(Validate(ExampleRendezvous()).ok());
  v1::ExchangeRendezvousRequest first = ExampleRendezvous();
  first.set_rank(0);
  first.set_payload(std::string(128, 'i'));
  EXPECT_TRUE(Validate(first).ok());
}

TEST(ValidateRendezvousTest, NamesEveryField) {
  using Request = v1::ExchangeRendezvousRequest;
  const struct {
    const char* field;
    std::function<void(Request&)> spoil;
  } bad[] = {{"job", [](Request& r) { r.set_job("jobs/x"); }},
             {"job_uid", [](Request& r) { r.set_job_uid("x"); }},
             {"run", [](Request& r) { r.set_run("other"); }},
             {"data_ranks", [](Request& r) { r.set_data_ranks(0); }},
             {"expert_ranks", [](Request& r) { r.set_expert_ranks(257); }},
             {"data_ranks * expert_ranks", [](Request& r) { r.set_data_ranks(200); }},
             {"rank", [](Request& r) { r.set_rank(4); }},
             {"rank", [](Request& r) { r.set_rank(-1); }},
             {"binary_sha256", [](Request& r) { r.set_binary_sha256("A"); }},
             {"manifest_sha256", [](Request& r) { r.set_manifest_sha256(std::string(64, 'G')); }},
             {"transport", [](Request& r) { r.set_transport("mpi"); }},
             {"payload", [](Request& r) { r.set_payload("x"); }},
             {"payload", [](Request& r) { r.set_rank(0); }},
             {"patience", [](Request& r) { r.mutable_patience()->set_seconds(601); }},
             {"patience.nanos", [](Request& r) { r.mutable_patience()->set_nanos(-1); }}};
  for (const auto& [field, spoil] : bad) {
    Request request = ExampleRendezvous();
    spoil(request);
    const absl::Status status = Validate(request);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_EQ(services::MetadataOf(status)["field"], field) << status;
  }
}

}  // namespace
}  // namespace retort::jobs
