#include "student/training/trainer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

#include "student/device/cpu_backend.h"
#include "student/export/hugging_face.h"
#include "student/formats/message.h"
#include "student/formats/sha256.h"
#include "student/model/learner.h"
#include "student/model/memory_plan.h"
#include "student/model/model.h"
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
  config.prediction_layers = static_cast<int>(manifest.prediction_layers);
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

// One process rounds as it always has; several round otherwise, so the chain says how many there were.
std::string NextTranscript(const std::string& previous, int64_t step, const std::vector<Document>& documents,
                           const std::vector<RowPiece>& pieces, const ParallelLayout& ranks) {
  Sha256 hash;
  hash.Update(previous);
  HashBigEndian(hash, static_cast<uint64_t>(step));
  for (const RowPiece& piece : pieces) {
    hash.Update(documents[piece.document].leaf_hash);
    HashBigEndian(hash, piece.begin);
    HashBigEndian(hash, piece.end);
  }
  if (ranks.world() > 1) {
    HashBigEndian(hash, static_cast<uint64_t>(ranks.data));
    HashBigEndian(hash, static_cast<uint64_t>(ranks.experts));
  }
  return HexOf(hash.Finish());
}

RankPlace PlaceIn(World* world) {
  return world == nullptr ? RankPlace{} : world->place();
}

int64_t RowsOfStep(const TrainingManifest& manifest) {
  return manifest.batch_tokens / manifest.sequence_length;
}

// Micro-batches of one rank are this many rows, the last one perhaps fewer.
int64_t RowsOfMicroBatch(const TrainingManifest& manifest, const ParallelLayout& ranks) {
  const int64_t fit = std::max<int64_t>(1, kMicroBatchPositions / manifest.sequence_length);
  return std::min(fit, RowsOfStep(manifest) / ranks.world());
}

// CheckpointState::computed_on. What a driver calls its device is not ours to trust.
std::string ComputedOn(const DeviceDescription& device) {
  constexpr size_t kNameMax = 96;
  if (device.kind == "cpu") return "";
  std::string text = device.compute + " " + device.name.substr(0, kNameMax);
  for (char& c : text) {
    if (c < ' ' || c > '~' || c == '"' || c == '\\') c = '?';
  }
  return text;
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
  Impl(const TrainingManifest& m, TrainerOptions o, std::optional<RunFolder> f, std::vector<Document> d)
      : manifest(m),
        options(std::move(o)),
        place(PlaceIn(options.world)),
        folder(std::move(f)),
        documents(std::move(d)),
        rows(documents, m.sequence_length, m.seed),
        pool(options.threads > 0 ? options.threads : ThreadPool::DefaultThreads()),
        model(ShapeOf(m), pool),
        own_backend(options.backend == nullptr ? MakeCpuBackend(pool) : nullptr),
        backend(options.backend == nullptr ? own_backend.get() : options.backend),
        learner(model.layout(), {m.beta1, m.beta2, m.epsilon, m.weight_decay, m.clip_norm}, *backend,
                options.world) {}

  bool leads() const { return place.rank == 0; }

  // Why nothing can go on: the device's failure, or that of the run on any rank.
  absl::Status Failure() const {
    if (!backend->failure().empty()) return absl::UnavailableError(backend->failure());
    const std::string reason = options.world == nullptr ? "" : options.world->failure();
    return absl::UnavailableError(reason.empty() ? "the run has failed" : reason);
  }

  bool RunHasFailed() const { return options.world != nullptr && !options.world->failure().empty(); }

  // Makes the learner's memory. ResourceExhausted.
  absl::Status Reserve() {
    int teacher_k = 0;
    for (const Document& document : documents) teacher_k = std::max(teacher_k, static_cast<int>(document.k));
    const int64_t positions = RowsOfMicroBatch(manifest, place.layout) * manifest.sequence_length;
    PassSizes sizes;
    sizes.limits = {.positions = positions,
                    .rows = positions,
                    .documents = static_cast<int>(positions),
                    .teacher_k = manifest.cross_entropy_weight < 1 ? teacher_k : 0};
    MemoryPlan plan;
    std::string problem;
    if (!ChoosePlan(model.layout(), *backend, sizes.limits, Recompute::kWhenNeeded, place, &plan, &problem)) {
      return absl::ResourceExhaustedError(problem);
    }
    sizes.recompute = plan.recompute;
    if (plan.recompute) Log("activations do not fit into the device's memory and are computed twice");
    if (learner.Reserve(sizes)) return absl::OkStatus();
    return absl::ResourceExhaustedError(backend->failure());
  }

  void Log(std::string_view line) const {
    if (options.log) options.log(line);
  }

  void StartAfresh(TrainingState& training) {
    InitializeParameters(manifest.seed, &training.weights);
    training.first_moment.SetZero();
    training.second_moment.SetZero();
    training.steps_taken = 0;
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

  // Fills `training` and `state` from the newest good checkpoint, or from the seed.
  absl::Status ReadState(TrainingState& training);
  // ReadState on rank 0, shared with all.
  absl::Status Resume();
  absl::Status ShareProgress();
  CheckpointInfo InfoOf(const std::string& digest) const {
    return {state.step, digest, state.previous_digest, state.transcript_sha256, state.loss};
  }

  TrainingManifest manifest;
  TrainerOptions options;
  const RankPlace place;
  const std::optional<RunFolder> folder;  // of rank 0
  std::vector<Document> documents;
  RowStream rows;
  mutable ThreadPool pool;                     // hashing a const state uses its threads
  Model model;                                 // measures
  const std::unique_ptr<Backend> own_backend;  // unless one was given
  Backend* const backend;
  Learner learner;
  CheckpointState state;  // on ranks other than 0: step and next_row
  // Checkpoints chain through those that the manifest schedules, so that one written because of a signal
  // leaves no mark on the digests after it.
  std::string last_scheduled_digest;
  int64_t last_scheduled_step = -1;  // -1: none saved yet
};

absl::Status Trainer::Impl::ReadState(TrainingState& training) {
  const auto paths = ListCheckpoints(folder->path());
  absl::Status first_problem;
  for (const std::string& path : paths) {
    auto read = ReadCheckpoint(path, pool, training);
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
    return absl::DataLossError(Message(folder->path(), ": none of ", paths.size(),
                                       " checkpoints is good; the newest: ", first_problem.message()));
  }
  StartAfresh(training);
  return absl::OkStatus();
}

absl::Status Trainer::Impl::ShareProgress() {
  if (options.world == nullptr) return absl::OkStatus();
  // Rank 0's numbers are those of all: the others add nothing.
  std::array<int64_t, 3> progress = {};
  if (leads()) progress = {state.step, state.next_row, last_scheduled_step};
  if (!options.world->all().SumHost(std::span<int64_t>(progress))) return Failure();
  state.step = progress[0];
  state.next_row = progress[1];
  last_scheduled_step = progress[2];
  return absl::OkStatus();
}

absl::Status Trainer::Impl::Resume() {
  if (auto status = Reserve(); !status.ok()) return status;
  std::optional<TrainingState> training;
  if (leads()) {
    const auto& layout = model.layout();
    training.emplace(TrainingState{ParameterSet(layout), ParameterSet(layout), ParameterSet(layout), 0});
    if (auto status = ReadState(*training); !status.ok()) return status;
  }
  if (!learner.Load(training ? &*training : nullptr)) return Failure();
  return ShareProgress();
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
  const RankPlace place = PlaceIn(options.world);
  if (const std::string problem = student::Validate(place.layout, place.layout.world(),
                                                    ShapeOf(manifest).experts, RowsOfStep(manifest));
      !problem.empty()) {
    return absl::InvalidArgumentError(problem);
  }
  auto documents = MakeDocuments(train, manifest, options.tokenizer, /*held_out=*/false);
  if (!documents.ok()) return documents.status();
  if (documents->empty()) return absl::FailedPreconditionError("no sample to train on; wanted at least one");
  std::optional<RunFolder> folder;
  if (place.rank == 0) {
    auto opened = RunFolder::Open(options.run_dir, manifest);
    if (!opened.ok()) return opened.status();
    folder.emplace(*std::move(opened));
  }
  auto impl = std::make_unique<Impl>(manifest, std::move(options), std::move(folder), *std::move(documents));
  if (impl->leads() && impl->rows.split_documents() > 0) {
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
  const int64_t step_rows = RowsOfStep(manifest);
  const RowShare share = RowsOfRank(run.place, step_rows);
  const int64_t rows_of_micro_batch = RowsOfMicroBatch(manifest, run.place.layout);

  std::vector<RowPiece> pieces;  // of the whole step, for the transcript
  std::vector<std::vector<RowPiece>> micro_batches;
  double context_sum = 0;
  for (int64_t r = 0; r < step_rows; ++r) {
    const bool own = r >= share.begin && r < share.end;
    if (own && (r - share.begin) % rows_of_micro_batch == 0) micro_batches.emplace_back();
    for (const RowPiece& piece : run.rows.At(run.state.next_row + r)) {
      pieces.push_back(piece);
      if (own) micro_batches.back().push_back(piece);
      const double positions = piece.end - piece.begin;
      context_sum += positions * (positions + 1) / 2;
    }
  }
  std::vector<PackedBatch> batches;
  for (const auto& part : micro_batches) {
    batches.push_back(MakeBatch(run.documents, part, manifest.cross_entropy_weight < 1));
    if (const std::string problem = ValidateBatch(run.model.config(), batches.back()); !problem.empty()) {
      return absl::InternalError(Message("batch: ", problem));  // documents were checked when they were made
    }
  }

  TrainedStep result;
  result.phases.data = seconds_since(begun);
  const Schedule schedule{manifest.learning_rate, manifest.warmup_steps, manifest.steps,
                          manifest.final_rate_fraction};
  result.learning_rate = LearningRate(schedule, run.state.step);
  LearnedStep learned = run.learner.Step(
      batches,
      {{static_cast<float>(manifest.cross_entropy_weight), static_cast<float>(manifest.balance_loss_weight),
        static_cast<float>(manifest.prediction_loss_weight)},
       result.learning_rate,
       ExpertBiasRate(run.state.step, manifest.steps, manifest.bias_update_rate)});
  result.loss = learned.mixed_sum / learned.valid_tokens;
  if (learned.prediction_tokens > 0)
    result.prediction_loss = learned.prediction_ce_sum / learned.prediction_tokens;
  result.gradient_norm = learned.gradient_norm;
  if (!learned.ok) {
    if (!run.backend->failure().empty() || run.RunHasFailed()) return run.Failure();
    return absl::InternalError(Message("step ", run.state.step + 1, ": loss ", result.loss,
                                       ", gradient norm ", result.gradient_norm,
                                       "; wanted finite numbers; a lower learning rate may help"));
  }
  result.tokens = learned.tokens;
  result.valid_tokens = static_cast<int64_t>(learned.valid_tokens);
  result.average_context = context_sum / static_cast<double>(learned.tokens);
  result.expert_tokens = std::move(learned.expert_counts);
  result.phases.forward = learned.forward_seconds;
  result.phases.backward = learned.backward_seconds;
  result.phases.optimizer = learned.optimizer_seconds;
  result.phases.communication = learned.communication_seconds;

  run.state.step += 1;
  run.state.next_row += step_rows;
  run.state.transcript_sha256 =
      NextTranscript(run.state.transcript_sha256, run.state.step, run.documents, pieces, run.place.layout);
  run.state.previous_digest = run.last_scheduled_digest;
  run.state.computed_on = ComputedOn(run.backend->description());
  char text[32];
  std::snprintf(text, sizeof text, "%.6f", result.loss);
  run.state.loss = text;
  result.step = run.state.step;
  result.seconds = seconds_since(begun);
  return result;
}

absl::StatusOr<bool> Trainer::OnAnyRank(bool here) {
  Impl& run = *impl_;
  if (run.options.world == nullptr) return here;
  int64_t count = here ? 1 : 0;
  if (!run.options.world->all().SumHost(std::span<int64_t>(&count, 1))) return run.Failure();
  return count > 0;
}

absl::StatusOr<CheckpointInfo> Trainer::Save() {
  Impl& run = *impl_;
  const TrainingState* const training = run.learner.Read();
  std::string digest;
  if (run.leads()) {
    if (training == nullptr) return run.Failure();
    const std::string description = DescribeState(run.state, *training, run.pool);
    if (auto status =
            WriteCheckpoint(CheckpointPath(run.folder->path(), run.state.step), description, *training);
        !status.ok()) {
      return status;
    }
    run.folder->DropOldCheckpoints();
    digest = HexOf(Sha256Of(description));
  } else if (run.RunHasFailed()) {
    return run.Failure();
  }
  if (run.Scheduled()) {
    run.last_scheduled_digest = digest;
    run.last_scheduled_step = run.state.step;
  }
  return run.InfoOf(digest);
}

absl::StatusOr<CheckpointInfo> Trainer::Describe() const {
  Impl& run = *impl_;
  const TrainingState* const training = run.learner.Read();
  if (!run.leads()) {
    if (run.RunHasFailed()) return run.Failure();
    return run.InfoOf("");
  }
  if (training == nullptr) return run.Failure();
  return run.InfoOf(HexOf(Sha256Of(DescribeState(run.state, *training, run.pool))));
}

absl::StatusOr<std::vector<Document>> Trainer::HeldOutDocuments(
    const std::vector<ledger::ApprovedSample>& samples) const {
  return MakeDocuments(samples, impl_->manifest, impl_->options.tokenizer, /*held_out=*/true);
}

absl::StatusOr<Quality> Trainer::Evaluate(const std::vector<Document>& held_out) {
  Impl& run = *impl_;
  const TrainingState* const training = run.learner.Read();
  if (!run.leads()) {
    if (run.RunHasFailed()) return run.Failure();
    return Quality();
  }
  if (training == nullptr) return run.Failure();
  return student::Evaluate(run.model, training->weights, held_out);
}

absl::StatusOr<Quality> Trainer::EvaluateUntrained(const std::vector<Document>& held_out) {
  if (!impl_->leads()) return Quality();
  ParameterSet initial(impl_->model.layout());
  InitializeParameters(impl_->manifest.seed, &initial);
  return student::Evaluate(impl_->model, initial, held_out);
}

absl::Status Trainer::Export(const std::string& folder, const Tokenizer& tokenizer) const {
  Impl& run = *impl_;
  const TrainingState* const training = run.learner.Read();
  if (!run.leads()) return run.RunHasFailed() ? run.Failure() : absl::OkStatus();
  if (training == nullptr) return run.Failure();
  return WriteStudent(folder, training->weights, tokenizer, DescribeState(run.state, *training, run.pool));
}

}  // namespace retort::student
