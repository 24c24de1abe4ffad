// One rank of trainer_parallel_test: a whole training run with checkpoints.
//   trainer_rank NAME DATA EXPERTS RUN_DIR [DIE_RANK DIE_STEP [SEED]]
// Rank DIE_RANK kills itself in the middle of step DIE_STEP. Exit status 0: finished, and rank 0 printed the
// digest; 2: the run has failed and the reason is printed.
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "student/parallel/rank_environment.h"
#include "student/training/trainer.h"
#include "tests/student/parallel/rank_setup.h"
#include "tests/student/training/approved_samples.h"

namespace retort::student {
namespace {

TrainingManifest Manifest(uint64_t seed) {
  TrainingManifest manifest;
  manifest.run = "logits";
  manifest.student = "test";
  manifest.shape = "unit";
  manifest.vocabulary_size = kTestVocabulary;
  for (int i = 0; i < 32; ++i) manifest.tokenizer_sha256 += "ab";
  manifest.steps = kStepsOfRank;
  manifest.batch_tokens = 256;
  manifest.sequence_length = 64;
  manifest.checkpoint_every = kStepsToCheckpoint;
  manifest.seed = seed;
  manifest.learning_rate = 0.003;
  manifest.cross_entropy_weight = 0.25;
  return manifest;
}

absl::Status Run(Trainer& trainer, int64_t die_step, const TrainingManifest& manifest) {
  for (;;) {
    if (trainer.CheckpointDue()) {
      if (auto saved = trainer.Save(); !saved.ok()) return saved.status();
    }
    if (trainer.step() == manifest.steps) break;
    const auto stop = trainer.OnAnyRank(false);
    if (!stop.ok()) return stop.status();
    if (trainer.step() + 1 == die_step) raise(SIGKILL);
    const auto step = trainer.Step();
    if (!step.ok()) return step.status();
    std::printf("step %lld loss %a norm %a\n", static_cast<long long>(step->step), step->loss,
                step->gradient_norm);
    std::fflush(stdout);
  }
  const auto last = trainer.Describe();
  if (!last.ok()) return last.status();
  if (!last->digest.empty()) {
    std::printf("digest %s transcript %s\n", last->digest.c_str(), last->transcript_digest.c_str());
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  if (argc < 5) return 3;
  RankEnvironment environment;
  std::string problem = ReadRankEnvironment([](const char* name) { return std::getenv(name); }, &environment);
  if (!problem.empty()) return 3;
  const RankPlace place = {{std::atoi(argv[2]), std::atoi(argv[3])}, environment.rank};
  const bool dies = argc > 6 && std::atoi(argv[5]) == place.rank;
  const TrainingManifest manifest =
      Manifest(argc > 7 ? static_cast<uint64_t>(std::atoi(argv[7]) + place.rank) : 11);
  ThreadPool pool(1);
  const auto backend = OpenRankBackend(pool);
  std::unique_ptr<World> world;
  if (!place.alone()) {
    world = JoinRanksOfTest(argv[1], place, "manifest " + manifest.Digest(), &problem);
    if (world == nullptr) {
      std::printf("not joined: %s\n", problem.c_str());
      return 2;
    }
  }
  TrainerOptions options;
  options.run_dir = place.rank == 0 ? argv[4] : "";
  options.threads = 1;
  options.backend = backend.get();
  options.world = world.get();
  auto trainer = Trainer::Create(manifest, TestSamples(12), std::move(options));
  absl::Status status = trainer.status();
  if (trainer.ok()) status = Run(**trainer, dies ? std::atoi(argv[6]) : -1, manifest);
  if (!status.ok()) {
    if (world != nullptr) world->Abort(std::string(status.message()));
    std::printf("ended: %s\n", status.ToString().c_str());
    return 2;
  }
  return world == nullptr || world->all().Barrier() ? 0 : 2;
}

}  // namespace
}  // namespace retort::student

int main(int argc, char** argv) {
  return retort::student::Main(argc, argv);
}
