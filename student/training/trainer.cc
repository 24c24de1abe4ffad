#include "student/training/trainer.h"

#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

#include "student/export/hugging_face.h"
#include "student/formats/message.h"
#include "student/formats/sha256.h"
#include "student/model/model.h"
#include "student/model/parameters.h"
#include "student/optimizer/adamw.h"
#include "student/optimizer/expert_bias.h"
#include "student/optimizer/schedule.h"
#include "student/threads/thread_pool.h"
#include "student/training/checkpoint.h"
#include "student/training/row_stream.h"
#include "student/training/run_folder.h"

namespace retort::student {
namespace {

// Rows are run together up to this many positions; large enough that matrix products are efficient, small
// enough that activations stay in a few hundred megabytes. Part of what decides the bits: a change is a new
// format of manifest.
constexpr int64_t kMicroBatchPositions = 4096;

ModelConfig ShapeOf(const TrainingManifest& manifest) {
  ModelConfig config = manifest.shape == "unit"   ? UnitConfig()
                       : manifest.shape == "nano" ? NanoConfig()
                                                  : SmallConfig();
  config.vocabulary = static_cast<int>(manifest.vocabulary_size);
  return config;
}

void HashBigEndian(Sha256& hash, uint64_t value) {
  std::array<uint8_t, 8> bytes;
  for (int i = 0; i < 8; ++i) bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(value >> (56 - 8 * i));
  hash.Update(bytes);
}

// What was trained on, without a word of it: leaf hashes and lengths.
std::string DataDigest(const std::vector<Document>& documents) {
  Sha256 hash;
  hash.Update("retort-training-data/1\n");
  for (const Document& document : documents) {
    hash.Update(document.leaf_hash);
    HashBigEndian(hash, document.tokens.size());
    HashBigEndian(hash, document.completion_begin);
    HashBigEndian(hash, document.k);
  }
  return HexOf(hash.Finish());
}

std::string FirstTranscript(const std::string& manifest_sha256, const std::string& data_sha256) {
  return HexOf(Sha256Of(Message("retort-training-transcript/1\n", manifest_sha256, "\n", data_sha256, "\n")));
}

std::string NextTranscript(const std::string& previous, int64_t step, const std::vector<Document>& documents,
                           const std::vector<RowPiece>& pieces) {
  Sha256 hash;
  hash.Update(previous);
  HashBigEndian(hash, static_cast<uint64_t>(step));
  for (const RowPiece& piece : pieces) {
    hash.Update(documents[piece.document].leaf_hash);
    HashBigEndian(hash, piece.begin);
    HashBigEndian(hash, piece.end);
  }
  return HexOf(hash.Finish());
}

// Digests are hex in the manifest and bytes in samples. The text has been validated.
std::array<uint8_t, 32> BytesOfHex(const std::string& hex) {
  const auto nibble = [](char c) { return static_cast<uint8_t>(c <= '9' ? c - '0' : c - 'a' + 10); };
  std::array<uint8_t, 32> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<uint8_t>(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
  }
  return bytes;
}

}  // namespace

struct Trainer::Impl {
  Impl(const TrainingManifest& m, TrainerOptions o, RunFolder f, std::vector<Document> d)
      : manifest(m),
        options(std::move(o)),
        folder(std::move(f)),
        documents(std::move(d)),
        rows(documents, m.sequence_length, m.seed),
        pool(options.threads > 0 ? options.threads : ThreadPool::DefaultThreads()),
        model(ShapeOf(m), pool),
        weights(model.layout()),
        gradients(model.layout()),
        optimizer(model.layout(), {m.beta1, m.beta2, m.epsilon, m.weight_decay, m.clip_norm}, pool) {}

  void Log(std::string_view line) const {
    if (options.log) options.log(line);
  }

  void StartAfresh() {
    InitializeParameters(manifest.seed, &weights);
    optimizer.first_moment().SetZero();
    optimizer.second_moment().SetZero();
    optimizer.SetStepsTaken(0);
    state = {};
    state.manifest_sha256 = manifest.Digest();
    state.data_sha256 = DataDigest(documents);
    state.transcript_sha256 = FirstTranscript(state.manifest_sha256, state.data_sha256);
    last_scheduled_digest.clear();
    last_scheduled_step = -1;
  }

  bool Scheduled() const {
    return state.step % manifest.checkpoint_every == 0 || state.step == manifest.steps;
  }

  absl::Status Resume();
  CheckpointInfo InfoOf(const std::string& digest) const {
    return {state.step, digest, state.previous_digest, state.transcript_sha256, state.loss};
  }

  TrainingManifest manifest;
  TrainerOptions options;
  RunFolder folder;
  std::vector<Document> documents;
  RowStream rows;
  mutable ThreadPool pool;  // hashing a const state uses its threads
  Model model;
  ParameterSet weights;
  Gradients gradients;
  AdamW optimizer;
  CheckpointState state;
  // Checkpoints chain through those that the manifest schedules, so that one written because of a signal
  // leaves no mark on the digests after it.
  std::string last_scheduled_digest;
  int64_t last_scheduled_step = -1;  // -1: none saved yet
};

absl::Status Trainer::Impl::Resume() {
  const auto paths = ListCheckpoints(folder.path());
  absl::Status first_problem;
  for (const std::string& path : paths) {
    auto read = ReadCheckpoint(path, pool, weights, optimizer);
    if (!read.ok()) {
      Log(Message("not usable, trying the one before: ", read.status().message()));
      if (first_problem.ok()) first_problem = read.status();
      continue;
    }
    if (read->state.manifest_sha256 != manifest.Digest() ||
        read->state.data_sha256 != DataDigest(documents)) {
      return absl::FailedPreconditionError(Message(
          path, ": belongs to another run: its manifest is ", read->state.manifest_sha256, " and its data ",
          read->state.data_sha256, "; wanted ", manifest.Digest(), " and ", DataDigest(documents)));
    }
    state = read->state;
    last_scheduled_digest = Scheduled() ? read->digest : state.previous_digest;
    if (Scheduled()) last_scheduled_step = state.step;
    return absl::OkStatus();
  }
  if (!paths.empty()) {
    return absl::DataLossError(Message(folder.path(), ": none of ", paths.size(),
                                       " checkpoints is good; the newest: ", first_problem.message()));
  }
  StartAfresh();
  return absl::OkStatus();
}

Trainer::Trainer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Trainer::~Trainer() = default;

namespace {

absl::StatusOr<std::vector<Document>> MakeDocuments(const std::vector<ledger::ApprovedSample>& samples,
                                                    const TrainingManifest& manifest,
                                                    const Tokenizer* tokenizer, bool held_out) {
  DocumentOptions options;
  options.tokenizer_sha256 = BytesOfHex(manifest.tokenizer_sha256);
  options.vocabulary_size = static_cast<uint32_t>(manifest.vocabulary_size);
  options.want_logits = !held_out && manifest.run == "logits" && manifest.cross_entropy_weight < 1;
  options.tokenizer = tokenizer;
  std::vector<Document> documents;
  for (const auto& sample : samples) {
    if (sample.content().held_out != held_out) {
      return absl::FailedPreconditionError(Message(
          "sample at leaf ", sample.leaf_index(), ": ",
          held_out ? "not held out; wanted a held-out sample" : "held out; it must not be trained on"));
    }
    auto document = MakeDocument(sample, options);
    if (!document.ok()) return document.status();
    documents.push_back(*std::move(document));
  }
  return documents;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const TrainingManifest& manifest,
                                                         const std::vector<ledger::ApprovedSample>& train,
                                                         TrainerOptions options) {
  if (auto status = manifest.Validate(); !status.ok()) return status;
  if (const std::string problem = student::Validate(ShapeOf(manifest)); !problem.empty()) {
    return absl::InvalidArgumentError(Message("training manifest: shape ", manifest.shape, ": ", problem));
  }
  if (manifest.sequence_length > ShapeOf(manifest).context) {
    return absl::InvalidArgumentError(
        Message("training manifest: sequence_length: ", manifest.sequence_length,
                "; wanted at most the context of the shape, ", ShapeOf(manifest).context));
  }
  if (options.threads < 0 || options.threads > 4096) {
    return absl::InvalidArgumentError(Message("threads: ", options.threads, "; wanted 0 to 4096"));
  }
  auto documents = MakeDocuments(train, manifest, options.tokenizer, /*held_out=*/false);
  if (!documents.ok()) return documents.status();
  if (documents->empty()) return absl::FailedPreconditionError("no sample to train on; wanted at least one");
  auto folder = RunFolder::Open(options.run_dir, manifest);
  if (!folder.ok()) return folder.status();
  auto impl = std::make_unique<Impl>(manifest, std::move(options), *std::move(folder), *std::move(documents));
  if (impl->rows.split_documents() > 0) {
    impl->Log(Message(impl->rows.split_documents(), " of ", impl->documents.size(),
                      " samples are longer than ", manifest.sequence_length,
                      " tokens and are split into rows"));
  }
  if (auto status = impl->Resume(); !status.ok()) return status;
  return std::unique_ptr<Trainer>(new Trainer(std::move(impl)));
}

int64_t Trainer::step() const {
  return impl_->state.step;
}
const ModelConfig& Trainer::config() const {
  return impl_->model.config();
}
int64_t Trainer::split_documents() const {
  return impl_->rows.split_documents();
}

bool Trainer::CheckpointDue() const {
  return impl_->Scheduled() && impl_->last_scheduled_step != impl_->state.step;
}

absl::StatusOr<TrainedStep> Trainer::Step() {
  Impl& run = *impl_;
  const TrainingManifest& manifest = run.manifest;
  if (run.state.step >= manifest.steps) {
    return absl::FailedPreconditionError(Message("the run is finished at step ", run.state.step));
  }
  if (CheckpointDue()) {
    return absl::FailedPreconditionError(
        Message("step ", run.state.step, " is one that the manifest saves; call Save before the next Step"));
  }
  const auto begun = std::chrono::steady_clock::now();
  const auto seconds_since = [](std::chrono::steady_clock::time_point since) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
  };
  const bool with_teacher = manifest.cross_entropy_weight < 1;
  const int64_t step_rows = manifest.batch_tokens / manifest.sequence_length;

  std::vector<RowPiece> pieces;  // of the whole step, for the transcript
  std::vector<std::vector<RowPiece>> micro_batches(1);
  int64_t filled = 0;
  for (int64_t r = 0; r < step_rows; ++r) {
    if (filled + manifest.sequence_length > kMicroBatchPositions && !micro_batches.back().empty()) {
      micro_batches.emplace_back();
      filled = 0;
    }
    filled += manifest.sequence_length;
    for (const RowPiece& piece : run.rows.At(run.state.next_row + r)) {
      pieces.push_back(piece);
      micro_batches.back().push_back(piece);
    }
  }
  std::vector<PackedBatch> batches;
  double valid = 0;
  for (const auto& part : micro_batches) {
    batches.push_back(MakeBatch(run.documents, part, with_teacher));
    if (const std::string problem = ValidateBatch(run.model.config(), batches.back()); !problem.empty()) {
      return absl::InternalError(Message("batch: ", problem));  // documents were checked when they were made
    }
    valid += ValidTokens(batches.back());
  }

  const LossOptions loss{static_cast<float>(manifest.cross_entropy_weight),
                         static_cast<float>(manifest.balance_loss_weight)};
  run.gradients.SetZero();
  std::vector<int64_t> loads;
  TrainedStep result;
  result.phases.data = seconds_since(begun);
  const auto gradients_begun = std::chrono::steady_clock::now();
  double loss_sum = 0;
  double context_sum = 0;
  for (const PackedBatch& batch : batches) {
    const BatchResult part =
        run.model.AccumulateGradients(run.weights, batch, loss, 1.0 / valid, &run.gradients);
    loss_sum += part.mixed_sum;
    result.tokens += batch.size();
    result.phases.forward += part.forward_seconds;
    for (const int32_t position : batch.positions) context_sum += position + 1;
    loads.resize(part.expert_counts.size());
    for (size_t i = 0; i < loads.size(); ++i) loads[i] += part.expert_counts[i];
  }
  result.phases.backward = seconds_since(gradients_begun) - result.phases.forward;
  const auto optimizer_begun = std::chrono::steady_clock::now();
  result.average_context = context_sum / static_cast<double>(result.tokens);
  result.loss = loss_sum / valid;
  result.valid_tokens = static_cast<int64_t>(valid);
  const Schedule schedule{manifest.learning_rate, manifest.warmup_steps, manifest.steps,
                          manifest.final_rate_fraction};
  result.learning_rate = LearningRate(schedule, run.state.step);
  if (std::isfinite(result.loss)) {
    result.gradient_norm = run.optimizer.Step(&run.weights, run.gradients, result.learning_rate);
  }
  if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm)) {
    return absl::InternalError(Message("step ", run.state.step + 1, ": loss ", result.loss,
                                       ", gradient norm ", result.gradient_norm,
                                       "; wanted finite numbers; a lower learning rate may help"));
  }
  UpdateExpertBias(loads, ExpertBiasRate(run.state.step, manifest.steps, manifest.bias_update_rate),
                   &run.weights);
  result.expert_tokens = std::move(loads);
  result.phases.optimizer = seconds_since(optimizer_begun);

  run.state.step += 1;
  run.state.next_row += step_rows;
  run.state.transcript_sha256 =
      NextTranscript(run.state.transcript_sha256, run.state.step, run.documents, pieces);
  run.state.previous_digest = run.last_scheduled_digest;
  char text[32];
  std::snprintf(text, sizeof text, "%.6f", result.loss);
  run.state.loss = text;
  result.step = run.state.step;
  result.seconds = seconds_since(begun);
  return result;
}

absl::StatusOr<CheckpointInfo> Trainer::Save() {
  Impl& run = *impl_;
  const std::string description = DescribeState(run.state, run.weights, run.optimizer, run.pool);
  if (auto status = WriteCheckpoint(CheckpointPath(run.folder.path(), run.state.step), description,
                                    run.weights, run.optimizer);
      !status.ok()) {
    return status;
  }
  run.folder.DropOldCheckpoints();
  const std::string digest = HexOf(Sha256Of(description));
  if (run.Scheduled()) {
    run.last_scheduled_digest = digest;
    run.last_scheduled_step = run.state.step;
  }
  return run.InfoOf(digest);
}

absl::StatusOr<CheckpointInfo> Trainer::Describe() const {
  const Impl& run = *impl_;
  return run.InfoOf(HexOf(Sha256Of(DescribeState(run.state, run.weights, run.optimizer, run.pool))));
}

absl::StatusOr<std::vector<Document>> Trainer::HeldOutDocuments(
    const std::vector<ledger::ApprovedSample>& samples) const {
  return MakeDocuments(samples, impl_->manifest, impl_->options.tokenizer, /*held_out=*/true);
}

absl::StatusOr<Quality> Trainer::Evaluate(const std::vector<Document>& held_out) {
  return student::Evaluate(impl_->model, impl_->weights, held_out);
}

absl::StatusOr<Quality> Trainer::EvaluateUntrained(const std::vector<Document>& held_out) {
  ParameterSet initial(impl_->model.layout());
  InitializeParameters(impl_->manifest.seed, &initial);
  return student::Evaluate(impl_->model, initial, held_out);
}

absl::Status Trainer::Export(const std::string& folder, const Tokenizer& tokenizer) const {
  const Impl& run = *impl_;
  return WriteStudent(folder, run.weights, tokenizer,
                      DescribeState(run.state, run.weights, run.optimizer, run.pool));
}

}  // namespace retort::student
