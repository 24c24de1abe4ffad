// The gRPC face of policy: validate, convert, call, sign, map. Every decision comes from policy::Evaluate
// over the packs of its project; it has no rule of its own. Thread-safe.
#ifndef SERVICES_POLICY_POLICY_SERVICE_H_
#define SERVICES_POLICY_POLICY_SERVICE_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "ledger/signing.h"
#include "policy/decision_statement.h"
#include "retort/ledger/v1/ledger.grpc.pb.h"
#include "retort/policy/v1/policy.grpc.pb.h"
#include "services/edge/page_token.h"
#include "services/identity/peer.h"
#include "services/policy/policy_revisions.h"

namespace retort::services {

struct PolicyServiceOptions {
  // The packs of each project. Not owned, outlives the service.
  PolicyRevisions* revisions = nullptr;
  // Signs decisions and POLICY_PACK statements. Not owned.
  const ledger::SigningKey* key = nullptr;
  // Signs reviews; null: reviews are refused. Not owned.
  const ledger::SigningKey* reviewer_key = nullptr;
  // Where activated revisions are entered; null: activation is refused.
  std::unique_ptr<ledger::v1::LedgerService::StubInterface> ledger;
  // Gives the time of a decision; called from any thread.
  std::function<std::chrono::system_clock::time_point()> clock = std::chrono::system_clock::now;
  // Who calls: recorded as author and activator of revisions, which must not be the same.
  std::function<std::string(const grpc::ServerContext&)> caller = CallerOf;
};

class PolicyServiceImpl final : public policy::v1::PolicyService::Service {
 public:
  explicit PolicyServiceImpl(PolicyServiceOptions options);

  // Preflight. INVALID_ARGUMENT: job is no job name, job_uid is empty, facts are not valid or hold screening.
  // generated_time left out becomes the time of the decision.
  grpc::Status DecideJob(grpc::ServerContext* context, const policy::v1::DecideJobRequest* request,
                         policy::v1::DecideResponse* response) override;

  // One sample. INVALID_ARGUMENT: the capture does not parse, the salt is not 32 bytes, the payload's salted
  // digest is not the capture's, or facts are not valid. A payload that is no SamplePayload, or text that is
  // not UTF-8, is not an error: the decision is review with `screening` missing, and the sample is kept.
  grpc::Status DecideSample(grpc::ServerContext* context, const policy::v1::DecideSampleRequest* request,
                            policy::v1::DecideResponse* response) override;

  // NOT_FOUND: no active pack of that id in the project.
  grpc::Status GetPolicy(grpc::ServerContext* context, const policy::v1::GetPolicyRequest* request,
                         policy::v1::Policy* response) override;

  // INVALID_ARGUMENT: parent is no project, page_size is negative, or the token belongs to another listing.
  grpc::Status ListPolicies(grpc::ServerContext* context, const policy::v1::ListPoliciesRequest* request,
                            policy::v1::ListPoliciesResponse* response) override;

  grpc::Status PreviewJob(grpc::ServerContext* context, const policy::v1::PreviewJobRequest* request,
                          policy::v1::PreviewJobResponse* response) override;

  // FAILED_PRECONDITION: REVIEWS_UNAVAILABLE without a reviewer key, SAMPLE_NOT_IN_REVIEW when the decision
  // is not review.
  grpc::Status SignReview(grpc::ServerContext* context, const policy::v1::SignReviewRequest* request,
                          policy::v1::SignReviewResponse* response) override;

  // Errors as PolicyRevisions.
  grpc::Status CreatePolicyRevision(grpc::ServerContext* context,
                                    const policy::v1::CreatePolicyRevisionRequest* request,
                                    policy::v1::PolicyRevision* response) override;
  grpc::Status GetPolicyRevision(grpc::ServerContext* context,
                                 const policy::v1::GetPolicyRevisionRequest* request,
                                 policy::v1::PolicyRevision* response) override;
  grpc::Status ListPolicyRevisions(grpc::ServerContext* context,
                                   const policy::v1::ListPolicyRevisionsRequest* request,
                                   policy::v1::ListPolicyRevisionsResponse* response) override;
  grpc::Status ActivatePolicyRevision(grpc::ServerContext* context,
                                      const policy::v1::ActivatePolicyRevisionRequest* request,
                                      policy::v1::PolicyRevision* response) override;

 private:
  // States the decision about `subject`, signs it and fills `response`.
  grpc::Status Decide(const policy::v1::Facts& facts, const policy::DecisionSubject& subject,
                      policy::v1::DecideResponse* response) const;
  google::protobuf::Timestamp Now() const;
  // Appends the POLICY_PACK entry of a revision; its index.
  absl::StatusOr<int64_t> EnterPack(const policy::v1::PolicyRevision& revision,
                                    std::chrono::milliseconds left);

  const PolicyServiceOptions options_;
  const PageTokens page_tokens_;
};

}  // namespace retort::services

#endif  // SERVICES_POLICY_POLICY_SERVICE_H_
