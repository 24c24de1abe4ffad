#include "services/train/ledger_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "ledger/dataset_reader.h"
#include "ledger/hex.h"
#include "services/edge/channel.h"
#include "services/edge/status.h"

namespace retort::train {
namespace {

namespace wire = retort::ledger::v1;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPauseFirst{200};
constexpr milliseconds kPauseLast{5000};
constexpr milliseconds kStopAskedEvery{100};
constexpr milliseconds kAppendDeadline = std::chrono::seconds(30);
constexpr milliseconds kReadDeadline = std::chrono::minutes(10);

absl::Status CopyProof(const google::protobuf::RepeatedPtrField<std::string>& hashes,
                       std::vector<ledger::Digest>& proof) {
  for (const std::string& hash : hashes) {
    ledger::Digest digest;
    if (hash.size() != digest.size()) {
      return absl::InvalidArgumentError("proof: a hash of " + std::to_string(hash.size()) +
                                        " bytes; wanted 32");
    }
    std::copy(hash.begin(), hash.end(), digest.begin());
    proof.push_back(digest);
  }
  return absl::OkStatus();
}

absl::Status CopyLeaf(int64_t index, const std::string& leaf,
                      const google::protobuf::RepeatedPtrField<std::string>& proof,
                      ledger::ProvenLeaf& target) {
  if (index < 0) return absl::InvalidArgumentError("index: " + std::to_string(index) + "; wanted at least 0");
  target.index = static_cast<uint64_t>(index);
  target.leaf = leaf;
  return CopyProof(proof, target.proof);
}

absl::Status CopyHeader(const wire::DatasetHeader& from, ledger::DatasetHeader& header) {
  header.checkpoint_note = from.checkpoint().note();
  header.manifest = from.manifest();
  if (auto s = CopyLeaf(from.index(), from.leaf(), from.proof(), header.dataset); !s.ok()) return s;
  for (const wire::DatasetSample& key : from.keys()) {
    if (auto s = CopyLeaf(key.index(), key.leaf(), key.proof(), header.keys.emplace_back()); !s.ok())
      return s;
  }
  return absl::OkStatus();
}

}  // namespace

LedgerClient::LedgerClient(std::unique_ptr<wire::LedgerService::StubInterface> stub,
                           std::function<bool()> stop, std::function<void(std::string_view)> log,
                           milliseconds patience)
    : stub_(std::move(stub)), stop_(std::move(stop)), log_(std::move(log)), patience_(patience) {}

absl::Status LedgerClient::Repeat(std::string_view what, const std::function<absl::Status()>& attempt) {
  const auto give_up = steady_clock::now() + patience_;
  for (milliseconds pause = kPauseFirst;; pause = std::min(2 * pause, kPauseLast)) {
    const absl::Status status = attempt();
    if (!absl::IsUnavailable(status)) return status;
    const auto until = steady_clock::now() + pause;
    if (until >= give_up) return status;
    log_(std::string(what) + ": " + std::string(status.message()) + "; trying again");
    while (steady_clock::now() < until) {
      if (stop_()) return absl::CancelledError("stopped while waiting for the ledger");
      std::this_thread::sleep_for(
          std::min<steady_clock::duration>(kStopAskedEvery, until - steady_clock::now()));
    }
  }
}

absl::Status LedgerClient::ReadOnce(const DatasetQuestion& question, Dataset& dataset) {
  dataset = {};
  grpc::ClientContext context;
  services::SetDeadline(context, kReadDeadline);
  wire::ReadDatasetRequest request;
  request.set_entry(question.project + "/ledgers/main/entries/" + std::to_string(question.entry));
  const auto stream = stub_->ReadDataset(&context, request);
  wire::ReadDatasetResponse part;
  // A service that went away and one that refuses look alike until the stream is finished.
  const auto failed = [&](absl::Status problem) {
    context.TryCancel();
    const absl::Status ended = services::FromGrpcStatus(stream->Finish());
    return problem.ok() || absl::IsUnavailable(ended) ? ended : problem;
  };
  if (!stream->Read(&part)) {
    const absl::Status ended = services::FromGrpcStatus(stream->Finish());
    return ended.ok() ? absl::DataLossError("dataset: the stream is empty; wanted a header first") : ended;
  }
  if (!part.has_header())
    return failed(absl::InvalidArgumentError("dataset: a sample came first; wanted the header"));
  ledger::DatasetHeader header;
  if (auto s = CopyHeader(part.header(), header); !s.ok()) return failed(s);
  ledger::DatasetReaderOptions options;
  options.log_vkey = question.log_vkey;
  options.project = question.project;
  options.dataset_entry = question.entry;
  options.job_uid = question.job_uid;
  auto reader = ledger::DatasetReader::Open(options, header);
  if (!reader.ok()) return failed(reader.status());
  while (stream->Read(&part)) {
    if (stop_()) return failed(absl::CancelledError("stopped while reading the dataset"));
    if (!part.has_sample())
      return failed(absl::InvalidArgumentError("dataset: a second header; wanted a sample"));
    ledger::ProvenSample proven;
    const wire::DatasetSample& from = part.sample();
    if (auto s = CopyLeaf(from.index(), from.leaf(), from.proof(), proven.leaf); !s.ok()) return failed(s);
    for (const wire::DatasetSample& entry : from.admission()) {
      if (auto s = CopyLeaf(entry.index(), entry.leaf(), entry.proof(), proven.admission.emplace_back());
          !s.ok())
        return failed(s);
    }
    proven.payload = from.payload();
    proven.salt = from.salt();
    auto sample = reader->Read(proven);
    if (!sample.ok()) return failed(sample.status());
    (sample->content().held_out ? dataset.held_out : dataset.train).push_back(*std::move(sample));
  }
  if (auto ended = services::FromGrpcStatus(stream->Finish()); !ended.ok()) return ended;
  return reader->Finish();
}

absl::StatusOr<Dataset> LedgerClient::ReadDataset(const DatasetQuestion& question) {
  Dataset dataset;
  const auto status = Repeat("reading the dataset", [&] { return ReadOnce(question, dataset); });
  if (!status.ok()) return status;
  return dataset;
}

absl::StatusOr<size_t> LedgerClient::CountKnown(const std::string& project,
                                                const std::vector<std::string>& request_ids) {
  wire::LookupRequestsRequest request;
  request.set_parent(project);
  for (const std::string& id : request_ids) request.add_request_ids(id);
  wire::LookupRequestsResponse known;
  const auto status = Repeat("looking up attempts", [&] {
    grpc::ClientContext context;
    services::SetDeadline(context, kAppendDeadline);
    return services::FromGrpcStatus(stub_->LookupRequests(&context, request, &known));
  });
  if (!status.ok()) return status;
  size_t count = 0;
  while (count < request_ids.size() && known.entries().contains(request_ids[count])) ++count;
  return count;
}

absl::StatusOr<int64_t> LedgerClient::AppendTraining(const std::string& project,
                                                     const ledger::SignedStatement& statement,
                                                     const std::string& attachment) {
  wire::AppendEntryRequest request;
  request.set_parent(project);
  request.set_kind(wire::ENTRY_KIND_TRAINING);
  wire::SignedStatement& signed_statement = *request.add_statements();
  signed_statement.set_statement(statement.statement);
  signed_statement.set_signature(statement.signature.data(), statement.signature.size());
  signed_statement.set_key_id(statement.key_id.data(), statement.key_id.size());
  if (!attachment.empty()) {
    wire::Attachment& file = *request.add_attachments();
    file.set_sha256(ledger::HexEncode(ledger::Sha256(attachment)));
    file.set_content(attachment);
  }
  wire::Entry entry;
  const auto status = Repeat("appending a training entry", [&] {
    grpc::ClientContext context;
    services::SetDeadline(context, kAppendDeadline);
    return services::FromGrpcStatus(stub_->AppendEntry(&context, request, &entry));
  });
  if (!status.ok()) return status;
  return entry.index();
}

}  // namespace retort::train
