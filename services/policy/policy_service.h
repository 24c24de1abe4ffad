// The gRPC face of policy: validate, convert, call, sign, map. Every decision comes from policy::Evaluate
// over the packs that the service was made with; it has no rule of its own.
//
// Thread-safe: all state is fixed at construction, but for the clock, which must be thread-safe itself.
#ifndef SERVICES_POLICY_POLICY_SERVICE_H_
#define SERVICES_POLICY_POLICY_SERVICE_H_

#include <chrono>
#include <functional>

#include "ledger/signing.h"
#include "policy/decision_statement.h"
#include "policy/pack.h"
#include "retort/policy/v1/policy.grpc.pb.h"
#include "services/edge/page_token.h"

namespace retort::services {

class PolicyServiceImpl final : public policy::v1::PolicyService::Service {
 public:
  // Gives the time of a decision; called from any thread.
  using Clock = std::function<std::chrono::system_clock::time_point()>;

  // `key` signs decisions; `page_tokens` seals page tokens.
  PolicyServiceImpl(policy::PackSet packs, ledger::SigningKey key, PageTokens page_tokens, Clock clock);

  // Preflight. INVALID_ARGUMENT: job is no job name, job_uid is empty, facts are not valid or hold screening.
  // generated_time left out becomes the time of the decision.
  grpc::Status DecideJob(grpc::ServerContext* context, const policy::v1::DecideJobRequest* request,
                         policy::v1::DecideResponse* response) override;

  // One sample. INVALID_ARGUMENT: the capture does not parse, the salt is not 32 bytes, the payload's salted
  // digest is not the capture's, or facts are not valid. A payload that is no SamplePayload, or text that is
  // not UTF-8, is not an error: the decision is review with `screening` missing, and the sample is kept.
  grpc::Status DecideSample(grpc::ServerContext* context, const policy::v1::DecideSampleRequest* request,
                            policy::v1::DecideResponse* response) override;

  // NOT_FOUND: no active pack of that id. Packs are the same for every project.
  grpc::Status GetPolicy(grpc::ServerContext* context, const policy::v1::GetPolicyRequest* request,
                         policy::v1::Policy* response) override;

  // INVALID_ARGUMENT: parent is no project, page_size is negative, or the token belongs to another listing.
  grpc::Status ListPolicies(grpc::ServerContext* context, const policy::v1::ListPoliciesRequest* request,
                            policy::v1::ListPoliciesResponse* response) override;

 private:
  // States the decision about `subject`, signs it and fills `response`.
  grpc::Status Decide(const policy::v1::Facts& facts, const policy::DecisionSubject& subject,
                      policy::v1::DecideResponse* response) const;

  const policy::PackSet packs_;
  const ledger::SigningKey key_;
  const PageTokens page_tokens_;
  const Clock clock_;
};

}  // namespace retort::services

#endif  // SERVICES_POLICY_POLICY_SERVICE_H_
