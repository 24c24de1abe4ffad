#include "services/ledger/ledger_service.h"

#include <charconv>
#include <functional>
#include <optional>
#include <utility>

#include "ledger/dataset_manifest.h"
#include "ledger/hex.h"
#include "ledger/proof_file.h"
#include "ledger/uuid.h"
#include "services/edge/call_budget.h"
#include "services/edge/list_query.h"
#include "services/edge/request_hash.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"
#include "services/ledger/convert.h"
#include "services/ledger/evidence_files.h"
#include "services/ledger/ledger_operations.h"
#include "services/ledger/sample_message.h"

namespace retort::services {
namespace {

using ledger::Log;

constexpr char kLedgerPattern[] = "projects/*/ledgers/main";
constexpr char kEntryPattern[] = "projects/*/ledgers/main/entries/#";
constexpr int kRequestIdsMax = 1000;
constexpr size_t kChunkBytes = 1 << 20;
constexpr uint64_t kLookedAtMax = 20'000;  // entries that one page may pass over
constexpr uint64_t kCheckEvery = 256;
constexpr size_t kPageBytesMax = 3 << 20;  // a page is a message; leaves may be 64 KiB each

// The errors of the log with the reasons of the API.
absl::Status Explain(const absl::Status& status) {
  if (status.ok() || ReasonOf(status) != ERROR_REASON_UNSPECIFIED) return status;
  if (ledger::IsRequestIdReused(status)) return WithReason(status, REQUEST_ID_REUSED);
  if (ledger::IsSignatureInvalid(status)) return WithReason(status, SIGNATURE_INVALID);
  if (status.code() == absl::StatusCode::kUnavailable) return WithReason(status, LEDGER_UNAVAILABLE);
  if (status.code() == absl::StatusCode::kDataLoss) return WithReason(status, LEDGER_CORRUPT);
  return status;
}

grpc::Status Answer(const absl::Status& status) {
  return ToGrpcStatus(Explain(status));
}

uint64_t Number(const std::string& digits) {
  uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

struct NamedEntry {
  std::shared_ptr<Log> log;
  uint64_t index = 0;
};

absl::StatusOr<std::shared_ptr<Log>> LogOf(ProjectLogs& logs, std::string_view field, const std::string& name,
                                           std::string_view pattern, bool create = false) {
  auto ids = ParseResourceName(field, name, pattern);
  if (!ids.ok()) return ids.status();
  return logs.Get(ids->front(), create);
}

absl::StatusOr<NamedEntry> EntryOf(ProjectLogs& logs, std::string_view field, const std::string& name) {
  auto ids = ParseResourceName(field, name, kEntryPattern);
  if (!ids.ok()) return ids.status();
  auto log = logs.Get(ids->front(), /*create=*/false);
  if (!log.ok()) return log.status();
  return NamedEntry{*log, Number(ids->back())};
}

absl::StatusOr<ledger::SignedCheckpoint> CheckpointFor(const Log& log, int64_t size) {
  return size == 0 ? log.CheckpointNote() : log.CheckpointNoteAt(static_cast<uint64_t>(size));
}

template <typename Repeated>
void AddHashes(const std::vector<ledger::Digest>& hashes, Repeated* to) {
  for (const auto& hash : hashes) *to->Add() = BytesOf(hash);
}

// A leaf with its proof to `size`.
absl::Status FillProven(const Log& log, uint64_t index, uint64_t size, ledger::v1::DatasetSample* to) {
  auto entry = log.ReadEntry(index);
  if (!entry.ok()) return entry.status();
  auto proof = log.InclusionProof(index, size);
  if (!proof.ok()) return proof.status();
  to->set_index(static_cast<int64_t>(index));
  to->set_leaf(entry->leaf);
  AddHashes(*proof, to->mutable_proof());
  return absl::OkStatus();
}

absl::StatusOr<ledger::DatasetManifest> ManifestOf(const Log& log, const ledger::StoredEntry& entry,
                                                   std::string* bytes, std::string* job_uid) {
  if (entry.entry.kind != ledger::EntryKind::kDataset) {
    return InvalidField("entry", ledger::EntryKindName(entry.entry.kind), "a DATASET entry");
  }
  auto statement = ledger::DatasetStatement::Parse(entry.entry.statements[0].statement);
  if (!statement.ok()) return absl::DataLossError(std::string(statement.status().message()));
  *job_uid = statement->job_uid;
  auto digest = ledger::DigestFromHex(statement->manifest_sha256);
  if (!digest.ok()) return absl::DataLossError(std::string(digest.status().message()));
  auto content = log.ReadAttachment(*digest);
  if (!content.ok()) return absl::DataLossError(std::string(content.status().message()));
  *bytes = *std::move(content);
  auto manifest = ledger::DatasetManifest::Parse(*bytes);
  if (!manifest.ok()) return absl::DataLossError(std::string(manifest.status().message()));
  return manifest;
}

absl::StatusOr<ledger::v1::DatasetHeader> HeaderOf(const Log& log, const ledger::StoredEntry& entry,
                                                   const ledger::SignedCheckpoint& checkpoint,
                                                   std::string manifest) {
  ledger::v1::DatasetHeader header;
  const uint64_t size = checkpoint.checkpoint.size;
  *header.mutable_checkpoint() = CheckpointMessage(checkpoint, log.vkey());
  header.set_leaf(entry.leaf);
  header.set_index(static_cast<int64_t>(entry.index));
  auto proof = log.InclusionProof(entry.index, size);
  if (!proof.ok()) return proof.status();
  AddHashes(*proof, header.mutable_proof());
  header.set_manifest(std::move(manifest));
  const auto add_key = [&](const ledger::StoredEntry& key) {
    return FillProven(log, key.index, size, header.add_keys());
  };
  if (auto s = log.ForEachEntry(0, size, ledger::EntryKind::kKey, add_key); !s.ok()) return s;
  return header;
}

// Filters of listings.
const ListRules& EntryRules() {
  static const ListRules rules{
      FilterFields(*ledger::v1::Entry::descriptor(), {"kind", "index", "append_time"}), {"index"}};
  return rules;
}

const ListRules& SampleRules() {
  static const ListRules rules{
      FilterFields(*ledger::v1::Sample::descriptor(),
                   {"standing", "effect", "prompt_id", "split", "attempt", "entry", "create_time"}),
      {}};
  return rules;
}

// The entries that admit a sample whose own decision is review, as of the dataset.
absl::Status FillAdmission(const Log& log, uint64_t index, uint64_t dataset_entry, const std::string& job_uid,
                           uint64_t size, ledger::v1::DatasetSample* to) {
  auto standing = log.StandingOf(index, job_uid, dataset_entry);
  if (!standing.ok()) return standing.status();
  if (standing->own_effect == "allow") return absl::OkStatus();
  if (standing->decision_entry != index) {
    if (auto s = FillProven(log, standing->decision_entry, size, to->add_admission()); !s.ok()) return s;
  }
  if (standing->effect == "allow" || !standing->review_entry.has_value()) return absl::OkStatus();
  return FillProven(log, *standing->review_entry, size, to->add_admission());
}

// Sends `content` as the file `path`; false when the peer has gone.
bool SendFile(grpc::ServerWriter<ledger::v1::FileChunk>* writer, const std::string& path,
              std::string_view content) {
  ledger::v1::FileChunk chunk;
  for (bool last = false; !last; content.remove_prefix(std::min(content.size(), kChunkBytes))) {
    last = content.size() <= kChunkBytes;
    chunk.set_path(path);
    chunk.set_content(std::string(content.substr(0, kChunkBytes)));
    chunk.set_last(last);
    if (!writer->Write(chunk)) return false;
  }
  return true;
}

absl::Status Gone() {
  return absl::CancelledError("the caller went away");
}

}  // namespace

LedgerServiceImpl::LedgerServiceImpl(ProjectLogs* logs, OperationHost* operations, PageTokens page_tokens)
    : logs_(logs), operations_(operations), page_tokens_(std::move(page_tokens)) {}

grpc::Status LedgerServiceImpl::AppendEntry(grpc::ServerContext*,
                                            const ledger::v1::AppendEntryRequest* request,
                                            ledger::v1::Entry* response) {
  auto append = AppendFrom(*request);
  if (!append.ok()) return Answer(append.status());
  auto log = LogOf(*logs_, "parent", request->parent(), "projects/*", /*create=*/true);
  if (!log.ok()) return Answer(log.status());
  auto appended = (*log)->Append(*std::move(append));
  if (!appended.ok()) return Answer(appended.status());
  auto entry = ledger::ParseEntry(appended->leaf);
  if (!entry.ok()) return Answer(absl::DataLossError(std::string(entry.status().message())));
  *response = EntryMessage(request->parent(), appended->index, appended->leaf_hash, appended->leaf, *entry);
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::LookupRequests(grpc::ServerContext*,
                                               const ledger::v1::LookupRequestsRequest* request,
                                               ledger::v1::LookupRequestsResponse* response) {
  if (request->request_ids_size() > kRequestIdsMax) {
    return Answer(InvalidField("request_ids", std::to_string(request->request_ids_size()), "at most 1000"));
  }
  auto log = LogOf(*logs_, "parent", request->parent(), "projects/*");
  if (log.status().code() == absl::StatusCode::kNotFound) return grpc::Status::OK;
  if (!log.ok()) return Answer(log.status());
  auto found = (*log)->LookupRequests({request->request_ids().begin(), request->request_ids().end()});
  if (!found.ok()) return Answer(found.status());
  for (const auto& [id, index] : *found) (*response->mutable_entries())[id] = static_cast<int64_t>(index);
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::GetEntry(grpc::ServerContext*, const ledger::v1::GetEntryRequest* request,
                                         ledger::v1::Entry* response) {
  auto named = EntryOf(*logs_, "name", request->name());
  if (!named.ok()) return Answer(named.status());
  auto entry = named->log->ReadEntry(named->index);
  if (!entry.ok()) return Answer(entry.status());
  *response = EntryMessage(named->log->project(), entry->index, entry->leaf_hash, entry->leaf, entry->entry);
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::ListEntries(grpc::ServerContext* context,
                                            const ledger::v1::ListEntriesRequest* request,
                                            ledger::v1::ListEntriesResponse* response) {
  auto log = LogOf(*logs_, "parent", request->parent(), kLedgerPattern);
  if (!log.ok()) return Answer(log.status());
  std::optional<ledger::EntryKind> kind;
  if (request->kind() != ledger::v1::ENTRY_KIND_UNSPECIFIED) {
    if (request->kind() < 0 || request->kind() > 255 ||
        !ledger::IsEntryKind(static_cast<uint8_t>(request->kind()))) {
      return Answer(InvalidField("kind", std::to_string(request->kind()), "a kind of entry, or none"));
    }
    kind = static_cast<ledger::EntryKind>(request->kind());
  }
  const auto query = ParseListQuery("entries of kind " + std::to_string(request->kind()),
                                    {request->parent(), request->page_size(), request->page_token(),
                                     request->filter(), request->order_by()},
                                    EntryRules(), page_tokens_);
  if (!query.ok()) return Answer(query.status());
  uint64_t first = 0, size = (*log)->CheckpointNote().checkpoint.size;
  if (!query->position.empty()) {
    const size_t slash = query->position.find('/');
    first = Number(query->position.substr(0, slash));
    size = Number(query->position.substr(slash + 1));
  }
  const CallBudget budget(*context);
  size_t bytes = 0;
  uint64_t looked_at = 0;
  std::optional<uint64_t> next;
  const auto status = (*log)->ForEachEntry(first, size, kind, [&](const ledger::StoredEntry& entry) {
    // A filter may pass over many entries: then a short page is answered, and the next goes on from here.
    if (response->entries_size() == query->size || bytes > kPageBytesMax || looked_at == kLookedAtMax) {
      next = entry.index;
      return absl::CancelledError("page is full");
    }
    if (++looked_at % kCheckEvery == 0) {
      if (auto s = budget.Check(); !s.ok()) return s;
    }
    auto message = EntryMessage((*log)->project(), entry.index, entry.leaf_hash, entry.leaf, entry.entry);
    if (!query->filter.Matches(message)) return absl::OkStatus();
    *response->add_entries() = std::move(message);
    bytes += 2 * entry.leaf.size();
    return absl::OkStatus();
  });
  if (!status.ok() && !next) return Answer(status);
  response->set_tree_size(static_cast<int64_t>(size));
  if (next)
    response->set_next_page_token(
        page_tokens_.Seal(query->scope, std::to_string(*next) + "/" + std::to_string(size)));
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::GetCheckpoint(grpc::ServerContext*,
                                              const ledger::v1::GetCheckpointRequest* request,
                                              ledger::v1::Checkpoint* response) {
  auto log = LogOf(*logs_, "name", request->name(), kLedgerPattern);
  if (!log.ok()) return Answer(log.status());
  *response = CheckpointMessage((*log)->CheckpointNote(), (*log)->vkey());
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::GetInclusionProof(grpc::ServerContext*,
                                                  const ledger::v1::GetInclusionProofRequest* request,
                                                  ledger::v1::Proof* response) {
  auto named = EntryOf(*logs_, "name", request->name());
  if (!named.ok()) return Answer(named.status());
  if (request->tree_size() < 0)
    return Answer(InvalidField("tree_size", std::to_string(request->tree_size()), "0 or more"));
  auto entry = named->log->ReadEntry(named->index);
  if (!entry.ok()) return Answer(entry.status());
  auto checkpoint = CheckpointFor(*named->log, request->tree_size());
  if (!checkpoint.ok()) return Answer(checkpoint.status());
  auto proof = named->log->InclusionProof(named->index, checkpoint->checkpoint.size);
  if (!proof.ok()) return Answer(proof.status());
  AddHashes(*proof, response->mutable_hashes());
  *response->mutable_checkpoint() = CheckpointMessage(*checkpoint, named->log->vkey());
  response->set_proof_file(ledger::FormatProofFile(
      {.extra = {}, .index = named->index, .hashes = *proof, .checkpoint = checkpoint->note}));
  response->set_leaf(entry->leaf);
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::GetConsistencyProof(grpc::ServerContext*,
                                                    const ledger::v1::GetConsistencyProofRequest* request,
                                                    ledger::v1::Proof* response) {
  auto log = LogOf(*logs_, "name", request->name(), kLedgerPattern);
  if (!log.ok()) return Answer(log.status());
  if (request->first_size() < 1) {
    return Answer(InvalidField("first_size", std::to_string(request->first_size()), "1 or more"));
  }
  if (request->second_size() < 0) {
    return Answer(InvalidField("second_size", std::to_string(request->second_size()), "0 or more"));
  }
  auto checkpoint = CheckpointFor(**log, request->second_size());
  if (!checkpoint.ok()) return Answer(checkpoint.status());
  auto proof =
      (*log)->ConsistencyProof(static_cast<uint64_t>(request->first_size()), checkpoint->checkpoint.size);
  if (!proof.ok()) return Answer(proof.status());
  AddHashes(*proof, response->mutable_hashes());
  *response->mutable_checkpoint() = CheckpointMessage(*checkpoint, (*log)->vkey());
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::CreateDataset(grpc::ServerContext*,
                                              const ledger::v1::CreateDatasetRequest* request,
                                              ledger::v1::Entry* response) {
  auto log = LogOf(*logs_, "parent", request->parent(), "projects/*");
  if (!log.ok()) return Answer(log.status());
  if (!IsResourceId(request->dataset_id())) {
    return Answer(InvalidField("dataset_id", request->dataset_id(), "[a-z]([a-z0-9-]{0,61}[a-z0-9])?"));
  }
  auto created = (*log)->CreateDataset({.dataset = request->parent() + "/datasets/" + request->dataset_id(),
                                        .job = request->job(),
                                        .job_uid = request->job_uid(),
                                        .request_id = request->request_id()});
  if (created.status().code() == absl::StatusCode::kFailedPrecondition) {
    return Answer(WithReason(created.status(), DATASET_EMPTY));
  }
  if (!created.ok()) return Answer(created.status());
  auto entry = ledger::ParseEntry(created->leaf);
  if (!entry.ok()) return Answer(absl::DataLossError(std::string(entry.status().message())));
  *response = EntryMessage(request->parent(), created->index, created->leaf_hash, created->leaf, *entry);
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::ReadDataset(grpc::ServerContext* context,
                                            const ledger::v1::ReadDatasetRequest* request,
                                            grpc::ServerWriter<ledger::v1::ReadDatasetResponse>* writer) {
  auto named = EntryOf(*logs_, "entry", request->entry());
  if (!named.ok()) return Answer(named.status());
  const std::string& split = request->split();
  if (!split.empty() && split != "train" && split != "held_out") {
    return Answer(InvalidField("split", split, "train, held_out, or nothing for both"));
  }
  const Log& log = *named->log;
  auto entry = log.ReadEntry(named->index);
  if (!entry.ok()) return Answer(entry.status());
  std::string bytes, job_uid;
  auto manifest = ManifestOf(log, *entry, &bytes, &job_uid);
  if (!manifest.ok()) return Answer(manifest.status());
  const auto checkpoint = log.CheckpointNote();
  auto header = HeaderOf(log, *entry, checkpoint, std::move(bytes));
  if (!header.ok()) return Answer(header.status());
  ledger::v1::ReadDatasetResponse message;
  *message.mutable_header() = *std::move(header);
  if (!writer->Write(message)) return Answer(Gone());
  for (const auto& sample : manifest->samples) {
    if (context->IsCancelled()) return Answer(Gone());
    if (!split.empty() && sample.held_out != (split == "held_out")) continue;
    message.Clear();
    if (auto s = FillProven(log, sample.index, checkpoint.checkpoint.size, message.mutable_sample());
        !s.ok()) {
      return Answer(s);
    }
    if (auto s = FillAdmission(log, sample.index, named->index, job_uid, checkpoint.checkpoint.size,
                               message.mutable_sample());
        !s.ok()) {
      return Answer(s);
    }
    auto payload = log.ReadPayload(sample.index);
    if (!payload.ok()) return Answer(payload.status());
    message.mutable_sample()->set_payload(std::move(payload->payload));
    message.mutable_sample()->set_salt(std::move(payload->salt));
    if (!writer->Write(message)) return Answer(Gone());
  }
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::CountSamples(grpc::ServerContext*,
                                             const ledger::v1::CountSamplesRequest* request,
                                             ledger::v1::CountSamplesResponse* response) {
  auto log = LogOf(*logs_, "parent", request->parent(), "projects/*");
  if (log.status().code() == absl::StatusCode::kNotFound)
    return grpc::Status::OK;  // nothing appended, nothing counted
  if (!log.ok()) return Answer(log.status());
  auto counts = (*log)->CountSamples(request->job_uid());
  if (!counts.ok()) return Answer(counts.status());
  response->set_asked(static_cast<int64_t>(counts->asked));
  response->set_allowed(static_cast<int64_t>(counts->allowed));
  response->set_review(static_cast<int64_t>(counts->review));
  response->set_denied(static_cast<int64_t>(counts->denied));
  response->set_repeats(static_cast<int64_t>(counts->repeats));
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::ListJobSamples(grpc::ServerContext* context,
                                               const ledger::v1::ListJobSamplesRequest* request,
                                               ledger::v1::ListJobSamplesResponse* response) {
  auto ids = ParseResourceName("parent", request->parent(), "projects/*/jobs/*");
  if (!ids.ok()) return Answer(ids.status());
  if (!ledger::IsUuid(request->job_uid()))
    return Answer(InvalidField("job_uid", request->job_uid(), "a UUID in lower case"));
  const auto query =
      ParseListQuery("samples of " + request->job_uid(),
                     {request->parent(), request->page_size(), request->page_token(), request->filter(), ""},
                     SampleRules(), page_tokens_);
  if (!query.ok()) return Answer(query.status());
  auto log = logs_->Get(ids->front(), /*create=*/false);
  if (log.status().code() == absl::StatusCode::kNotFound) return grpc::Status::OK;  // nothing was asked yet
  if (!log.ok()) return Answer(log.status());
  uint64_t first = 0, size = (*log)->CheckpointNote().checkpoint.size;
  if (!query->position.empty()) {
    const size_t slash = query->position.find('/');
    first = Number(query->position.substr(0, slash));
    size = Number(query->position.substr(slash + 1));
  }
  const CallBudget budget(*context);
  uint64_t looked_at = 0;
  std::optional<uint64_t> next;
  const auto visit = [&](const ledger::SampleStanding& standing) {
    if (response->samples_size() == query->size || looked_at == kLookedAtMax) {
      next = standing.entry;
      return absl::CancelledError("page is full");
    }
    if (++looked_at % kCheckEvery == 0) {
      if (auto s = budget.Check(); !s.ok()) return s;
    }
    auto sample = SampleMessage(**log, request->parent(), request->job_uid(), standing);
    if (!sample.ok()) return sample.status();
    if (query->filter.Matches(*sample)) *response->add_samples() = *std::move(sample);
    return absl::OkStatus();
  };
  const auto status = (*log)->ForEachSample(request->job_uid(), first, size, visit);
  if (!status.ok() && !next) return Answer(status);
  response->set_tree_size(static_cast<int64_t>(size));
  if (next)
    response->set_next_page_token(
        page_tokens_.Seal(query->scope, std::to_string(*next) + "/" + std::to_string(size)));
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::GetJobSample(grpc::ServerContext*,
                                             const ledger::v1::GetJobSampleRequest* request,
                                             ledger::v1::Sample* response) {
  auto ids = ParseResourceName("name", request->name(), "projects/*/jobs/*/samples/*");
  if (!ids.ok()) return Answer(ids.status());
  if (!ledger::IsUuid(request->job_uid()))
    return Answer(InvalidField("job_uid", request->job_uid(), "a UUID in lower case"));
  auto entry = SampleEntryOf("name", ids->back());
  if (!entry.ok()) return Answer(entry.status());
  auto log = logs_->Get(ids->front(), /*create=*/false);
  if (!log.ok()) return Answer(log.status());
  const uint64_t size = (*log)->CheckpointNote().checkpoint.size;
  auto standing = (*log)->StandingOf(*entry, request->job_uid(), size);
  if (absl::IsNotFound(standing.status()))
    return Answer(WithReason(absl::NotFoundError("there is no sample " + request->name()), NOT_FOUND,
                             {{"name", request->name()}}));
  if (!standing.ok()) return Answer(standing.status());
  const std::string job = request->name().substr(0, request->name().rfind("/samples/"));
  auto sample = SampleMessage(**log, job, request->job_uid(), *standing);
  if (!sample.ok()) return Answer(sample.status());
  *response = *std::move(sample);
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::ExportEvidence(grpc::ServerContext*,
                                               const ledger::v1::ExportEvidenceRequest* request,
                                               google::longrunning::Operation* response) {
  return Begin(kExportEvidence, request->name(), *request, response);
}

grpc::Status LedgerServiceImpl::VerifyLedger(grpc::ServerContext*,
                                             const ledger::v1::VerifyLedgerRequest* request,
                                             google::longrunning::Operation* response) {
  return Begin(kVerifyLedger, request->name(), *request, response);
}

template <class Request>
grpc::Status LedgerServiceImpl::Begin(const char* verb, const std::string& name, const Request& request,
                                      google::longrunning::Operation* response) {
  if (auto log = LogOf(*logs_, "name", name, kLedgerPattern); !log.ok()) return Answer(log.status());
  if (!request.request_id().empty() && !ledger::IsUuid(request.request_id()))
    return Answer(InvalidField("request_id", request.request_id(), "a UUID in lower case, or nothing"));
  auto operation = operations_->Begin(name.substr(0, name.find("/ledgers/")), verb, request,
                                      {request.request_id(), RequestHash(request)});
  if (!operation.ok()) return Answer(operation.status());
  *response = *std::move(operation);
  return grpc::Status::OK;
}

grpc::Status LedgerServiceImpl::ReadEvidence(grpc::ServerContext* context,
                                             const ledger::v1::ReadEvidenceRequest* request,
                                             grpc::ServerWriter<ledger::v1::FileChunk>* writer) {
  auto log = LogOf(*logs_, "name", request->name(), kLedgerPattern);
  if (!log.ok()) return Answer(log.status());
  if (request->tree_size() < 0)
    return Answer(InvalidField("tree_size", std::to_string(request->tree_size()), "0 or more"));
  auto checkpoint = CheckpointFor(**log, request->tree_size());
  if (!checkpoint.ok()) return Answer(checkpoint.status());
  return Answer(
      ForEachEvidenceFile(**log, *checkpoint, [&](const std::string& path, std::string_view content) {
        if (context->IsCancelled() || !SendFile(writer, path, content)) return Gone();
        return absl::OkStatus();
      }));
}

}  // namespace retort::services
