// What would be decided before anything is asked, and what people add: reviews and revisions.
#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include <map>
#include <utility>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/signed_statement.h"
#include "ledger/uuid.h"
#include "policy/evaluate.h"
#include "policy/facts.h"
#include "policy/screening.h"
#include "services/edge/call_budget.h"
#include "services/edge/channel.h"
#include "services/edge/list_query.h"
#include "services/edge/request_hash.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"
#include "services/policy/policy_service.h"
#include "services/policy/validate.h"

namespace retort::services {

using google::protobuf::util::TimeUtil;
using policy::v1::PolicyRevision;
using policy::v1::PreviewedDecision;

namespace {

constexpr int kFirstIds = 10;
constexpr int kCheckEvery = 64;

PreviewedDecision Previewed(const policy::Decision& decision) {
  PreviewedDecision out;
  out.set_effect(std::string(policy::EffectName(decision.effect)));
  for (const policy::RuleMatch& match : decision.rules) {
    auto* rule = out.add_rules();
    rule->set_pack(match.pack);
    rule->set_rule(match.rule);
    rule->set_effect(std::string(policy::EffectName(match.effect)));
    rule->set_clause(match.clause);
  }
  for (const std::string& input : decision.missing_inputs) out.add_missing_inputs(input);
  return out;
}

const ListRules& RevisionRules() {
  static const ListRules rules{
      FilterFields(*PolicyRevision::descriptor(), {"name", "uid", "state", "version", "sha256", "author",
                                                   "activator", "create_time", "update_time"}),
      {"create_time desc", "create_time"}};
  return rules;
}

}  // namespace

grpc::Status PolicyServiceImpl::PreviewJob(grpc::ServerContext* context,
                                           const policy::v1::PreviewJobRequest* request,
                                           policy::v1::PreviewJobResponse* response) {
  auto project = Validate(*request);
  if (!project.ok()) return ToGrpcStatus(project.status());
  const auto packs = options_.revisions->ActiveFor(*project);
  policy::v1::Facts facts = request->facts();
  *facts.mutable_decided_time() = Now();
  if (!facts.has_generated_time()) *facts.mutable_generated_time() = facts.decided_time();
  *response->mutable_job() = Previewed(policy::Evaluate(*packs, facts));
  const CallBudget budget(*context);
  std::map<std::string, policy::v1::PreviewedGroup*> groups;  // by split and decision
  for (int i = 0; i < request->prompts_size(); ++i) {
    if (i % kCheckEvery == 0) {
      if (auto s = budget.Check(); !s.ok()) return ToGrpcStatus(s);
    }
    const auto& prompt = request->prompts(i);
    const std::vector<std::string_view> texts(prompt.texts().begin(), prompt.texts().end());
    // The answer is taken to be one that ended by itself and holds nothing.
    *facts.mutable_screening() = policy::Screen(texts, "", "stop");
    PreviewedDecision decision = Previewed(policy::Evaluate(*packs, facts));
    policy::v1::PreviewedGroup*& group = groups[prompt.split() + "\n" + decision.SerializeAsString()];
    if (group == nullptr) {
      group = response->add_groups();
      group->set_split(prompt.split());
      *group->mutable_decision() = std::move(decision);
    }
    group->set_prompt_count(group->prompt_count() + 1);
    if (group->first_prompt_ids_size() < kFirstIds) group->add_first_prompt_ids(prompt.id());
    for (const auto& [kind, count] : facts.screening().findings())
      (*group->mutable_findings())[kind] += count;
  }
  return grpc::Status::OK;
}

grpc::Status PolicyServiceImpl::SignReview(grpc::ServerContext*, const policy::v1::SignReviewRequest* request,
                                           policy::v1::SignReviewResponse* response) {
  auto decision = Validate(*request);
  if (!decision.ok()) return ToGrpcStatus(decision.status());
  if (options_.reviewer_key == nullptr) {
    return ToGrpcStatus(
        WithReason(absl::FailedPreconditionError(
                       "the policy service has no reviewer key: the operator adds keys.reviewer to its "
                       "configuration, and its vkey to the ledger's trusted_keys"),
                   REVIEWS_UNAVAILABLE));
  }
  if (decision->effect != "review") {
    return ToGrpcStatus(WithReason(
        absl::FailedPreconditionError("decision: saw effect " + decision->effect + ", wanted review"),
        SAMPLE_NOT_IN_REVIEW));
  }
  ledger::ReviewStatement review;
  review.project = request->parent();
  review.request_id = request->request_id();
  review.subject_entry = request->subject_entry();
  review.subject_digest = ledger::HexEncode(ledger::Sha256(request->decision()));
  review.verdict = request->verdict();
  review.reviewer = request->reviewer();
  review.reason = request->reason();
  review.reviewed_time = policy::FormatTime(Now());
  const ledger::SignedStatement signed_review =
      ledger::SignStatement(*options_.reviewer_key, ledger::StatementType::kReview, review.ToJson());
  response->set_review(signed_review.statement);
  response->set_signature(signed_review.signature.data(), signed_review.signature.size());
  response->set_key_id(signed_review.key_id.data(), signed_review.key_id.size());
  return grpc::Status::OK;
}

grpc::Status PolicyServiceImpl::CreatePolicyRevision(grpc::ServerContext* context,
                                                     const policy::v1::CreatePolicyRevisionRequest* request,
                                                     PolicyRevision* response) {
  if (auto s = Validate(*request); !s.ok()) return ToGrpcStatus(s);
  auto revision = options_.revisions->Create(
      request->parent(), request->policy_revision().yaml(), options_.caller(*context),
      {"CreatePolicyRevision", request->request_id(), RequestHash(*request)}, request->validate_only());
  if (!revision.ok()) return ToGrpcStatus(revision.status());
  *response = *std::move(revision);
  return grpc::Status::OK;
}

grpc::Status PolicyServiceImpl::GetPolicyRevision(grpc::ServerContext*,
                                                  const policy::v1::GetPolicyRevisionRequest* request,
                                                  PolicyRevision* response) {
  auto name = ParseResourceName("name", request->name(), "projects/*/policies/@/revisions/*");
  if (!name.ok()) return ToGrpcStatus(name.status());
  auto revision = options_.revisions->Get(request->name());
  if (!revision.ok()) return ToGrpcStatus(revision.status());
  *response = *std::move(revision);
  return grpc::Status::OK;
}

grpc::Status PolicyServiceImpl::ListPolicyRevisions(grpc::ServerContext*,
                                                    const policy::v1::ListPolicyRevisionsRequest* request,
                                                    policy::v1::ListPolicyRevisionsResponse* response) {
  auto parent = ParseResourceName("parent", request->parent(), "projects/*/policies/@");
  if (!parent.ok()) return ToGrpcStatus(parent.status());
  auto query = ParseListQuery("policy revisions",
                              {request->parent(), request->page_size(), request->page_token(),
                               request->filter(), request->order_by()},
                              RevisionRules(), page_tokens_);
  if (!query.ok()) return ToGrpcStatus(query.status());
  auto revisions = options_.revisions->List(request->parent());
  if (!revisions.ok()) return ToGrpcStatus(revisions.status());
  // Times as text of one width sort as times; the name keeps those of one moment apart.
  const auto key = [](const PolicyRevision& revision) {
    const std::string micros = std::to_string(TimeUtil::TimestampToMicroseconds(revision.create_time()));
    return std::string(20 - micros.size(), '0') + micros + revision.name();
  };
  response->set_next_page_token(PageOfItems(
      *revisions, *query, page_tokens_, key, [](const PolicyRevision& revision) { return revision; },
      [&](PolicyRevision revision) { *response->add_policy_revisions() = std::move(revision); }));
  return grpc::Status::OK;
}

grpc::Status PolicyServiceImpl::ActivatePolicyRevision(
    grpc::ServerContext* context, const policy::v1::ActivatePolicyRevisionRequest* request,
    PolicyRevision* response) {
  if (auto s = Validate(*request); !s.ok()) return ToGrpcStatus(s);
  const CallBudget budget(*context);
  auto revision = options_.revisions->Activate(
      request->name(), request->etag(), options_.caller(*context),
      {"ActivatePolicyRevision", request->request_id(), RequestHash(*request)}, request->validate_only(),
      [&](const PolicyRevision& whole) { return EnterPack(whole, budget.Downstream()); });
  if (!revision.ok()) return ToGrpcStatus(revision.status());
  *response = *std::move(revision);
  return grpc::Status::OK;
}

absl::StatusOr<int64_t> PolicyServiceImpl::EnterPack(const PolicyRevision& revision,
                                                     std::chrono::milliseconds left) {
  if (options_.ledger == nullptr) {
    return WithReason(
        absl::FailedPreconditionError("the policy service does not know the ledger: the operator adds "
                                      "peers.ledger to its configuration"),
        FAILED_PRECONDITION);
  }
  auto pack = policy::LoadedPack::Parse(revision.name(), revision.yaml());
  if (!pack.ok()) return absl::DataLossError(std::string(pack.status().message()));
  const std::string project = revision.name().substr(0, revision.name().find("/policies/"));
  ledger::PolicyPackStatement statement;
  statement.project = project;
  statement.request_id =
      policy::PackRequestId(project, pack->pack().id(), pack->pack().version(), pack->sha256());
  statement.id = pack->pack().id();
  statement.version = pack->pack().version();
  statement.sha256 = pack->sha256();
  statement.source_url = pack->pack().source_url();
  statement.document_date = pack->pack().document_date();
  statement.confidence = std::string(pack->confidence());
  const ledger::SignedStatement signed_pack =
      ledger::SignStatement(*options_.key, ledger::StatementType::kPolicyPack, statement.ToJson());
  ledger::v1::AppendEntryRequest append;
  append.set_parent(project);
  append.set_kind(ledger::v1::ENTRY_KIND_POLICY_PACK);
  auto* wire = append.add_statements();
  wire->set_statement(signed_pack.statement);
  wire->set_signature(signed_pack.signature.data(), signed_pack.signature.size());
  wire->set_key_id(signed_pack.key_id.data(), signed_pack.key_id.size());
  auto* attachment = append.add_attachments();
  attachment->set_sha256(pack->sha256());
  attachment->set_content(revision.yaml());
  grpc::ClientContext call;
  SetDeadline(call, left);
  ledger::v1::Entry entry;
  if (grpc::Status s = options_.ledger->AppendEntry(&call, append, &entry); !s.ok()) return FromGrpcStatus(s);
  return entry.index();
}

}  // namespace retort::services
