#include "ledger/statement.h"

#include <type_traits>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/internal/statement_fields.h"

namespace retort::ledger {
namespace internal {

// One list of members serves writing (const) and reading (mutable).
template <typename T, typename U>
concept Either = std::is_same_v<std::remove_const_t<T>, U>;

template <Either<CaptureStatement> S, typename V>
void Fields(S& s, V& v) {
  v.Text("project", s.project, Form::kName);
  v.Text("request_id", s.request_id, Form::kUuid);
  v.Text("job", s.job, Form::kName);
  v.Text("job_uid", s.job_uid, Form::kName);
  v.Text("prompt_id", s.prompt_id, Form::kName);
  v.Number("index", s.index, 0);
  v.Number("attempt", s.attempt, 1);
  v.Choice("split", s.split, {"train", "held_out"});
  v.Text("teacher", s.teacher, Form::kName);
  v.Text("provider", s.provider, Form::kName);
  v.Text("channel", s.channel, Form::kName);
  v.Text("account_class", s.account_class, Form::kText);
  v.Text("account_region", s.account_region, Form::kText);
  v.Text("model_requested", s.model_requested, Form::kName);
  v.Text("model_answered", s.model_answered, Form::kText);
  v.Text("endpoint", s.endpoint, Form::kName);
  v.Text("weights_sha256", s.weights_sha256, Form::kDigestOrEmpty);
  v.Text("tokenizer_sha256", s.tokenizer_sha256, Form::kDigestOrEmpty);
  v.Text("acquired_time", s.acquired_time, Form::kTimeOrEmpty);
  v.Text("temperature", s.temperature, Form::kDecimal);
  v.Text("top_p", s.top_p, Form::kDecimal);
  v.Number("seed", s.seed, 0);
  v.Number("max_tokens", s.max_tokens, 1);
  v.Number("top_logprobs", s.top_logprobs, 0);
  v.Text("requested_time", s.requested_time, Form::kTime);
  v.Text("completed_time", s.completed_time, Form::kTime);
  v.Choice("finish_reason", s.finish_reason, {"stop", "length", "content_filter"});
  v.Number("prompt_tokens", s.prompt_tokens, 0);
  v.Number("completion_tokens", s.completion_tokens, 0);
  v.Number("http_status", s.http_status, 0);
  v.Number("transport_retries", s.transport_retries, 0);
  v.Text("response_id", s.response_id, Form::kText);
  v.Text("payload_digest", s.payload_digest, Form::kDigest);
  v.Number("payload_bytes", s.payload_bytes, 0);
}

template <Either<MatchedRule> S, typename V>
void Fields(S& s, V& v) {
  v.Text("pack", s.pack, Form::kName);
  v.Text("rule", s.rule, Form::kName);
  v.Choice("effect", s.effect, {"allow", "review", "deny"});
  v.Text("clause", s.clause, Form::kText);
}

template <Either<DecidedObligation> S, typename V>
void Fields(S& s, V& v) {
  v.Text("pack", s.pack, Form::kName);
  v.Text("rule", s.rule, Form::kName);
  v.Text("kind", s.kind, Form::kName);
  v.Text("trigger", s.trigger, Form::kText);
  v.Text("text", s.text, Form::kText);
}

template <Either<PackReference> S, typename V>
void Fields(S& s, V& v) {
  v.Text("id", s.id, Form::kName);
  v.Text("version", s.version, Form::kName);
  v.Text("sha256", s.sha256, Form::kDigest);
}

template <Either<DecisionStatement> S, typename V>
void Fields(S& s, V& v) {
  v.Text("project", s.project, Form::kName);
  v.Text("request_id", s.request_id, Form::kUuid);
  v.Choice("subject_kind", s.subject_kind, {"sample", "job"});
  v.Text("subject_digest", s.subject_digest, Form::kDigest);
  v.Text("job", s.job, Form::kText);
  v.Text("job_uid", s.job_uid, Form::kText);
  v.Choice("effect", s.effect, {"allow", "review", "deny"});
  v.List("rules", s.rules);
  v.List("obligations", s.obligations);
  v.List("packs", s.packs);
  v.Names("missing_inputs", s.missing_inputs);
  v.Embedded("facts", s.facts);
  v.Text("facts_digest", s.facts_digest, Form::kDigest);
  v.Text("generated_time", s.generated_time, Form::kTime);
  v.Text("decided_time", s.decided_time, Form::kTime);
}

template <Either<PolicyPackStatement> S, typename V>
void Fields(S& s, V& v) {
  v.Text("project", s.project, Form::kName);
  v.Text("request_id", s.request_id, Form::kUuid);
  v.Text("id", s.id, Form::kName);
  v.Text("version", s.version, Form::kName);
  v.Text("sha256", s.sha256, Form::kDigest);
  v.Text("source_url", s.source_url, Form::kText);
  v.Text("document_date", s.document_date, Form::kText);
  v.Text("confidence", s.confidence, Form::kText);
}

template <Either<DatasetStatement> S, typename V>
void Fields(S& s, V& v) {
  v.Text("project", s.project, Form::kName);
  v.Text("request_id", s.request_id, Form::kUuid);
  v.Text("dataset", s.dataset, Form::kName);
  v.Text("job", s.job, Form::kName);
  v.Text("job_uid", s.job_uid, Form::kName);
  v.Text("manifest_sha256", s.manifest_sha256, Form::kDigest);
  v.Number("train_samples", s.train_samples, 0);
  v.Number("held_out_samples", s.held_out_samples, 0);
  v.Number("excluded_samples", s.excluded_samples, 0);
}

template <Either<TrainingUsage> S, typename V>
void Fields(S& s, V& v) {
  v.Number("attempt", s.attempt, 1);
  v.Choice("outcome", s.outcome, {"finished", "stopped", "failed", "lost"});
  v.Number("first_step", s.first_step, 0);
  v.Number("last_step", s.last_step, 0);
  v.Number("tokens", s.tokens, 0);
  v.Text("begun_time", s.begun_time, Form::kTime);
  v.Text("ended_time", s.ended_time, Form::kTime);
  v.Text("device", s.device, Form::kName);
  v.Number("devices", s.devices, 1);
  v.Text("device_seconds", s.device_seconds, Form::kDecimal);
  v.Choice("energy_source", s.energy_source, {"none", "rapl", "nvml", "declared"});
  v.Text("energy_kwh", s.energy_kwh, Form::kDecimalOrEmpty);
  v.Text("declared_watts", s.declared_watts, Form::kDecimalOrEmpty);
  v.Text("currency", s.currency, Form::kText);
  v.Text("price_device_hour", s.price_device_hour, Form::kDecimalOrEmpty);
  v.Text("price_kwh", s.price_kwh, Form::kDecimalOrEmpty);
  v.Text("device_cost", s.device_cost, Form::kDecimalOrEmpty);
  v.Text("energy_cost", s.energy_cost, Form::kDecimalOrEmpty);
}

template <Either<TrainingStatement> S, typename V>
void Fields(S& s, V& v) {
  v.Text("project", s.project, Form::kName);
  v.Text("request_id", s.request_id, Form::kUuid);
  v.Text("job", s.job, Form::kName);
  v.Text("job_uid", s.job_uid, Form::kName);
  v.Choice("run", s.run, {"logits", "text_only"});
  v.Choice("phase", s.phase, {"start", "checkpoint", "finish", "usage"});
  v.Number("dataset_entry", s.dataset_entry, 0);
  v.Text("manifest_sha256", s.manifest_sha256, Form::kDigest);
  // The phase decides the other members, in reading too: it has been read by now.
  if (!s.is_milestone()) return v.Object("usage", s.usage);
  v.Number("step", s.step, 0);
  v.Text("checkpoint_digest", s.checkpoint_digest, Form::kDigest);
  v.Text("previous_digest", s.previous_digest, Form::kDigestOrEmpty);
  v.Text("transcript_digest", s.transcript_digest, Form::kDigest);
  v.Text("loss", s.loss, Form::kDecimalOrEmpty);
}

template <Either<ReleasedFile> S, typename V>
void Fields(S& s, V& v) {
  v.Text("path", s.path, Form::kName);
  v.Text("sha256", s.sha256, Form::kDigest);
  v.Number("bytes", s.bytes, 0);
}

template <Either<ReleasedQuality> S, typename V>
void Fields(S& s, V& v) {
  v.Text("student", s.student, Form::kName);
  v.Text("kl", s.kl, Form::kDecimal);
  v.Text("agreement", s.agreement, Form::kDecimal);
  v.Text("perplexity", s.perplexity, Form::kDecimal);
  v.Number("tokens", s.tokens, 0);
}

template <Either<ReleaseStatement> S, typename V>
void Fields(S& s, V& v) {
  v.Text("project", s.project, Form::kName);
  v.Text("request_id", s.request_id, Form::kUuid);
  v.Text("job", s.job, Form::kName);
  v.Text("job_uid", s.job_uid, Form::kName);
  v.Text("student", s.student, Form::kName);
  v.Number("dataset_entry", s.dataset_entry, 0);
  v.Number("training_entry", s.training_entry, 0);
  v.Text("checkpoint_digest", s.checkpoint_digest, Form::kDigest);
  v.List("files", s.files);
  v.List("quality", s.quality);
  v.List("obligations", s.obligations);
}

template <Either<KeyStatement> S, typename V>
void Fields(S& s, V& v) {
  v.Text("project", s.project, Form::kName);
  v.Text("request_id", s.request_id, Form::kUuid);
  v.Choice("role", s.role, {"log", "teacher", "policy", "jobs", "trainer", "reviewer"});
  v.Text("vkey", s.vkey, Form::kName);
  v.Choice("action", s.action, {"add", "retire"});
}

template <Either<ReviewStatement> S, typename V>
void Fields(S& s, V& v) {
  v.Text("project", s.project, Form::kName);
  v.Text("request_id", s.request_id, Form::kUuid);
  v.Number("subject_entry", s.subject_entry, 0);
  v.Text("subject_digest", s.subject_digest, Form::kDigest);
  v.Choice("verdict", s.verdict, {"approve", "reject"});
  v.Text("reviewer", s.reviewer, Form::kName);
  v.Text("reason", s.reason, Form::kText);
  v.Text("reviewed_time", s.reviewed_time, Form::kTime);
}

template <Either<ErasureStatement> S, typename V>
void Fields(S& s, V& v) {
  v.Text("project", s.project, Form::kName);
  v.Text("request_id", s.request_id, Form::kUuid);
  v.Number("sample_entry", s.sample_entry, 0);
  v.Text("sample_leaf_hash", s.sample_leaf_hash, Form::kDigest);
  v.Text("reason", s.reason, Form::kName);
  v.Text("authority", s.authority, Form::kName);
}

template <Either<AccessStatement> S, typename V>
void Fields(S& s, V& v) {
  v.Text("project", s.project, Form::kName);
  v.Text("request_id", s.request_id, Form::kUuid);
  v.Text("identity", s.identity, Form::kText);
  v.Text("method", s.method, Form::kName);
  v.Text("resource", s.resource, Form::kText);
  v.Choice("decision", s.decision, {"allow", "deny"});
  v.Text("reason", s.reason, Form::kText);
  v.Number("count", s.count, 1);
  v.Text("first_time", s.first_time, Form::kTime);
  v.Text("last_time", s.last_time, Form::kTime);
}

}  // namespace internal

std::string_view PayloadType(StatementType type) {
  switch (type) {
    case StatementType::kCapture:
      return "application/vnd.retort.capture.v1+json";
    case StatementType::kDecision:
      return "application/vnd.retort.decision.v1+json";
    case StatementType::kPolicyPack:
      return "application/vnd.retort.policy-pack.v1+json";
    case StatementType::kReview:
      return "application/vnd.retort.review.v1+json";
    case StatementType::kDataset:
      return "application/vnd.retort.dataset.v1+json";
    case StatementType::kTraining:
      return "application/vnd.retort.training.v1+json";
    case StatementType::kRelease:
      return "application/vnd.retort.release.v1+json";
    case StatementType::kKey:
      return "application/vnd.retort.key.v1+json";
    case StatementType::kErasure:
      return "application/vnd.retort.erasure.v1+json";
    case StatementType::kAccess:
      return "application/vnd.retort.access.v1+json";
  }
  return "application/vnd.retort.unknown";
}

std::string CaptureStatement::ToJson() const {
  return internal::WriteStatement(*this);
}
std::string DecisionStatement::ToJson() const {
  return internal::WriteStatement(*this);
}
std::string PolicyPackStatement::ToJson() const {
  return internal::WriteStatement(*this);
}
std::string DatasetStatement::ToJson() const {
  return internal::WriteStatement(*this);
}
std::string TrainingStatement::ToJson() const {
  return internal::WriteStatement(*this);
}
std::string ReleaseStatement::ToJson() const {
  return internal::WriteStatement(*this);
}
std::string KeyStatement::ToJson() const {
  return internal::WriteStatement(*this);
}
std::string ReviewStatement::ToJson() const {
  return internal::WriteStatement(*this);
}
std::string ErasureStatement::ToJson() const {
  return internal::WriteStatement(*this);
}
std::string AccessStatement::ToJson() const {
  return internal::WriteStatement(*this);
}

absl::StatusOr<CaptureStatement> CaptureStatement::Parse(std::string_view json) {
  return internal::ReadStatement<CaptureStatement>(json, "capture");
}

absl::StatusOr<DecisionStatement> DecisionStatement::Parse(std::string_view json) {
  absl::StatusOr<DecisionStatement> statement = internal::ReadStatement<DecisionStatement>(json, "decision");
  if (!statement.ok()) return statement;
  if (HexEncode(Sha256(statement->facts)) != statement->facts_digest) {
    return absl::InvalidArgumentError("decision.facts_digest is not the SHA-256 of decision.facts");
  }
  return statement;
}

absl::StatusOr<PolicyPackStatement> PolicyPackStatement::Parse(std::string_view json) {
  return internal::ReadStatement<PolicyPackStatement>(json, "policy_pack");
}
absl::StatusOr<DatasetStatement> DatasetStatement::Parse(std::string_view json) {
  return internal::ReadStatement<DatasetStatement>(json, "dataset");
}
absl::StatusOr<TrainingStatement> TrainingStatement::Parse(std::string_view json) {
  absl::StatusOr<TrainingStatement> statement = internal::ReadStatement<TrainingStatement>(json, "training");
  if (!statement.ok() || statement->is_milestone()) return statement;
  if (absl::Status status = CheckUsage(statement->usage); !status.ok()) return status;
  return statement;
}
absl::StatusOr<ReleaseStatement> ReleaseStatement::Parse(std::string_view json) {
  return internal::ReadStatement<ReleaseStatement>(json, "release");
}
absl::StatusOr<KeyStatement> KeyStatement::Parse(std::string_view json) {
  return internal::ReadStatement<KeyStatement>(json, "key");
}
absl::StatusOr<ReviewStatement> ReviewStatement::Parse(std::string_view json) {
  return internal::ReadStatement<ReviewStatement>(json, "review");
}
absl::StatusOr<ErasureStatement> ErasureStatement::Parse(std::string_view json) {
  return internal::ReadStatement<ErasureStatement>(json, "erasure");
}
absl::StatusOr<AccessStatement> AccessStatement::Parse(std::string_view json) {
  absl::StatusOr<AccessStatement> access = internal::ReadStatement<AccessStatement>(json, "access");
  if (!access.ok()) return access;
  if (access->decision == "allow" && (access->count != 1 || !access->reason.empty())) {
    return absl::InvalidArgumentError("access.decision is allow; wanted one call and no reason");
  }
  if (access->decision == "deny" && access->reason.empty()) {
    return absl::InvalidArgumentError("access.decision is deny; wanted a reason");
  }
  if (access->last_time < access->first_time) {
    return absl::InvalidArgumentError("access.last_time is before access.first_time");
  }
  return access;
}

}  // namespace retort::ledger
