#include "services/policy/policy_service.h"

#include <google/protobuf/util/time_util.h>

#include <string_view>
#include <utility>
#include <vector>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/signed_statement.h"
#include "policy/screening.h"
#include "retort/teacher/v1/payload.pb.h"
#include "services/edge/list_query.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"
#include "services/policy/validate.h"

namespace retort::services {
namespace {

// What the text of a sample holds. A payload that is no SamplePayload (protobuf refuses text that is not
// UTF-8 too) gives screening without a finish reason, which evaluation takes for a text that was not
// screened: review.
policy::v1::ScreeningFacts ScreenPayload(const std::string& payload, const std::string& finish_reason) {
  teacher::v1::SamplePayload sample;
  if (!sample.ParseFromString(payload)) return {};
  std::vector<std::string_view> prompts;
  for (const teacher::v1::ChatMessage& message : sample.messages()) prompts.push_back(message.content());
  return policy::Screen(prompts, sample.completion(), finish_reason);
}

policy::v1::Policy Describe(const std::string& project, const policy::LoadedPack& pack,
                            const std::string& revision) {
  policy::v1::Policy out;
  out.set_name(project + "/policies/" + pack.pack().id());
  out.set_version(pack.pack().version());
  out.set_title(pack.pack().title());
  out.set_sha256(pack.sha256());
  out.set_source_url(pack.pack().source_url());
  out.set_document_date(pack.pack().document_date());
  out.set_confidence(std::string(pack.confidence()));
  out.set_revision(revision);
  return out;
}

const ListRules& PolicyRules() {
  static const ListRules rules{
      FilterFields(*policy::v1::Policy::descriptor(), {"name", "version", "title", "sha256", "source_url",
                                                       "document_date", "confidence", "revision"}),
      {"name", "name desc"}};
  return rules;
}

}  // namespace

PolicyServiceImpl::PolicyServiceImpl(PolicyServiceOptions options)
    : options_(std::move(options)), page_tokens_(options_.revisions->token_key()) {}

google::protobuf::Timestamp PolicyServiceImpl::Now() const {
  return google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(
      std::chrono::floor<std::chrono::microseconds>(options_.clock().time_since_epoch()).count());
}

grpc::Status PolicyServiceImpl::DecideJob(grpc::ServerContext*, const policy::v1::DecideJobRequest* request,
                                          policy::v1::DecideResponse* response) {
  auto project = Validate(*request);
  if (!project.ok()) return ToGrpcStatus(project.status());
  policy::v1::Facts facts = request->facts();
  *facts.mutable_decided_time() = Now();
  if (!facts.has_generated_time()) *facts.mutable_generated_time() = facts.decided_time();
  return Decide(facts,
                {.project = *project,
                 .request_id = policy::PreflightRequestId(request->job_uid()),
                 .kind = "job",
                 .subject_digest = "",
                 .job = request->job(),
                 .job_uid = request->job_uid()},
                response);
}

grpc::Status PolicyServiceImpl::DecideSample(grpc::ServerContext*,
                                             const policy::v1::DecideSampleRequest* request,
                                             policy::v1::DecideResponse* response) {
  auto capture = Validate(*request);
  if (!capture.ok()) return ToGrpcStatus(capture.status());
  policy::v1::Facts facts = request->facts();
  if (auto s = policy::FillFactsFromCapture(*capture, &facts); !s.ok()) return ToGrpcStatus(s);
  *facts.mutable_screening() = ScreenPayload(request->payload(), capture->finish_reason);
  *facts.mutable_decided_time() = Now();
  return Decide(facts,
                {.project = capture->project,
                 .request_id = policy::SampleDecisionRequestId(capture->request_id),
                 .kind = "sample",
                 .subject_digest = ledger::HexEncode(ledger::Sha256(request->capture())),
                 .job = capture->job,
                 .job_uid = capture->job_uid},
                response);
}

grpc::Status PolicyServiceImpl::Decide(const policy::v1::Facts& facts, const policy::DecisionSubject& subject,
                                       policy::v1::DecideResponse* response) const {
  auto statement =
      policy::MakeDecisionStatement(*options_.revisions->ActiveFor(subject.project), facts, subject);
  if (!statement.ok()) return ToGrpcStatus(statement.status());
  const ledger::SignedStatement decision =
      ledger::SignStatement(*options_.key, ledger::StatementType::kDecision, statement->ToJson());
  response->set_decision(decision.statement);
  response->set_signature(decision.signature.data(), decision.signature.size());
  response->set_key_id(decision.key_id.data(), decision.key_id.size());
  response->set_effect(statement->effect);
  return grpc::Status::OK;
}

grpc::Status PolicyServiceImpl::GetPolicy(grpc::ServerContext*, const policy::v1::GetPolicyRequest* request,
                                          policy::v1::Policy* response) {
  auto id = Validate(*request);
  if (!id.ok()) return ToGrpcStatus(id.status());
  const std::string project = request->name().substr(0, request->name().find("/policies/"));
  const auto packs = options_.revisions->ActiveFor(project);
  const policy::LoadedPack* pack = packs->Find(*id);
  if (pack == nullptr) {
    return ToGrpcStatus(absl::NotFoundError("name: saw " + request->name() + ", wanted an active policy"));
  }
  *response = Describe(project, *pack, options_.revisions->ActiveRevision(project, *id));
  response->set_yaml(pack->bytes());
  return grpc::Status::OK;
}

grpc::Status PolicyServiceImpl::ListPolicies(grpc::ServerContext*,
                                             const policy::v1::ListPoliciesRequest* request,
                                             policy::v1::ListPoliciesResponse* response) {
  if (auto s = Validate(*request); !s.ok()) return ToGrpcStatus(s);
  const auto query = ParseListQuery("policies",
                                    {request->parent(), request->page_size(), request->page_token(),
                                     request->filter(), request->order_by()},
                                    PolicyRules(), page_tokens_);
  if (!query.ok()) return ToGrpcStatus(query.status());
  const auto packs = options_.revisions->ActiveFor(request->parent());
  response->set_next_page_token(PageOfItems(
      packs->packs(), *query, page_tokens_, [](const policy::LoadedPack& pack) { return pack.pack().id(); },
      [&](const policy::LoadedPack& pack) {
        return Describe(request->parent(), pack,
                        options_.revisions->ActiveRevision(request->parent(), pack.pack().id()));
      },
      [&](policy::v1::Policy policy) { *response->add_policies() = std::move(policy); }));
  return grpc::Status::OK;
}

}  // namespace retort::services
