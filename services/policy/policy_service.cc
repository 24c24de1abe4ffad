#include "services/policy/policy_service.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/signed_statement.h"
#include "policy/screening.h"
#include "retort/teacher/v1/payload.pb.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"
#include "services/policy/validate.h"

namespace retort::services {
namespace {

google::protobuf::Timestamp Now(const PolicyServiceImpl::Clock& clock) {
  const int64_t us = std::chrono::floor<std::chrono::microseconds>(clock().time_since_epoch()).count();
  google::protobuf::Timestamp time;
  time.set_seconds(us / 1'000'000);
  time.set_nanos(static_cast<int32_t>(us % 1'000'000) * 1000);
  return time;
}

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

void Describe(const std::string& project, const policy::LoadedPack& pack, policy::v1::Policy* out) {
  out->set_name(project + "/policies/" + pack.pack().id());
  out->set_version(pack.pack().version());
  out->set_title(pack.pack().title());
  out->set_sha256(pack.sha256());
  out->set_source_url(pack.pack().source_url());
  out->set_document_date(pack.pack().document_date());
  out->set_confidence(std::string(pack.confidence()));
}

}  // namespace

PolicyServiceImpl::PolicyServiceImpl(policy::PackSet packs, ledger::SigningKey key, PageTokens page_tokens,
                                     Clock clock)
    : packs_(std::move(packs)),
      key_(std::move(key)),
      page_tokens_(std::move(page_tokens)),
      clock_(std::move(clock)) {}

grpc::Status PolicyServiceImpl::DecideJob(grpc::ServerContext*, const policy::v1::DecideJobRequest* request,
                                          policy::v1::DecideResponse* response) {
  auto project = Validate(*request);
  if (!project.ok()) return ToGrpcStatus(project.status());
  policy::v1::Facts facts = request->facts();
  *facts.mutable_decided_time() = Now(clock_);
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
  *facts.mutable_decided_time() = Now(clock_);
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
  auto statement = policy::MakeDecisionStatement(packs_, facts, subject);
  if (!statement.ok()) return ToGrpcStatus(statement.status());
  const ledger::SignedStatement decision =
      ledger::SignStatement(key_, ledger::StatementType::kDecision, statement->ToJson());
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
  const policy::LoadedPack* pack = packs_.Find(*id);
  if (pack == nullptr) {
    return ToGrpcStatus(absl::NotFoundError("name: saw " + request->name() + ", wanted an active policy"));
  }
  Describe(request->name().substr(0, request->name().find("/policies/")), *pack, response);
  response->set_yaml(pack->bytes());
  return grpc::Status::OK;
}

grpc::Status PolicyServiceImpl::ListPolicies(grpc::ServerContext*,
                                             const policy::v1::ListPoliciesRequest* request,
                                             policy::v1::ListPoliciesResponse* response) {
  if (auto s = Validate(*request); !s.ok()) return ToGrpcStatus(s);
  const auto size = static_cast<size_t>(*PageSize(request->page_size()));
  const std::string scope = "policies\n" + request->parent();
  std::string after;  // id of the last policy of the page before
  if (!request->page_token().empty()) {
    auto position = page_tokens_.Open(scope, request->page_token());
    if (!position.ok()) return ToGrpcStatus(position.status());
    after = *std::move(position);
  }
  const auto& packs = packs_.packs();
  auto it = std::upper_bound(packs.begin(), packs.end(), after,
                             [](const std::string& id, const auto& pack) { return id < pack.pack().id(); });
  for (; it != packs.end() && static_cast<size_t>(response->policies_size()) < size; ++it) {
    Describe(request->parent(), *it, response->add_policies());
    after = it->pack().id();
  }
  if (it != packs.end()) response->set_next_page_token(page_tokens_.Seal(scope, after));
  return grpc::Status::OK;
}

}  // namespace retort::services
