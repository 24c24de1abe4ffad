// How fast one student trains: prints one JSON line with tokens per second of whole optimiser steps (forward,
// backward with the top-k distillation loss, AdamW, router balancing), and the ceiling that matrix products
// alone would allow here and now: the operations of a step at the rate of a large product measured between
// the steps.
//
//   trainer_bench [nano|small|unit] [steps] [threads] [tokens] [avx512|avx2|plain]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "student/model/model.h"
#include "student/ops/matmul.h"
#include "student/optimizer/adamw.h"
#include "student/optimizer/expert_bias.h"
#include "tests/student/model/random_batch.h"

namespace {

using retort::student::BatchResult;
using retort::student::Isa;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Floating-point operations per second of one product that fits the caches well.
double MeasurePeak(const retort::student::Compute& compute) {
  constexpr int kSize = 768;
  static std::vector<float> a(kSize * kSize, 0.5f), b(kSize * kSize, 0.25f), c(kSize * kSize);
  double best = 0;
  for (int i = 0; i < 6; ++i) {
    const double start = Seconds();
    retort::student::MatMul(compute, {.a = {a.data(), kSize},
                                      .b = {b.data(), kSize},
                                      .c = c.data(),
                                      .c_stride = kSize,
                                      .m = kSize,
                                      .n = kSize,
                                      .k = kSize});
    best = std::max(best, 2.0 * kSize * kSize * kSize / (Seconds() - start));
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace retort::student;
  const std::string name = argc > 1 ? argv[1] : "nano";
  const int steps = argc > 2 ? std::atoi(argv[2]) : 5;
  const int threads = argc > 3 ? std::atoi(argv[3]) : ThreadPool::DefaultThreads();
  const int tokens = argc > 4 ? std::atoi(argv[4]) : 2048;
  const std::string wanted_isa = argc > 5 ? argv[5] : IsaName(BestIsa());
  if ((name != "nano" && name != "small" && name != "unit") || steps < 1 || threads < 1 || tokens < 1) {
    std::fprintf(stderr,
                 "usage: trainer_bench [nano|small|unit] [steps] [threads] [tokens] [avx512|avx2|plain]\n");
    return 2;
  }
  const Isa isa = wanted_isa == "avx512" ? Isa::kAvx512 : wanted_isa == "avx2" ? Isa::kAvx2 : Isa::kPlain;
  if (!IsaSupported(isa)) {
    std::fprintf(stderr, "this processor cannot run %s\n", wanted_isa.c_str());
    return 2;
  }
  const ModelConfig config = name == "nano" ? NanoConfig() : name == "small" ? SmallConfig() : UnitConfig();
  constexpr int kDocument = 256, kTopK = 32;
  std::vector<int> documents;
  for (int left = tokens; left > 0; left -= kDocument) documents.push_back(std::min(left, kDocument));
  PackedBatch batch = RandomBatch(config, documents, kTopK, 1);
  batch.weights.assign(batch.tokens.size(), 1.0f);  // every position learns: the most expensive case

  ThreadPool pool(threads);
  Scratch scratch(threads);
  const Compute compute = {&pool, &scratch, isa};
  Model model(config, pool, isa);
  ParameterSet parameters(model.layout());
  InitializeParameters(1, &parameters);
  Gradients gradients(model.layout());
  AdamW optimizer(model.layout(), {}, pool, isa);
  double total = 0, best = 1e30, peak = 0, optimizer_seconds = 0, loss = 0;
  for (int step = -1; step < steps; ++step) {  // the first one only touches the memory
    peak = std::max(peak, MeasurePeak(compute));
    const double start = Seconds();
    gradients.SetZero();
    const BatchResult result = model.AccumulateGradients(parameters, batch, {}, 1.0 / tokens, &gradients);
    const double middle = Seconds();
    optimizer.Step(&parameters, gradients, 1e-3);
    UpdateExpertBias(result.expert_counts, 1e-3, &parameters);
    loss = result.loss;
    if (step < 0) continue;
    total += Seconds() - start;
    best = std::min(best, Seconds() - start);
    optimizer_seconds += Seconds() - middle;
  }
  const double flops = TrainingFlopsPerToken(config, (kDocument + 1) / 2.0);
  const double rate = tokens * steps / total;
  const double ceiling = peak / flops;
  std::printf(
      "{\"benchmark\":\"trainer\",\"shape\":\"%s\",\"isa\":\"%s\",\"threads\":%d,\"tokens_per_step\":%d,"
      "\"steps\":%d,"
      "\"top_k\":%d,\"tokens_per_second\":%.0f,\"best_step_tokens_per_second\":%.0f,\"optimizer_share\":%.3f,"
      "\"mflop_per_token\":%.1f,\"gemm_peak_gflops\":%.1f,\"gemm_only_tokens_per_second\":%.0f,\"ratio\":%."
      "3f,"
      "\"last_loss\":%.6f}\n",
      name.c_str(), IsaName(isa), threads, tokens, steps, kTopK, rate, tokens / best,
      optimizer_seconds / total, flops / 1e6, peak / 1e9, ceiling, rate / ceiling, loss);
  return 0;
}
