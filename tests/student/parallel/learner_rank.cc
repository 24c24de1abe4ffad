// One rank of learner_test: trains a unit student for some steps and prints what happened, for comparison.
//   learner_rank NAME DATA EXPERTS STEPS MODULES [FOLDER]
// MODULES of multi-token prediction.
// Prints, for each step, loss and gradient norm in hexadecimal, and at the end on rank 0 a hash of the state.
// With a folder the state is handed over there: read at the start if it is there, written at the end.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "student/model/learner.h"
#include "student/parallel/rank_environment.h"
#include "tests/student/device/forwarding_backend.h"
#include "tests/student/parallel/rank_setup.h"

namespace retort::student {
namespace {

constexpr int kRows = 4, kTeacherK = 4;

std::uint64_t Mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Rows [begin, end) of a step: two documents a row, a teacher's distribution at every other position.
PackedBatch Rows(const ModelConfig& config, std::int64_t step, std::int64_t begin, std::int64_t end) {
  PackedBatch batch;
  batch.teacher_k = kTeacherK;
  for (std::int64_t row = begin; row < end; ++row) {
    for (int i = 0; i < kRowLengthOfRank; ++i) {
      const int split = kRowLengthOfRank / 3;
      if (i == 0 || i == split)
        batch.document_starts.push_back(static_cast<std::int32_t>(batch.tokens.size()));
      const std::uint64_t draw =
          Mix(Mix(static_cast<std::uint64_t>(step * kRows + row)) + static_cast<unsigned>(i));
      batch.tokens.push_back(static_cast<std::int32_t>(draw % static_cast<unsigned>(config.vocabulary)));
      batch.positions.push_back(i < split ? i : i - split);
      batch.targets.push_back(static_cast<std::int32_t>((draw >> 20) % 64));
      batch.weights.push_back(i % 5 == 0 ? 0.0f : 1.0f);
      batch.teacher_counts.push_back(i % 2 == 0 ? kTeacherK : 0);
      for (int k = 0; k < kTeacherK; ++k) {
        batch.teacher_ids.push_back(
            static_cast<std::int32_t>((draw >> 20) % 64 + 64 * static_cast<unsigned>(k)));
        batch.teacher_logprobs.push_back(-1.0f - static_cast<float>(k));
      }
      batch.teacher_tail_logprobs.push_back(-0.82f);  // 1 - sum of exp of the above, about
    }
  }
  batch.document_starts.push_back(static_cast<std::int32_t>(batch.tokens.size()));
  return batch;
}

// Adds up what is taken of the device's memory.
class CountingBackend : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void* Allocate(std::int64_t bytes) override {
    taken_ += bytes;
    return ForwardingBackend::Allocate(bytes);
  }
  bool Reserve(const ParameterLayout& layout, const PassLimits& limits) override {
    taken_ += WorkspaceBytes(layout, limits);
    return ForwardingBackend::Reserve(layout, limits);
  }
  std::int64_t taken() const { return taken_; }

 private:
  std::int64_t taken_ = 0;
};

std::uint64_t HashOf(const ParameterSet& set) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const float value : set.storage()) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    hash = (hash ^ bits) * 0x100000001b3;
  }
  return hash;
}

bool ReadSet(std::ifstream& in, ParameterSet* set) {
  in.read(reinterpret_cast<char*>(set->storage().data()),
          static_cast<std::streamsize>(set->storage().size_bytes()));
  return static_cast<bool>(in);
}

int Main(int argc, char** argv) {
  if (argc < 6) return 3;
  const ParallelLayout ranks = {std::atoi(argv[2]), std::atoi(argv[3])};
  const std::int64_t steps = std::atoi(argv[4]);
  RankEnvironment environment;
  std::string problem = ReadRankEnvironment([](const char* name) { return std::getenv(name); }, &environment);
  if (!problem.empty()) return 3;
  const RankPlace place = {ranks, environment.rank};
  ThreadPool pool(1);
  CountingBackend backend(OpenRankBackend(pool));
  std::unique_ptr<World> world;
  if (!place.alone()) {
    world = JoinRanksOfTest(argv[1], place, "test", &problem);
    if (world == nullptr) {
      std::printf("not joined: %s\n", problem.c_str());
      return 2;
    }
  }
  ModelConfig config = UnitConfig();
  config.prediction_layers = std::atoi(argv[5]);
  const auto layout = ParameterLayout::Create(config);
  Learner learner(layout, {}, backend, world.get());
  const RowShare share = RowsOfRank(place, kRows);
  PassSizes sizes;
  sizes.limits = {
      .positions = kRowLengthOfRank, .rows = kRowLengthOfRank, .documents = 2, .teacher_k = kTeacherK};
  if (!learner.Reserve(sizes)) return 3;
  if (const std::int64_t needed = Learner::BytesNeeded(layout, sizes, backend, place);
      backend.taken() != needed) {
    std::printf("took %" PRId64 " bytes, planned %" PRId64 "\n", backend.taken(), needed);
    return 3;
  }

  const std::string state_file = argc > 6 ? std::string(argv[6]) + "/state" : "";
  std::optional<TrainingState> state;
  if (place.rank == 0) {
    state.emplace(TrainingState{ParameterSet(layout), ParameterSet(layout), ParameterSet(layout), 0});
    InitializeParameters(7, &state->weights);
    if (std::ifstream in(state_file, std::ios::binary); in) {
      in.read(reinterpret_cast<char*>(&state->steps_taken), sizeof(state->steps_taken));
      if (!ReadSet(in, &state->weights) || !ReadSet(in, &state->first_moment) ||
          !ReadSet(in, &state->second_moment)) {
        return 3;
      }
    }
  }
  std::int64_t first = state ? state->steps_taken : 0;
  if (!learner.Load(state ? &*state : nullptr)) return 2;
  if (world != nullptr && !world->all().SumHost(std::span<std::int64_t>(&first, 1))) return 2;

  for (std::int64_t step = first; step < steps; ++step) {
    std::vector<PackedBatch> batches;  // a row each, so that every layout has micro-batches of one size
    for (std::int64_t row = share.begin; row < share.end; ++row)
      batches.push_back(Rows(config, step, row, row + 1));
    const LearnedStep learned = learner.Step(batches, {{0.5f, 1e-2f}, 3e-3, 1e-3});
    if (!learned.ok) {
      std::printf("ended: %s\n", world != nullptr ? world->failure().c_str() : "not finite");
      return 2;
    }
    std::int64_t sent = 0;
    for (const std::int64_t count : learned.expert_counts) sent += count;
    std::printf("step %" PRId64 " loss %a norm %a predicted %a tokens %" PRId64 " sent %" PRId64 "\n", step,
                learned.mixed_sum / learned.valid_tokens, learned.gradient_norm, learned.prediction_ce_sum,
                learned.tokens, sent);
    std::fflush(stdout);
  }
  const TrainingState* const last = learner.Read();
  if (place.rank == 0) {
    if (last == nullptr) return 2;
    std::printf("state %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " after %" PRId64 "\n",
                HashOf(last->weights), HashOf(last->first_moment), HashOf(last->second_moment),
                last->steps_taken);
    if (!state_file.empty()) {
      std::ofstream out(state_file, std::ios::binary);
      out.write(reinterpret_cast<const char*>(&last->steps_taken), sizeof(last->steps_taken));
      for (const ParameterSet* set : {&last->weights, &last->first_moment, &last->second_moment}) {
        out.write(reinterpret_cast<const char*>(set->storage().data()),
                  static_cast<std::streamsize>(set->storage().size_bytes()));
      }
      if (!out) return 3;
    }
  }
  if (world != nullptr && !world->all().Barrier()) return 2;
  return 0;
}

}  // namespace
}  // namespace retort::student

int main(int argc, char** argv) {
  return retort::student::Main(argc, argv);
}
