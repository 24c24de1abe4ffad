#include "ledger/internal/prepared_append.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "ledger/hex.h"
#include "ledger/internal/statement_fields.h"
#include "ledger/internal/status_text.h"
#include "ledger/internal/store.h"
#include "ledger/sample_rules.h"
#include "ledger/statement.h"

namespace retort::ledger::internal {
namespace {

constexpr size_t kSampleRowBytes = 1 + 1 + 8 + 8 + 32;

Digest DigestOf(const std::string& checked_hex) {
  return *DigestFromHex(checked_hex);
}

absl::Status Refuse(std::string message) {
  return absl::InvalidArgumentError(std::move(message));
}

absl::Status CheckSizes(const AppendRequest& request) {
  const std::vector<StatementType>& types = StatementTypesOf(request.kind);
  if (types.empty()) return Refuse("kind is " + EntryKindName(request.kind) + "; wanted a known kind");
  if (request.kind == EntryKind::kDataset || request.kind == EntryKind::kKey ||
      request.kind == EntryKind::kErasure) {
    return Refuse("kind is " + EntryKindName(request.kind) + ", which only the log itself appends");
  }
  if (request.statements.size() != types.size()) {
    return Refuse("statements: saw " + std::to_string(request.statements.size()) + ", wanted " +
                  std::to_string(types.size()) + " for " + EntryKindName(request.kind));
  }
  size_t bytes = 0;
  for (const SignedStatement& statement : request.statements) bytes += statement.statement.size();
  if (bytes > kEntryBytesMax) {
    return Refuse("statements of " + std::to_string(bytes) + " bytes; an entry holds at most " +
                  std::to_string(kEntryBytesMax));
  }
  if (request.payload.size() > kPayloadBytesMax) {
    return Refuse("payload of " + std::to_string(request.payload.size()) + " bytes; at most " +
                  std::to_string(kPayloadBytesMax) + " are allowed");
  }
  if (request.attachments.size() > kAttachmentsMax) {
    return Refuse(std::to_string(request.attachments.size()) + " attachments; at most " +
                  std::to_string(kAttachmentsMax) + " are allowed");
  }
  for (const std::string& attachment : request.attachments) {
    if (attachment.size() > kAttachmentBytesMax) {
      return Refuse("attachment of " + std::to_string(attachment.size()) + " bytes; at most " +
                    std::to_string(kAttachmentBytesMax) + " are allowed");
    }
  }
  if (request.kind != EntryKind::kSample && (!request.payload.empty() || !request.salt.empty())) {
    return Refuse("payload or salt with " + EntryKindName(request.kind) + "; only a SAMPLE has them");
  }
  return absl::OkStatus();
}

template <typename Statement>
absl::StatusOr<Statement> ParseChecked(const SignedStatement& signed_statement, std::string_view project) {
  absl::StatusOr<Statement> statement = Statement::Parse(signed_statement.statement);
  if (!statement.ok()) return statement;
  if (statement->project != project) {
    return Refuse("statement names " + Shown(statement->project) + "; this is the log of " +
                  std::string(project));
  }
  return statement;
}

absl::Status PrepareSample(AppendRequest& request, std::string_view project, const Vault& vault,
                           PreparedAppend& out) {
  const auto capture = ParseChecked<CaptureStatement>(request.statements[0], project);
  if (!capture.ok()) return capture.status();
  const auto decision = ParseChecked<DecisionStatement>(request.statements[1], project);
  if (!decision.ok()) return decision.status();
  if (absl::Status status = CheckDecisionIsAbout(request.statements[0], *capture, *decision); !status.ok()) {
    return status;
  }
  if (request.salt.size() != kSaltBytes) {
    return Refuse("salt of " + std::to_string(request.salt.size()) + " bytes; wanted 32");
  }
  if (capture->payload_bytes != static_cast<int64_t>(request.payload.size())) {
    return Refuse("payload of " + std::to_string(request.payload.size()) + " bytes; the capture says " +
                  std::to_string(capture->payload_bytes));
  }
  if (HexEncode(SaltedDigest(request.salt, request.payload)) != capture->payload_digest) {
    return Refuse("payload does not have the salted digest that the capture names");
  }
  absl::StatusOr<SealedPayload> sealed = vault.Seal(request.payload, request.salt, capture->payload_digest);
  if (!sealed.ok()) return sealed.status();
  out.request_id = capture->request_id;
  out.job_uid = capture->job_uid;
  out.sealed = *std::move(sealed);
  out.sample = SampleRow{.effect = EffectFrom(decision->effect),
                         .held_out = capture->split == "held_out",
                         .prompt_index = static_cast<uint64_t>(capture->index),
                         .attempt = static_cast<uint64_t>(capture->attempt),
                         .subject = DigestOf(decision->subject_digest)};
  return absl::OkStatus();
}

absl::Status PrepareOther(const AppendRequest& request, std::string_view project, PreparedAppend& out) {
  const SignedStatement& only = request.statements[0];
  switch (request.kind) {
    case EntryKind::kPolicyPack: {
      const auto pack = ParseChecked<PolicyPackStatement>(only, project);
      if (!pack.ok()) return pack.status();
      out.request_id = pack->request_id;
      out.named_attachments = {DigestOf(pack->sha256)};
      return absl::OkStatus();
    }
    case EntryKind::kDecision: {
      const auto decision = ParseChecked<DecisionStatement>(only, project);
      if (!decision.ok()) return decision.status();
      out.request_id = decision->request_id;
      out.job_uid = decision->job_uid;
      if (decision->subject_kind == "sample") {
        out.later_decision = {DigestOf(decision->subject_digest), EffectFrom(decision->effect)};
      }
      return absl::OkStatus();
    }
    case EntryKind::kReview: {
      const auto review = ParseChecked<ReviewStatement>(only, project);
      if (!review.ok()) return review.status();
      out.request_id = review->request_id;
      out.references = {{"review.subject_entry",
                         static_cast<uint64_t>(review->subject_entry),
                         {EntryKind::kSample, EntryKind::kDecision},
                         DigestOf(review->subject_digest)}};
      out.review = {static_cast<uint64_t>(review->subject_entry), review->verdict == "approve"};
      return absl::OkStatus();
    }
    case EntryKind::kAccess: {
      const auto access = ParseChecked<AccessStatement>(only, project);
      if (!access.ok()) return access.status();
      out.request_id = access->request_id;
      return absl::OkStatus();
    }
    case EntryKind::kTraining: {
      const auto training = ParseChecked<TrainingStatement>(only, project);
      if (!training.ok()) return training.status();
      out.request_id = training->request_id;
      out.job_uid = training->job_uid;
      out.named_attachments = {DigestOf(training->manifest_sha256)};
      out.references = {
          {"training.dataset_entry", static_cast<uint64_t>(training->dataset_entry), {EntryKind::kDataset}}};
      return absl::OkStatus();
    }
    case EntryKind::kRelease: {
      const auto release = ParseChecked<ReleaseStatement>(only, project);
      if (!release.ok()) return release.status();
      out.request_id = release->request_id;
      out.job_uid = release->job_uid;
      out.references = {
          {"release.dataset_entry", static_cast<uint64_t>(release->dataset_entry), {EntryKind::kDataset}},
          {"release.training_entry", static_cast<uint64_t>(release->training_entry), {EntryKind::kTraining}}};
      return absl::OkStatus();
    }
    default:
      break;
  }
  assert(false && "CheckSizes lets no other kind through");
  return absl::InternalError("unexpected kind");
}

}  // namespace

Effect EffectFrom(std::string_view effect) {
  if (effect == "allow") return Effect::kAllow;
  return effect == "review" ? Effect::kReview : Effect::kDeny;
}

std::string_view EffectName(Effect effect) {
  return effect == Effect::kAllow ? "allow" : effect == Effect::kReview ? "review" : "deny";
}

std::string SampleRow::Encode() const {
  std::string row;
  row += static_cast<char>(effect);
  row += held_out ? '\1' : '\0';
  row += BigEndian(prompt_index) + BigEndian(attempt);
  row += AsView(subject);
  assert(row.size() == kSampleRowBytes);
  return row;
}

absl::StatusOr<SampleRow> SampleRow::Decode(std::string_view row) {
  if (row.size() != kSampleRowBytes || row[0] < 1 || row[0] > 3)
    return absl::DataLossError("sample index row is malformed");
  SampleRow out{.effect = static_cast<Effect>(row[0]),
                .held_out = row[1] != 0,
                .prompt_index = FromBigEndian(row.substr(2, 8)),
                .attempt = FromBigEndian(row.substr(10, 8))};
  std::copy(row.begin() + 18, row.end(), out.subject.begin());
  return out;
}

Digest ContentDigest(EntryKind kind, const std::vector<SignedStatement>& statements) {
  Sha256Hasher hasher;
  hasher.Update(std::string(1, static_cast<char>(kind)));
  for (const SignedStatement& statement : statements) {
    hasher.Update(BigEndian(statement.statement.size()));
    hasher.Update(statement.statement);
  }
  return hasher.Finish();
}

absl::StatusOr<PreparedAppend> PrepareAppend(AppendRequest request, std::string_view project,
                                             const KeyRegistry& keys, const Vault& vault) {
  if (absl::Status status = CheckSizes(request); !status.ok()) return status;
  PreparedAppend out{.kind = request.kind};
  // The cheap refusals first; signatures are the dear part.
  absl::Status status = request.kind == EntryKind::kSample ? PrepareSample(request, project, vault, out)
                                                           : PrepareOther(request, project, out);
  if (!status.ok()) return status;
  const std::vector<StatementType>& types = StatementTypesOf(request.kind);
  for (size_t i = 0; i < types.size(); ++i) {
    status = keys.Check(KeyRegistry::kNow, types[i], request.statements[i]);
    // What a caller sends is a bad request; DataLoss is for what the log has stored.
    if (!status.ok()) return MarkSignatureInvalid(absl::InvalidArgumentError(std::string(MessageOf(status))));
  }
  for (std::string& attachment : request.attachments) {
    const Digest digest = Sha256(attachment);
    if (std::find(out.named_attachments.begin(), out.named_attachments.end(), digest) ==
        out.named_attachments.end()) {
      return Refuse("attachment " + HexEncode(digest) + " is not named by the statement");
    }
    out.attachments.emplace(digest, std::move(attachment));
  }
  out.content = ContentDigest(request.kind, request.statements);
  out.statements = std::move(request.statements);
  return out;
}

}  // namespace retort::ledger::internal
