#include "services/jobs/pack_register.h"

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/signed_statement.h"
#include "policy/decision_statement.h"
#include "services/edge/status.h"
#include "services/jobs/peer_call.h"
#include "services/jobs/wire.h"

namespace retort::jobs {

PackRegister::PackRegister(Peers& peers, const ledger::SigningKey& key) : peers_(peers), key_(key) {}

absl::Status PackRegister::Ensure(StopSignal& stop, const std::string& project,
                                  const std::vector<ledger::PackReference>& packs, std::string_view* asked) {
  std::string_view peer;
  std::string_view& now = asked == nullptr ? peer : *asked;
  now = "ledger";
  std::lock_guard lock(mutex_);
  ledger::v1::LookupRequestsRequest lookup;
  lookup.set_parent(project);
  std::vector<const ledger::PackReference*> unknown;
  for (const ledger::PackReference& pack : packs) {
    if (known_.count({project, pack.sha256}) != 0) continue;
    unknown.push_back(&pack);
    lookup.add_request_ids(policy::PackRequestId(project, pack.id, pack.version, pack.sha256));
  }
  if (unknown.empty()) return absl::OkStatus();
  auto found =
      CallOnce(stop, *peers_.ledger, &ledger::v1::LedgerService::StubInterface::LookupRequests, lookup);
  if (!found.ok()) return found.status();
  for (size_t i = 0; i < unknown.size(); ++i) {
    if (found->entries().count(lookup.request_ids(static_cast<int>(i))) == 0) {
      if (auto appended = Append(stop, project, *unknown[i], now); !appended.ok()) return appended;
    }
    known_.emplace(project, unknown[i]->sha256);
  }
  return absl::OkStatus();
}

absl::Status PackRegister::Append(StopSignal& stop, const std::string& project,
                                  const ledger::PackReference& pack, std::string_view& asked) {
  asked = "policy";
  policy::v1::GetPolicyRequest get;
  get.set_name(project + "/policies/" + pack.id);
  auto policy = CallOnce(stop, *peers_.policy, &policy::v1::PolicyService::StubInterface::GetPolicy, get);
  if (!policy.ok()) return policy.status();
  if (ledger::HexEncode(ledger::Sha256(policy->yaml())) != pack.sha256) {
    return absl::UnavailableError("the policy service no longer holds the version of " + get.name() +
                                  " that it decided with; wanted sha256 " + pack.sha256);
  }
  ledger::PolicyPackStatement statement;
  statement.project = project;
  statement.request_id = policy::PackRequestId(project, pack.id, pack.version, pack.sha256);
  statement.id = pack.id;
  statement.version = pack.version;
  statement.sha256 = pack.sha256;
  statement.source_url = policy->source_url();
  statement.document_date = policy->document_date();
  statement.confidence = policy->confidence();
  ledger::v1::AppendEntryRequest append;
  append.set_parent(project);
  append.set_kind(ledger::v1::ENTRY_KIND_POLICY_PACK);
  *append.add_statements() =
      ToProto(ledger::SignStatement(key_, ledger::StatementType::kPolicyPack, statement.ToJson()));
  ledger::v1::Attachment& attachment = *append.add_attachments();
  attachment.set_sha256(pack.sha256);
  attachment.set_content(policy->yaml());
  asked = "ledger";
  auto entry = CallOnce(stop, *peers_.ledger, &ledger::v1::LedgerService::StubInterface::AppendEntry, append);
  if (!entry.ok() && services::ReasonOf(entry.status()) != REQUEST_ID_REUSED) return entry.status();
  return absl::OkStatus();
}

}  // namespace retort::jobs
