// The policy service over gRPC in one process: decisions are signed, tied to their capture, and can be
// computed again.
#include "services/policy/policy_service.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/signed_statement.h"
#include "policy/facts.h"
#include "proto/strict_yaml.h"
#include "retort/teacher/v1/payload.pb.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

using ::testing::HasSubstr;

constexpr char kJob[] = "projects/p/jobs/j";
constexpr char kUid[] = "6f9619ff-8b86-4011-b42d-00c04fc964ff";
const std::string kSalt(32, 's');

ledger::SigningKey Key() {
  return *ledger::SigningKey::FromSeed("policy", std::string(32, 'k'));
}

policy::PackSet Shipped() {
  return *policy::PackSet::LoadFolder(std::string(RETORT_SOURCE_DIR) + "/policy/packs");
}

class PolicyServiceTest : public ::testing::Test {
 protected:
  PolicyServiceTest()
      : packs_(Shipped()), folder_(testing::TempDir() + "/policy_service_" + std::to_string(getpid())) {
    std::filesystem::remove_all(folder_);
    revisions_ = *PolicyRevisions::Open(folder_, packs_, [this] { return now_; });
    PolicyServiceOptions options;
    options.revisions = revisions_.get();
    options.key = &key_;
    options.reviewer_key = &reviewer_key_;
    options.clock = [this] { return now_; };
    options.caller = [this](const grpc::ServerContext&) { return caller_; };
    service_ = std::make_unique<PolicyServiceImpl>(std::move(options));
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = policy::v1::PolicyService::NewStub(server_->InProcessChannel({}));
  }

  ~PolicyServiceTest() override {
    server_->Shutdown();
    revisions_.reset();
    std::filesystem::remove_all(folder_);
  }

  static policy::v1::Facts JobFacts() {
    policy::v1::Facts facts;
    const absl::Status status = LoadYaml(R"(
teacher: { provider: huggingface, channel: open_weights, model: SmolLM2-135M-Instruct, account_class: "", modality: text,
  extraction_mode: scripted }
student: { kind: general_llm, distributed: true, hosted: false, sold: false, competition: { declared_by: me },
  monthly_active_users: 0, use: commercial }
)",
                                         "facts", &facts);
    EXPECT_TRUE(status.ok()) << status;
    return facts;
  }

  static policy::v1::DecideJobRequest JobRequest() {
    policy::v1::DecideJobRequest request;
    request.set_job(kJob);
    request.set_job_uid(kUid);
    *request.mutable_facts() = JobFacts();
    return request;
  }

  static ledger::CaptureStatement Capture(const std::string& payload) {
    ledger::CaptureStatement c;
    c.project = "projects/p";
    c.request_id = "00000000-0000-8000-8000-000000000001";
    c.job = kJob;
    c.job_uid = kUid;
    c.prompt_id = "a";
    c.split = "train";
    c.teacher = "projects/p/teachers/smollm2";
    c.provider = "huggingface";
    c.channel = "open_weights";
    c.model_requested = c.model_answered = "SmolLM2-135M-Instruct";
    c.endpoint = "local";
    c.temperature = "0";
    c.top_p = "1";
    c.max_tokens = 64;
    c.requested_time = "2026-01-01T00:00:00.000000Z";
    c.completed_time = "2026-01-01T00:00:01.000000Z";
    c.finish_reason = "stop";
    c.payload_digest = ledger::HexEncode(ledger::SaltedDigest(kSalt, payload));
    c.payload_bytes = static_cast<int64_t>(payload.size());
    return c;
  }

  static std::string Payload(const std::string& question, const std::string& answer) {
    teacher::v1::SamplePayload payload;
    auto* message = payload.add_messages();
    message->set_role("user");
    message->set_content(question);
    payload.set_completion(answer);
    return payload.SerializeAsString();
  }

  static policy::v1::DecideSampleRequest SampleRequest(const std::string& payload) {
    policy::v1::DecideSampleRequest request;
    request.set_capture(Capture(payload).ToJson());
    request.set_payload(payload);
    request.set_salt(kSalt);
    *request.mutable_facts() = JobFacts();
    return request;
  }

  grpc::Status Decide(const policy::v1::DecideJobRequest& request) {
    grpc::ClientContext context;
    return stub_->DecideJob(&context, request, &response_);
  }
  grpc::Status Decide(const policy::v1::DecideSampleRequest& request) {
    grpc::ClientContext context;
    return stub_->DecideSample(&context, request, &response_);
  }

  // The statement of the newest response, after its signature and its content were checked.
  ledger::DecisionStatement Checked() {
    ledger::SignedStatement decision;
    decision.statement = response_.decision();
    EXPECT_EQ(response_.signature().size(), 64u);
    EXPECT_EQ(response_.key_id().size(), 32u);
    std::copy_n(response_.signature().begin(), 64, decision.signature.begin());
    std::copy_n(response_.key_id().begin(), 32, decision.key_id.begin());
    const auto key = ledger::VerifyingKey::Parse(Key().vkey());
    EXPECT_TRUE(VerifyStatement(*key, ledger::StatementType::kDecision, decision).ok());
    auto statement = ledger::DecisionStatement::Parse(response_.decision());
    EXPECT_TRUE(statement.ok()) << statement.status();
    EXPECT_EQ(response_.effect(), statement->effect);
    const absl::Status again = policy::RecomputeDecision(packs_, *statement);
    EXPECT_TRUE(again.ok()) << again;
    return *statement;
  }

  void ExpectInvalid(const grpc::Status& status, const std::string& message) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << message;
    EXPECT_THAT(status.error_message(), HasSubstr(message));
    EXPECT_EQ(ReasonOf(FromGrpcStatus(status)), INVALID_FIELD) << message;
  }

  std::chrono::system_clock::time_point now_{
      std::chrono::microseconds(1767312000000006)};  // 2026-01-02T00:00:00.000006Z
  const policy::PackSet packs_;
  const ledger::SigningKey key_ = Key();
  const ledger::SigningKey reviewer_key_ = *ledger::SigningKey::FromSeed("reviewer", std::string(32, 'r'));
  const std::string folder_;
  std::string caller_ = "spiffe://example/ann";
  std::unique_ptr<PolicyRevisions> revisions_;
  std::unique_ptr<PolicyServiceImpl> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<policy::v1::PolicyService::Stub> stub_;
  policy::v1::DecideResponse response_;
};

TEST_F(PolicyServiceTest, DecidesAJob) {
  ASSERT_TRUE(Decide(JobRequest()).ok());
  const ledger::DecisionStatement s = Checked();
  EXPECT_EQ(s.effect, "allow");
  EXPECT_EQ(s.subject_kind, "job");
  EXPECT_EQ(s.project, "projects/p");
  EXPECT_EQ(s.job, kJob);
  EXPECT_EQ(s.job_uid, kUid);
  EXPECT_EQ(s.request_id, policy::PreflightRequestId(kUid));
  EXPECT_EQ(s.decided_time, "2026-01-02T00:00:00.000006Z");
  EXPECT_EQ(s.generated_time, s.decided_time);
}

TEST_F(PolicyServiceTest, RefusesACompetitorAtPreflight) {
  policy::v1::DecideJobRequest request = JobRequest();
  request.mutable_facts()->mutable_teacher()->set_provider("openai");
  request.mutable_facts()->mutable_teacher()->set_channel("first_party_api");
  request.mutable_facts()->mutable_student()->mutable_competition()->add_providers("openai");
  ASSERT_TRUE(Decide(request).ok());
  const ledger::DecisionStatement s = Checked();
  EXPECT_EQ(s.effect, "deny");
  EXPECT_EQ(s.rules.at(0).rule, "no-competing-models");
  EXPECT_EQ(s.rules.at(0).clause, "section 3.3(e)");
}

TEST_F(PolicyServiceTest, RefusesWrongJobRequests) {
  policy::v1::DecideJobRequest request = JobRequest();
  request.set_job("jobs/j");
  ExpectInvalid(Decide(request), "job: saw");
  request = JobRequest();
  request.set_job_uid("");
  ExpectInvalid(Decide(request), "job_uid: saw");
  request = JobRequest();
  request.clear_facts();
  ExpectInvalid(Decide(request), "facts: saw 'nothing'");
  request = JobRequest();
  request.mutable_facts()->mutable_screening();
  ExpectInvalid(Decide(request), "facts.screening: saw");
  request = JobRequest();
  request.mutable_facts()->mutable_decided_time();
  ExpectInvalid(Decide(request), "facts.decided_time: saw");
  request = JobRequest();
  request.mutable_facts()->mutable_teacher()->set_owned_percent(101);
  ExpectInvalid(Decide(request), "facts.teacher.owned_percent: saw 101");
}

TEST_F(PolicyServiceTest, DecidesASample) {
  const policy::v1::DecideSampleRequest request = SampleRequest(Payload("How?", "Boil it."));
  ASSERT_TRUE(Decide(request).ok());
  const ledger::DecisionStatement s = Checked();
  EXPECT_EQ(s.effect, "allow");
  EXPECT_EQ(s.subject_kind, "sample");
  EXPECT_EQ(s.subject_digest, ledger::HexEncode(ledger::Sha256(request.capture())));
  EXPECT_EQ(s.generated_time, "2026-01-01T00:00:01.000000Z");
  EXPECT_EQ(s.decided_time, "2026-01-02T00:00:00.000006Z");
  const absl::Status belongs = policy::CheckDecisionAgainstCapture(s, request.capture());
  EXPECT_TRUE(belongs.ok()) << belongs;
}

TEST_F(PolicyServiceTest, PersonalDataInPromptOrAnswerIsReview) {
  for (const auto& [question, answer] :
       {std::pair("Write to jane@example.com", "Yes."), std::pair("Who?", "Call +49 30 1234567.")}) {
    ASSERT_TRUE(Decide(SampleRequest(Payload(question, answer))).ok());
    const ledger::DecisionStatement s = Checked();
    EXPECT_EQ(s.effect, "review");
    EXPECT_EQ(s.rules.at(1).rule, "personal-data");
    EXPECT_EQ(s.facts.find("jane"), std::string::npos);  // counts, never the text
    EXPECT_EQ(s.facts.find("1234567"), std::string::npos);
  }
}

TEST_F(PolicyServiceTest, CaptureOverrulesTheCallersFacts) {
  policy::v1::DecideSampleRequest request = SampleRequest(Payload("How?", "Call +49 30 1234567."));
  policy::v1::Facts& facts = *request.mutable_facts();
  facts.mutable_teacher()->set_provider("deepseek");
  facts.mutable_generated_time()->set_seconds(0);
  facts.mutable_decided_time()->set_seconds(0);
  facts.mutable_screening()->set_finish_reason("stop");
  ASSERT_TRUE(Decide(request).ok());
  const ledger::DecisionStatement s = Checked();
  EXPECT_EQ(s.effect, "review");
  EXPECT_EQ(s.rules.at(0).pack, "hf.smollm2");
  EXPECT_EQ(s.generated_time, "2026-01-01T00:00:01.000000Z");
  EXPECT_EQ(s.decided_time, "2026-01-02T00:00:00.000006Z");
}

TEST_F(PolicyServiceTest, UnreadablePayloadIsReviewAndNotLost) {
  teacher::v1::SamplePayload payload;
  payload.set_completion("x");
  std::string not_utf8 = payload.SerializeAsString();
  not_utf8.back() = '\xff';
  for (const std::string& bytes : {std::string("\xff\xff\xff"), not_utf8}) {
    ASSERT_TRUE(Decide(SampleRequest(bytes)).ok());
    const ledger::DecisionStatement s = Checked();
    EXPECT_EQ(s.effect, "review");
    EXPECT_EQ(s.missing_inputs, std::vector<std::string>{"screening"});
    EXPECT_EQ(s.rules.back().rule, "screening-incomplete");
  }
}

TEST_F(PolicyServiceTest, LongModelNameIsDecidedAbout) {
  const std::string payload = Payload("How?", "So.");
  policy::v1::DecideSampleRequest request = SampleRequest(payload);
  ledger::CaptureStatement capture = Capture(payload);
  capture.model_answered = std::string(10000, 'm');
  request.set_capture(capture.ToJson());
  ASSERT_TRUE(Decide(request).ok());
  EXPECT_EQ(Checked().effect, "deny");  // no terms cover a model of that name
}

TEST_F(PolicyServiceTest, RefusesWrongSampleRequests) {
  const std::string payload = Payload("How?", "So.");
  policy::v1::DecideSampleRequest request = SampleRequest(payload);
  request.set_capture("{}");
  EXPECT_EQ(Decide(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request = SampleRequest(payload);
  request.set_salt("short");
  ExpectInvalid(Decide(request), "salt: saw '5 bytes', wanted 32 bytes");
  request = SampleRequest(payload);
  request.set_salt(std::string(32, 'x'));
  ExpectInvalid(Decide(request), "wanted a payload with the capture's salted digest");
  request = SampleRequest(payload);
  request.set_payload(Payload("How?", "Other."));
  ExpectInvalid(Decide(request), "wanted a payload with the capture's salted digest");
  request = SampleRequest(payload);
  request.clear_facts();
  ExpectInvalid(Decide(request), "facts: saw 'nothing'");
  request = SampleRequest(payload);
  request.mutable_facts()->set_prompt_licence(std::string(300, 'a'));
  ExpectInvalid(Decide(request), "facts.prompt_licence: saw 300 bytes");
}

TEST_F(PolicyServiceTest, GetsAPolicyWithItsBytes) {
  policy::v1::GetPolicyRequest request;
  request.set_name("projects/p/policies/hf.smollm2");
  policy::v1::Policy policy;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetPolicy(&context, request, &policy).ok());
  EXPECT_EQ(policy.name(), request.name());
  EXPECT_EQ(policy.confidence(), "read");
  EXPECT_EQ(policy.yaml(), packs_.Find("hf.smollm2")->bytes());
  EXPECT_EQ(policy.sha256(), ledger::HexEncode(ledger::Sha256(policy.yaml())));
}

TEST_F(PolicyServiceTest, RefusesUnknownPolicies) {
  policy::v1::Policy policy;
  policy::v1::GetPolicyRequest request;
  request.set_name("projects/p/policies/no.such");
  grpc::ClientContext first, second;
  EXPECT_EQ(stub_->GetPolicy(&first, request, &policy).error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_name("hf.smollm2");
  ExpectInvalid(stub_->GetPolicy(&second, request, &policy), "name: saw");
}

TEST_F(PolicyServiceTest, ListsEveryPolicyOncePageByPage) {
  policy::v1::ListPoliciesRequest request;
  request.set_parent("projects/p");
  request.set_page_size(3);
  std::vector<std::string> names;
  do {
    policy::v1::ListPoliciesResponse page;
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->ListPolicies(&context, request, &page).ok());
    for (const auto& policy : page.policies()) {
      names.push_back(policy.name());
      EXPECT_EQ(policy.yaml(), "");
    }
    EXPECT_LE(page.policies_size(), 3);
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  ASSERT_EQ(names.size(), packs_.packs().size());
  for (size_t i = 0; i < names.size(); ++i)
    EXPECT_EQ(names[i], "projects/p/policies/" + packs_.packs()[i].pack().id());
}

TEST_F(PolicyServiceTest, RefusesWrongListings) {
  const auto list = [this](const std::string& parent, int size, const std::string& token) {
    policy::v1::ListPoliciesRequest request;
    request.set_parent(parent);
    request.set_page_size(size);
    request.set_page_token(token);
    policy::v1::ListPoliciesResponse page;
    grpc::ClientContext context;
    return stub_->ListPolicies(&context, request, &page);
  };
  EXPECT_EQ(list("p", 0, "").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(list("projects/p", -1, "").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(list("projects/p", 0, "x").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  policy::v1::ListPoliciesRequest request;
  request.set_parent("projects/p");
  request.set_page_size(1);
  policy::v1::ListPoliciesResponse page;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->ListPolicies(&context, request, &page).ok());
  const grpc::Status other = list("projects/q", 1, page.next_page_token());  // a token of another listing
  EXPECT_EQ(ReasonOf(FromGrpcStatus(other)), PAGE_TOKEN_INVALID);
}

TEST_F(PolicyServiceTest, PreviewSaysWhatEachPromptWouldGet) {
  policy::v1::PreviewJobRequest request;
  request.set_job(kJob);
  *request.mutable_facts() = JobRequest().facts();
  const auto add = [&](const std::string& id, const std::string& text) {
    auto* prompt = request.add_prompts();
    prompt->set_id(id);
    prompt->set_split("train");
    prompt->add_texts(text);
  };
  add("plain", "How do I boil rice?");
  add("mail", "Write to ann@example.com about rice.");
  add("also-plain", "How do I fry rice?");
  policy::v1::PreviewJobResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->PreviewJob(&context, request, &response).ok());
  EXPECT_EQ(response.job().effect(), "allow");
  ASSERT_EQ(response.groups_size(), 2);
  EXPECT_EQ(response.groups(0).decision().effect(), "allow");
  EXPECT_EQ(response.groups(0).prompt_count(), 2);
  EXPECT_EQ(response.groups(0).first_prompt_ids(1), "also-plain");
  EXPECT_EQ(response.groups(1).decision().effect(), "review");
  EXPECT_EQ(response.groups(1).findings().at("email"), 1);
  EXPECT_EQ(response.SerializeAsString().find("ann@example.com"), std::string::npos) << "no text comes back";
}

TEST_F(PolicyServiceTest, SignsReviewsOfReviewsOnly) {
  ledger::DecisionStatement decision;
  decision.project = "projects/p";
  decision.request_id = kUid;
  decision.subject_kind = "sample";
  decision.subject_digest = std::string(64, 'a');
  decision.job = kJob;
  decision.job_uid = kUid;
  decision.effect = "review";
  decision.facts = "{}";
  decision.facts_digest = ledger::HexEncode(ledger::Sha256("{}"));
  decision.generated_time = decision.decided_time = "2026-01-02T03:04:05.000006Z";
  policy::v1::SignReviewRequest request;
  request.set_parent("projects/p");
  request.set_subject_entry(57);
  request.set_decision(decision.ToJson());
  request.set_verdict("approve");
  request.set_reviewer("spiffe://example/bob");
  request.set_reason("checked");
  request.set_request_id(kUid);
  policy::v1::SignReviewResponse response;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->SignReview(&context, request, &response).ok());
  }
  const auto review = ledger::ReviewStatement::Parse(response.review());
  ASSERT_TRUE(review.ok()) << review.status();
  EXPECT_EQ(review->subject_entry, 57);
  EXPECT_EQ(review->subject_digest, ledger::HexEncode(ledger::Sha256(request.decision())));
  EXPECT_EQ(review->reviewer, "spiffe://example/bob");
  ledger::SignedStatement signed_review{.statement = response.review()};
  std::copy_n(response.signature().begin(), 64, signed_review.signature.begin());
  std::copy_n(response.key_id().begin(), 32, signed_review.key_id.begin());
  EXPECT_TRUE(VerifyStatement(*ledger::VerifyingKey::Parse(reviewer_key_.vkey()),
                              ledger::StatementType::kReview, signed_review)
                  .ok());
  for (const char* effect : {"allow", "deny"}) {
    decision.effect = effect;
    request.set_decision(decision.ToJson());
    grpc::ClientContext context;
    const auto refused = FromGrpcStatus(stub_->SignReview(&context, request, &response));
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ReasonOf(refused), SAMPLE_NOT_IN_REVIEW);
  }
  decision.effect = "review";
  decision.project = "projects/q";
  request.set_decision(decision.ToJson());
  grpc::ClientContext context;
  ExpectInvalid(stub_->SignReview(&context, request, &response), "decision");
}

TEST_F(PolicyServiceTest, ActivationWithoutALedgerIsRefused) {
  policy::v1::CreatePolicyRevisionRequest create;
  create.set_parent("projects/p/policies/acme.company");
  create.mutable_policy_revision()->set_yaml(
      "id: acme.company\nversion: \"1\"\ntitle: Ours\nkind: company\nconfidence: read\n"
      "source_url: https://example.com\ndocument_date: 2026-01-01\neffective_from: 2026-01-01\n"
      "rules:\n  - { id: no-smol, clause: section 1, summary: Not this one., effect: deny,\n"
      "      when: { fact: teacher.provider, equals: huggingface } }\n");
  policy::v1::PolicyRevision revision;
  {
    grpc::ClientContext context;
    const auto status = FromGrpcStatus(stub_->CreatePolicyRevision(&context, create, &revision));
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_EQ(revision.author(), "spiffe://example/ann");
  policy::v1::ActivatePolicyRevisionRequest activate;
  activate.set_name(revision.name());
  caller_ = "spiffe://example/bob";
  {
    grpc::ClientContext context;
    const auto status = FromGrpcStatus(stub_->ActivatePolicyRevision(&context, activate, &revision));
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("peers.ledger"));
  }
  ASSERT_TRUE(Decide(JobRequest()).ok());
  EXPECT_EQ(Checked().effect, "allow") << "what is not entered does not decide";
}

}  // namespace
}  // namespace retort::services
