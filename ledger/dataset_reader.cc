#include "ledger/dataset_reader.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ledger/dataset_manifest.h"
#include "ledger/entry.h"
#include "ledger/hex.h"
#include "ledger/internal/status_text.h"
#include "ledger/key_registry.h"
#include "ledger/merkle.h"
#include "ledger/sample_rules.h"
#include "retort/teacher/v1/payload.pb.h"

namespace retort::ledger {
namespace {

using internal::About;
using internal::MessageOf;

constexpr size_t kSaltBytes = 32;
constexpr size_t kKeysMax = 10'000;
constexpr uint32_t kVocabularyMax = 1u << 24;
constexpr uint32_t kAlternativesMax = 1024;
// Rounding may leave the logarithm of a probability a little above zero.
constexpr float kLogprobMax = 1e-3f;

absl::Status NotAsSigned(std::string message) {
  return absl::DataLossError(std::move(message));
}

// Checks inclusion and takes the leaf apart.
absl::StatusOr<Entry> OpenLeaf(const ProvenLeaf& leaf, const Checkpoint& checkpoint, EntryKind kind) {
  const std::string subject = "entry " + std::to_string(leaf.index) + " (" + EntryKindName(kind) + ")";
  absl::Status status =
      VerifyInclusion(leaf.index, checkpoint.size, LeafHash(leaf.leaf), leaf.proof, checkpoint.root);
  if (!status.ok()) return About(subject, status);
  absl::StatusOr<Entry> entry = ParseEntry(leaf.leaf);
  if (!entry.ok()) return About(subject, entry.status());
  if (entry->kind != kind) {
    return absl::InvalidArgumentError(subject + ": is a " + EntryKindName(entry->kind));
  }
  return entry;
}

absl::Status Malformed(std::string_view field, std::string_view why) {
  return absl::InvalidArgumentError("payload." + std::string(field) + " " + std::string(why));
}

absl::Status CheckLogprobs(std::string_view field, const google::protobuf::RepeatedField<float>& values) {
  for (const float value : values) {
    if (std::isnan(value) || value > kLogprobMax)
      return Malformed(field, "holds something that is no log-probability");
  }
  return absl::OkStatus();
}

absl::Status CheckIds(std::string_view field, const google::protobuf::RepeatedField<uint32_t>& ids,
                      uint32_t vocabulary) {
  for (const uint32_t id : ids) {
    if (id >= vocabulary) {
      return Malformed(
          field, "holds id " + std::to_string(id) + "; the vocabulary has " + std::to_string(vocabulary));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckLength(std::string_view field, int64_t seen, int64_t wanted) {
  if (seen == wanted) return absl::OkStatus();
  return Malformed(field, "has " + std::to_string(seen) + " values; wanted " + std::to_string(wanted));
}

// Arrays of a trace come from a teacher: every index into them is checked here, once.
absl::Status FillTrace(const teacher::v1::TokenTrace& trace, ApprovedContent& content) {
  if (trace.tokenizer_sha256().empty()) {
    if (trace.prompt_ids_size() + trace.completion_ids_size() + trace.top_ids_size() +
            trace.top_logprobs_size() + trace.tail_logprobs_size() >
        0) {
      return Malformed("trace", "has ids of an unknown tokenizer");
    }
    return absl::OkStatus();
  }
  if (trace.tokenizer_sha256().size() != content.tokenizer_sha256.size()) {
    return Malformed("trace.tokenizer_sha256", "is not 32 bytes long");
  }
  const uint32_t vocabulary = trace.vocabulary_size();
  if (vocabulary == 0 || vocabulary > kVocabularyMax) {
    return Malformed("trace.vocabulary_size", "is " + std::to_string(vocabulary) + "; wanted 1 to 2^24");
  }
  if (trace.k() > std::min(kAlternativesMax, vocabulary)) {
    return Malformed("trace.k",
                     "is " + std::to_string(trace.k()) + "; at most 1024 and the vocabulary are allowed");
  }
  const int64_t positions = trace.completion_ids_size();
  const int64_t alternatives = positions * trace.k();
  for (const absl::Status& status : {
           CheckIds("trace.prompt_ids", trace.prompt_ids(), vocabulary),
           CheckIds("trace.completion_ids", trace.completion_ids(), vocabulary),
           CheckLength("trace.top_ids", trace.top_ids_size(), alternatives),
           CheckLength("trace.top_logprobs", trace.top_logprobs_size(), alternatives),
           CheckLength("trace.tail_logprobs", trace.tail_logprobs_size(), trace.k() == 0 ? 0 : positions),
           CheckIds("trace.top_ids", trace.top_ids(), vocabulary),
           CheckLogprobs("trace.top_logprobs", trace.top_logprobs()),
           CheckLogprobs("trace.tail_logprobs", trace.tail_logprobs()),
       }) {
    if (!status.ok()) return status;
  }
  std::copy(trace.tokenizer_sha256().begin(), trace.tokenizer_sha256().end(),
            content.tokenizer_sha256.begin());
  content.vocabulary_size = vocabulary;
  content.prompt_ids.assign(trace.prompt_ids().begin(), trace.prompt_ids().end());
  content.completion_ids.assign(trace.completion_ids().begin(), trace.completion_ids().end());
  content.k = trace.k();
  content.top_ids.assign(trace.top_ids().begin(), trace.top_ids().end());
  content.top_logprobs.assign(trace.top_logprobs().begin(), trace.top_logprobs().end());
  content.tail_logprobs.assign(trace.tail_logprobs().begin(), trace.tail_logprobs().end());
  return absl::OkStatus();
}

absl::StatusOr<ApprovedContent> ReadContent(const std::string& payload, const CaptureStatement& capture) {
  teacher::v1::SamplePayload message;
  if (!message.ParseFromString(payload)) return absl::InvalidArgumentError("payload is not a SamplePayload");
  ApprovedContent content{.prompt_id = capture.prompt_id, .held_out = capture.split == "held_out"};
  for (const teacher::v1::ChatMessage& turn : message.messages()) {
    if (turn.role() != "system" && turn.role() != "user" && turn.role() != "assistant") {
      return Malformed("messages.role", "is neither system, user nor assistant");
    }
    content.messages.push_back({turn.role(), turn.content()});
  }
  if (content.messages.empty()) return Malformed("messages", "is empty");
  content.completion = message.completion();
  if (absl::Status status = FillTrace(message.trace(), content); !status.ok()) return status;
  const std::string tokenizer = message.trace().tokenizer_sha256();
  if (HexEncode(tokenizer) != capture.tokenizer_sha256) {
    return Malformed("trace.tokenizer_sha256", "is not the one that the capture names");
  }
  return content;
}

}  // namespace

class DatasetReader::Impl {
 public:
  Impl(DatasetReaderOptions options, VerifyingKey log_key)
      : options_(std::move(options)), keys_(std::move(log_key)) {}

  absl::Status OpenHeader(const DatasetHeader& header) {
    absl::StatusOr<Checkpoint> checkpoint =
        OpenCheckpoint(header.checkpoint_note, keys_.log_key(), keys_.log_key().name());
    if (!checkpoint.ok()) return checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    if (absl::Status status = TakeKeys(header.keys); !status.ok()) return status;

    if (header.dataset.index != options_.dataset_entry) {
      return absl::InvalidArgumentError("header is about entry " + std::to_string(header.dataset.index) +
                                        "; wanted " + std::to_string(options_.dataset_entry));
    }
    const std::string subject = "entry " + std::to_string(header.dataset.index) + " (DATASET)";
    const absl::StatusOr<Entry> entry = OpenLeaf(header.dataset, checkpoint_, EntryKind::kDataset);
    if (!entry.ok()) return entry.status();
    const SignedStatement& signed_statement = entry->statements[0];
    if (absl::Status status = keys_.Check(header.dataset.index, StatementType::kDataset, signed_statement);
        !status.ok()) {
      return NotAsSigned(subject + ": " + std::string(MessageOf(status)));
    }
    absl::StatusOr<DatasetStatement> statement = DatasetStatement::Parse(signed_statement.statement);
    if (!statement.ok()) return About(subject, statement.status());
    if (statement->project != options_.project) {
      return absl::InvalidArgumentError(subject + ": belongs to another project than " + options_.project);
    }
    if (!options_.job_uid.empty() && statement->job_uid != options_.job_uid) {
      return absl::InvalidArgumentError(subject + ": belongs to another job than " + options_.job_uid);
    }
    statement_ = *std::move(statement);
    return TakeManifest(header.manifest);
  }

  absl::StatusOr<ApprovedSample> Read(const ProvenSample& sample);

  const DatasetReaderOptions options_;
  KeyRegistry keys_;
  Checkpoint checkpoint_;
  DatasetStatement statement_;
  std::vector<ListedSample> wanted_;  // of the split, in order
  size_t next_ = 0;

 private:
  absl::Status TakeKeys(const std::vector<ProvenLeaf>& keys) {
    if (keys.size() > kKeysMax) return absl::InvalidArgumentError("header holds more than 10,000 keys");
    uint64_t least = 0;
    for (const ProvenLeaf& leaf : keys) {
      const std::string subject = "entry " + std::to_string(leaf.index) + " (KEY)";
      if (leaf.index < least)
        return absl::InvalidArgumentError(subject + ": keys are not in ascending order");
      least = leaf.index + 1;
      const absl::StatusOr<Entry> entry = OpenLeaf(leaf, checkpoint_, EntryKind::kKey);
      if (!entry.ok()) return entry.status();
      if (absl::Status status = keys_.Check(leaf.index, StatementType::kKey, entry->statements[0]);
          !status.ok()) {
        return NotAsSigned(subject + ": " + std::string(MessageOf(status)));
      }
      const absl::StatusOr<KeyStatement> statement = KeyStatement::Parse(entry->statements[0].statement);
      if (!statement.ok()) return About(subject, statement.status());
      if (statement->project != options_.project) {
        return absl::InvalidArgumentError(subject + ": belongs to another project than " + options_.project);
      }
      if (absl::Status status = keys_.Register(leaf.index, *statement); !status.ok())
        return About(subject, status);
    }
    return absl::OkStatus();
  }

  // One entry of an admission: included, before the dataset, signed by whoever may.
  absl::StatusOr<SignedStatement> OpenAdmission(const ProvenLeaf& leaf, EntryKind kind,
                                                StatementType type) const {
    const std::string subject = "entry " + std::to_string(leaf.index) + " (" + EntryKindName(kind) + ")";
    if (leaf.index >= options_.dataset_entry)
      return absl::PermissionDeniedError(subject + ": came after the dataset was frozen");
    const absl::StatusOr<Entry> entry = OpenLeaf(leaf, checkpoint_, kind);
    if (!entry.ok()) return entry.status();
    if (absl::Status status = keys_.Check(leaf.index, type, entry->statements[0]); !status.ok()) {
      return NotAsSigned(subject + ": " + std::string(MessageOf(status)));
    }
    return entry->statements[0];
  }

  // The rule of ledger/sample_rules.h, as far as given entries can show it: that nothing newer revoked it is
  // the log's to see and an audit's to check.
  absl::Status CheckAdmission(const ProvenSample& sample, const SignedStatement& capture,
                              const SignedStatement& own, const DecisionStatement& own_decision) const {
    const std::string subject = "entry " + std::to_string(sample.leaf.index) + " (SAMPLE)";
    const auto refused = [&](const std::string& why) {
      return absl::PermissionDeniedError(subject + ": " + why);
    };
    if (own_decision.effect == "allow") return absl::OkStatus();
    if (own_decision.effect != "review")
      return refused("the decision is " + own_decision.effect + "; wanted allow");
    if (sample.admission.empty() || sample.admission.size() > 2)
      return refused("the decision is review, and nothing shows that a person approved it");
    uint64_t decided_at = sample.leaf.index;
    std::string decided = own.statement;
    const bool later = sample.admission.size() == 2 || IsDecision(sample.admission.front());
    if (later) {
      const ProvenLeaf& leaf = sample.admission.front();
      const auto statement = OpenAdmission(leaf, EntryKind::kDecision, StatementType::kDecision);
      if (!statement.ok()) return statement.status();
      const auto decision = DecisionStatement::Parse(statement->statement);
      if (!decision.ok()) return About(subject, decision.status());
      if (decision->subject_kind != "sample" ||
          decision->subject_digest != HexEncode(Sha256(capture.statement)))
        return refused("entry " + std::to_string(leaf.index) + " decides about something else");
      if (decision->effect == "allow") return absl::OkStatus();
      if (decision->effect != "review" || sample.admission.size() != 2)
        return refused("entry " + std::to_string(leaf.index) + " decides " + decision->effect);
      decided_at = leaf.index;
      decided = statement->statement;
    }
    const ProvenLeaf& leaf = sample.admission.back();
    const auto statement = OpenAdmission(leaf, EntryKind::kReview, StatementType::kReview);
    if (!statement.ok()) return statement.status();
    const auto review = ReviewStatement::Parse(statement->statement);
    if (!review.ok()) return About(subject, review.status());
    if (review->subject_entry != static_cast<int64_t>(decided_at) ||
        review->subject_digest != HexEncode(Sha256(decided))) {
      return refused("entry " + std::to_string(leaf.index) + " reviews another decision");
    }
    if (review->verdict != "approve") return refused("a person rejected it");
    return absl::OkStatus();
  }

  static bool IsDecision(const ProvenLeaf& leaf) {
    const absl::StatusOr<Entry> entry = ParseEntry(leaf.leaf);
    return entry.ok() && entry->kind == EntryKind::kDecision;
  }

  absl::Status TakeManifest(const std::string& bytes) {
    if (HexEncode(Sha256(bytes)) != statement_.manifest_sha256) {
      return NotAsSigned("dataset manifest does not have the SHA-256 that the DATASET entry names");
    }
    const absl::StatusOr<DatasetManifest> manifest = DatasetManifest::Parse(bytes);
    if (!manifest.ok()) return manifest.status();
    int64_t train = 0;
    for (const ListedSample& sample : manifest->samples) {
      if (!sample.held_out) ++train;
      const bool asked = options_.split.empty() || (options_.split == "held_out") == sample.held_out;
      if (asked) wanted_.push_back(sample);
    }
    const int64_t held_out = static_cast<int64_t>(manifest->samples.size()) - train;
    if (train != statement_.train_samples || held_out != statement_.held_out_samples) {
      return absl::InvalidArgumentError("dataset manifest lists " + std::to_string(train) + " + " +
                                        std::to_string(held_out) + " samples; the DATASET entry says " +
                                        std::to_string(statement_.train_samples) + " + " +
                                        std::to_string(statement_.held_out_samples));
    }
    return absl::OkStatus();
  }
};

absl::StatusOr<ApprovedSample> DatasetReader::Impl::Read(const ProvenSample& sample) {
  if (next_ == wanted_.size()) {
    return absl::FailedPreconditionError("the dataset has no sample after the " +
                                         std::to_string(wanted_.size()) + " that were read");
  }
  const ListedSample& listed = wanted_[next_];
  const uint64_t index = sample.leaf.index;
  const std::string subject = "entry " + std::to_string(index) + " (SAMPLE)";
  if (index != listed.index) {
    return absl::InvalidArgumentError(subject + ": the manifest has entry " + std::to_string(listed.index) +
                                      " here");
  }
  if (LeafHash(sample.leaf.leaf) != listed.leaf_hash) {
    return NotAsSigned(subject + ": leaf hash is not the one in the manifest");
  }
  const absl::StatusOr<Entry> entry = OpenLeaf(sample.leaf, checkpoint_, EntryKind::kSample);
  if (!entry.ok()) return entry.status();
  const SignedStatement& signed_capture = entry->statements[0];
  const SignedStatement& signed_decision = entry->statements[1];
  for (const auto& [type, statement] : {std::pair(StatementType::kCapture, &signed_capture),
                                        std::pair(StatementType::kDecision, &signed_decision)}) {
    if (absl::Status status = keys_.Check(index, type, *statement); !status.ok()) {
      return NotAsSigned(subject + ": " + std::string(MessageOf(status)));
    }
  }
  const absl::StatusOr<CaptureStatement> capture = CaptureStatement::Parse(signed_capture.statement);
  if (!capture.ok()) return About(subject, capture.status());
  const absl::StatusOr<DecisionStatement> decision = DecisionStatement::Parse(signed_decision.statement);
  if (!decision.ok()) return About(subject, decision.status());
  if (absl::Status status = CheckDecisionIsAbout(signed_capture, *capture, *decision); !status.ok()) {
    return NotAsSigned(subject + ": " + std::string(MessageOf(status)));
  }
  if (absl::Status status = CheckAdmission(sample, signed_capture, signed_decision, *decision); !status.ok())
    return status;
  if (capture->project != statement_.project || capture->job != statement_.job ||
      capture->job_uid != statement_.job_uid) {
    return NotAsSigned(subject + ": belongs to another project or job than the dataset");
  }
  if (capture->prompt_id != listed.prompt_id || (capture->split == "held_out") != listed.held_out) {
    return NotAsSigned(subject + ": prompt or split is not the one in the manifest");
  }
  if (sample.salt.size() != kSaltBytes) {
    return absl::InvalidArgumentError(subject + ": salt of " + std::to_string(sample.salt.size()) +
                                      " bytes; wanted 32");
  }
  if (HexEncode(SaltedDigest(sample.salt, sample.payload)) != capture->payload_digest) {
    return NotAsSigned(subject + ": payload does not have the salted digest that the capture names");
  }
  absl::StatusOr<ApprovedContent> content = ReadContent(sample.payload, *capture);
  if (!content.ok()) return About(subject, content.status());
  ++next_;
  return ApprovedSample(index, listed.leaf_hash, *std::move(content));
}

absl::StatusOr<DatasetReader> DatasetReader::Open(DatasetReaderOptions options, const DatasetHeader& header) {
  if (!options.split.empty() && options.split != "train" && options.split != "held_out") {
    return absl::InvalidArgumentError("split is not train, held_out or empty");
  }
  absl::StatusOr<VerifyingKey> log_key = VerifyingKey::Parse(options.log_vkey);
  if (!log_key.ok()) return About("log_vkey", log_key.status());
  auto impl = std::make_unique<Impl>(std::move(options), *std::move(log_key));
  if (absl::Status status = impl->OpenHeader(header); !status.ok()) return status;
  return DatasetReader(std::move(impl));
}

DatasetReader::DatasetReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DatasetReader::DatasetReader(DatasetReader&&) noexcept = default;
DatasetReader& DatasetReader::operator=(DatasetReader&&) noexcept = default;
DatasetReader::~DatasetReader() = default;

absl::StatusOr<ApprovedSample> DatasetReader::Read(const ProvenSample& sample) {
  // The constructor of ApprovedSample is open to this class alone; its nested class counts as this class.
  return impl_->Read(sample);
}

absl::Status DatasetReader::Finish() const {
  const size_t missing = impl_->wanted_.size() - impl_->next_;
  if (missing == 0) return absl::OkStatus();
  return absl::DataLossError("the stream ended " + std::to_string(missing) + " samples short of " +
                             std::to_string(impl_->wanted_.size()));
}

const Checkpoint& DatasetReader::checkpoint() const {
  return impl_->checkpoint_;
}
const DatasetStatement& DatasetReader::statement() const {
  return impl_->statement_;
}
uint64_t DatasetReader::sample_count() const {
  return impl_->wanted_.size();
}

}  // namespace retort::ledger
