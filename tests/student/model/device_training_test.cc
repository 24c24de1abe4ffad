// Whole training steps on the device, by the rig of tests/cuda_on_cpu, beside the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "student/device/cpu_backend.h"
#include "student/model/memory_plan.h"
#include "tests/cuda_on_cpu/rig.h"
#include "tests/student/device/forwarding_backend.h"
#include "tests/student/model/learner_on_device.h"

namespace retort::student {
namespace {

constexpr int kSteps = 50;

// Keeps what the router decided, and by how much, token by token.
class RouteWatcher final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  void Route(const RouterShape& shape, const float* logits, const float* bias, std::int64_t tokens,
             const Routing& routing) override {
    ForwardingBackend::Route(shape, logits, bias, tokens, routing);
    const std::size_t first = chosen.size();
    chosen.resize(first + tokens * shape.per_token);
    std::vector<float> scores(tokens * shape.experts), biases(shape.experts);
    Download(routing.chosen, tokens * shape.per_token * 4, chosen.data() + first);
    Download(routing.scores, tokens * shape.experts * 4, scores.data());
    Download(bias, shape.experts * 4, biases.data());
    Finish();
    for (std::int64_t t = 0; t < tokens; ++t)
      margins.push_back(Margin(shape, scores.data() + t * shape.experts, biases));
  }

  std::vector<std::int32_t> chosen;  // [routed tokens, K]
  std::vector<float> margins;        // [routed tokens]

 private:
  // Between the last score chosen and the first that is not; without a group limit (UnitConfig has none
  // here).
  static float Margin(const RouterShape& shape, const float* scores, const std::vector<float>& bias) {
    std::vector<float> choice(shape.experts);
    for (int e = 0; e < shape.experts; ++e) choice[e] = scores[e] + bias[e];
    std::sort(choice.rbegin(), choice.rend());
    return shape.per_token == shape.experts ? 1.0f : choice[shape.per_token - 1] - choice[shape.per_token];
  }
};

ModelConfig Ungrouped() {
  ModelConfig config = UnitConfig();
  config.expert_groups = config.expert_groups_per_token = 1;
  return config;
}

double Loss(const LearnedStep& step) {
  return step.mixed_sum / step.valid_tokens;
}

double PredictionLoss(const LearnedStep& step) {
  return step.prediction_tokens == 0 ? 0 : step.prediction_ce_sum / step.prediction_tokens;
}

void FollowTheCpu(const ModelConfig& config, int steps) {
  const auto layout = ParameterLayout::Create(config);
  ThreadPool pool(1);
  const TrainingState start = StartState(layout, 7);
  auto cpu_watch = std::make_unique<RouteWatcher>(MakeCpuBackend(pool, Isa::kPlain));
  auto device_watch = std::make_unique<RouteWatcher>(OpenOrFail(Element::kF32));
  RouteWatcher &cpu_routes = *cpu_watch, &device_routes = *device_watch;
  LearnerOnDevice cpu(layout, std::move(cpu_watch)), device(layout, std::move(device_watch));
  ASSERT_TRUE(cpu.learner().Load(&start));
  ASSERT_TRUE(device.learner().Load(&start));
  double worst = 0, worst_share = 0, first_loss = 0, last_loss = 0;
  std::int64_t tokens = 0, decided = 0;
  const int per_token = layout->config().experts_per_token;
  for (int step = 0; step < steps; ++step) {
    cpu_routes.chosen.clear(), cpu_routes.margins.clear();
    device_routes.chosen.clear(), device_routes.margins.clear();
    const LearnedStep a = cpu.Step(step), b = device.Step(step);
    const double error = std::abs(Loss(a) - Loss(b)), bound = LossBound(layout->config(), 0, step);
    ASSERT_LE(error, bound) << "step " << step;  // not so with a NaN either
    ASSERT_LE(std::abs(a.gradient_norm - b.gradient_norm), bound * a.gradient_norm) << "step " << step;
    ASSERT_LE(std::abs(a.balance - b.balance), bound * a.balance) << "step " << step;
    ASSERT_EQ(a.prediction_tokens, b.prediction_tokens);
    ASSERT_LE(std::abs(PredictionLoss(a) - PredictionLoss(b)), bound) << "step " << step;
    worst = std::max(worst, error);
    worst_share = std::max(worst_share, error / bound);
    if (step % 5 == 0) (step == 0 ? first_loss : last_loss) = Loss(b);  // of the same batches
    ASSERT_EQ(cpu_routes.chosen.size(), device_routes.chosen.size());
    for (std::size_t t = 0; t < cpu_routes.margins.size(); ++t) {
      ++tokens;
      if (cpu_routes.margins[t] <= bound) continue;
      ++decided;
      for (int k = 0; k < per_token; ++k) {
        ASSERT_EQ(cpu_routes.chosen[t * per_token + k], device_routes.chosen[t * per_token + k])
            << "step " << step << " token " << t << " margin " << cpu_routes.margins[t];
      }
    }
  }
  EXPECT_LT(last_loss, first_loss - 0.05);  // it does learn
  EXPECT_GT(decided, tokens / 2);           // the bound leaves something to compare
  std::printf(
      "%d steps, %d modules of multi-token prediction: worst loss error %.3g, %.2g of the bound; %lld of "
      "%lld routings decided by more than the "
      "bound\n",
      steps, config.prediction_layers, worst, worst_share, static_cast<long long>(decided),
      static_cast<long long>(tokens));
}

TEST(DeviceTrainingTest, FiftyStepsFollowTheCpu) {
  FollowTheCpu(Ungrouped(), kSteps);
}

TEST(DeviceTrainingTest, TwentyStepsOfMultiTokenPredictionFollowTheCpu) {
  ModelConfig config = Ungrouped();
  config.prediction_layers = 2;
  FollowTheCpu(config, 20);
}

// In bf16 the losses stay near those of fp32, and the masters learn.
TEST(DeviceTrainingTest, Bf16FollowsWithinItsBound) {
  const auto layout = ParameterLayout::Create(UnitConfig());
  ThreadPool pool(1);
  const TrainingState start = StartState(layout, 7);
  LearnerOnDevice cpu(layout, MakeCpuBackend(pool, Isa::kPlain)), device(layout, OpenOrFail(Element::kBf16));
  ASSERT_TRUE(cpu.learner().Load(&start));
  ASSERT_TRUE(device.learner().Load(&start));
  double worst = 0;
  for (int step = 0; step < 10; ++step) {
    const LearnedStep a = cpu.Step(step), b = device.Step(step);
    const double error = std::abs(Loss(a) - Loss(b));
    ASSERT_LE(error, LossBound(layout->config(), 0x1p-8, step)) << "step " << step;
    EXPECT_GT(error, 1e-7) << "bf16 rounds somewhere";
    worst = std::max(worst, error);
  }
  std::printf("bf16, 10 steps: worst loss error %.3g, bound %.3g to %.3g\n", worst,
              LossBound(layout->config(), 0x1p-8, 0), LossBound(layout->config(), 0x1p-8, 9));
}

struct Trained {
  std::vector<double> losses;
  std::vector<float> weights;
  bool operator==(const Trained&) const = default;
};

Trained Train(int steps, std::unique_ptr<Backend> backend, bool recompute = false,
              int prediction_layers = 0) {
  ModelConfig config = UnitConfig();
  config.prediction_layers = prediction_layers;
  const auto layout = ParameterLayout::Create(config);
  const TrainingState start = StartState(layout, 3);
  LearnerOnDevice device(layout, std::move(backend), recompute);
  EXPECT_TRUE(device.learner().Load(&start));
  Trained run;
  for (int step = 0; step < steps; ++step) run.losses.push_back(Loss(device.Step(step)));
  const TrainingState* state = device.learner().Read();
  EXPECT_NE(state, nullptr);
  run.weights.assign(state->weights.storage().begin(), state->weights.storage().end());
  return run;
}

Trained Train(int steps, Element element, bool recompute = false, int prediction_layers = 0) {
  return Train(steps, OpenOrFail(element), recompute, prediction_layers);
}

TEST(DeviceTrainingTest, TheSameRunTwiceGivesTheSameBits) {
  for (const Element element : {Element::kF32, Element::kBf16})
    EXPECT_EQ(Train(3, element, false, 1), Train(3, element, false, 1));
}

// A missing dependency between copies, kernels and the host shows as other bits.
TEST(DeviceTrainingTest, StreamsThatRunLateChangeNothing) {
  using cuda_on_cpu::SetStreamOrder;
  using cuda_on_cpu::StreamOrder;
  SetStreamOrder(StreamOrder::kEager);
  const auto train = [] { return Train(2, Element::kF32, false, 1); };
  const Trained eager = train();
  SetStreamOrder(StreamOrder::kLate);
  EXPECT_EQ(train(), eager);
  SetStreamOrder(StreamOrder::kShuffled, 17);
  EXPECT_EQ(train(), eager);
  SetStreamOrder(StreamOrder::kLate);
}

TEST(DeviceTrainingTest, RecomputedActivationsAreTheSame) {
  EXPECT_EQ(Train(2, Element::kF32, true), Train(2, Element::kF32, false));
  EXPECT_EQ(Train(2, Element::kBf16, true), Train(2, Element::kBf16, false));
  EXPECT_EQ(Train(1, Element::kF32, true, 2), Train(1, Element::kF32, false, 2));
  EXPECT_EQ(Train(1, Element::kBf16, true, 2), Train(1, Element::kBf16, false, 2));
}

// One wait per routed layer and micro-batch, two for what is reported and done; nothing waits unasked.
TEST(DeviceTrainingTest, AStepWaitsOnlyWhereItMust) {
  const auto layout = ParameterLayout::Create(UnitConfig());
  const TrainingState start = StartState(layout, 3);
  LearnerOnDevice device(layout, OpenOrFail(Element::kF32));
  ASSERT_TRUE(device.learner().Load(&start));
  const cuda_on_cpu::HostWaits before = cuda_on_cpu::CountHostWaits();
  device.Step(0);
  const cuda_on_cpu::HostWaits after = cuda_on_cpu::CountHostWaits();
  EXPECT_EQ(after.hidden, before.hidden);
  EXPECT_EQ(after.asked - before.asked, 2u * static_cast<unsigned>(layout->config().moe_layers()) + 2);
}

// Takes the segments away: every call goes to the stream by itself.
class Uncaptured final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;
  void BeginSegments() override {}
  void EndSegments() override {}
};

// The batches of each step are other ones of the same shapes.
TEST(DeviceTrainingTest, StepsOfGraphsHaveTheBitsOfThoseWithout) {
  for (const Element element : {Element::kF32, Element::kBf16}) {
    const std::uint64_t graphs = cuda_on_cpu::CountGraphLaunches();
    const Trained plain = Train(5, std::make_unique<Uncaptured>(OpenOrFail(element)));
    EXPECT_EQ(cuda_on_cpu::CountGraphLaunches(), graphs);
    EXPECT_EQ(Train(5, element), plain);
    EXPECT_GT(cuda_on_cpu::CountGraphLaunches(), graphs);
  }
  const Trained plain = Train(4, std::make_unique<Uncaptured>(OpenOrFail(Element::kF32)), true, 1);
  EXPECT_EQ(Train(4, Element::kF32, true, 1), plain);
  cuda_on_cpu::SetStreamOrder(cuda_on_cpu::StreamOrder::kShuffled, 23);
  EXPECT_EQ(Train(4, Element::kF32, true, 1), plain);
  cuda_on_cpu::SetStreamOrder(cuda_on_cpu::StreamOrder::kLate);
}

TEST(DeviceTrainingTest, AStepThatComesAgainIsMostlyGraphs) {
  const auto layout = ParameterLayout::Create(UnitConfig());
  const TrainingState start = StartState(layout, 3);
  LearnerOnDevice device(layout, OpenOrFail(Element::kF32));
  ASSERT_TRUE(device.learner().Load(&start));
  std::uint64_t launches[4], graphs[4];
  for (int step = 1; step <= 4; ++step) {  // one micro-batch each
    const std::uint64_t launches_before = cuda_on_cpu::CountLaunches();
    const std::uint64_t graphs_before = cuda_on_cpu::CountGraphLaunches();
    device.Step(step);
    launches[step - 1] = cuda_on_cpu::CountLaunches() - launches_before;
    graphs[step - 1] = cuda_on_cpu::CountGraphLaunches() - graphs_before;
  }
  EXPECT_EQ(graphs[0], 0u);
  EXPECT_EQ(launches[1], launches[0]);  // into the captures
  EXPECT_GT(graphs[1], 0u);
  EXPECT_EQ(graphs[2], graphs[1]);
  EXPECT_EQ(launches[3], launches[2]);
  EXPECT_EQ(graphs[3], graphs[2]);
  EXPECT_LT(launches[2] * 4, launches[0]);
  std::printf("a step: %llu kernels launched singly; as graphs, %llu and %llu graphs\n",
              static_cast<unsigned long long>(launches[0]), static_cast<unsigned long long>(launches[2]),
              static_cast<unsigned long long>(graphs[2]));
}

TEST(DeviceTrainingTest, ADeviceThatVanishesIsToldOnce) {
  const auto layout = ParameterLayout::Create(UnitConfig());
  const TrainingState start = StartState(layout, 3);
  LearnerOnDevice device(layout, OpenOrFail(Element::kF32));
  ASSERT_TRUE(device.learner().Load(&start));
  device.Step(0);
  cuda_on_cpu::FailDevice(46);  // cudaErrorDevicesUnavailable
  const std::vector<PackedBatch> batches = BatchesOfStep(layout->config(), 1);
  EXPECT_FALSE(device.learner().Step(batches, {}).ok);
  const std::string reason = device.backend().failure();
  EXPECT_NE(reason.find("cuda:0"), std::string::npos) << reason;
  EXPECT_NE(reason.find("(46)"), std::string::npos) << reason;
  EXPECT_EQ(device.learner().Read(), nullptr);
  EXPECT_EQ(device.backend().failure(), reason);  // the first one stays
  cuda_on_cpu::FailDevice(0);
}

TEST(DeviceTrainingTest, WhatIsPredictedIsWhatIsTaken) {
  const PassLimits limits = {.positions = 16, .rows = 16, .documents = 3, .teacher_k = 4};
  const RankPlace alone = {{1, 1}, 0};
  const cuda_on_cpu::Objects before = cuda_on_cpu::CountObjects();
  const auto compare = [&](Element element, bool recompute, int prediction_layers) {
    ModelConfig config = UnitConfig();
    config.prediction_layers = prediction_layers;
    const auto layout = ParameterLayout::Create(config);
    auto backend = OpenOrFail(element);
    const std::size_t open = cuda_on_cpu::CountObjects().device_bytes;
    const MemoryPlan plan = PlanMemory(layout, *backend, limits, recompute, alone);
    LearnerOnDevice device(layout, std::move(backend), recompute);
    const std::int64_t taken = static_cast<std::int64_t>(cuda_on_cpu::CountObjects().device_bytes - open);
    EXPECT_EQ(taken, plan.total());
    return taken;
  };
  for (const Element element : {Element::kF32, Element::kBf16}) {
    for (const bool recompute : {false, true}) {
      EXPECT_LT(compare(element, recompute, 0), compare(element, recompute, 2));
    }
  }
  EXPECT_EQ(cuda_on_cpu::Describe(cuda_on_cpu::CountObjects()), cuda_on_cpu::Describe(before))
      << "left behind";
}

TEST(DeviceTrainingTest, MemoryIsPlannedOrRefusedWithNumbers) {
  const auto layout = ParameterLayout::Create(NanoConfig());
  const PassLimits limits = {.positions = 2048, .rows = 2048, .documents = 16, .teacher_k = 32};
  const RankPlace alone = {{1, 1}, 0};
  MemoryPlan plan;
  std::string problem;
  const auto choose = [&](std::int64_t bytes, Recompute recompute) {
    cuda_on_cpu::SetDeviceMemory(static_cast<std::size_t>(bytes));
    const auto backend = OpenOrFail(Element::kBf16);
    return ChoosePlan(layout, *backend, limits, recompute, alone, &plan, &problem);
  };
  constexpr std::int64_t kGiB = std::int64_t{1} << 30;
  ASSERT_TRUE(choose(64 * kGiB, Recompute::kWhenNeeded));
  EXPECT_FALSE(plan.recompute);
  const std::int64_t whole = plan.total();
  ASSERT_TRUE(choose(64 * kGiB, Recompute::kAlways));
  EXPECT_TRUE(plan.recompute);
  EXPECT_LT(plan.total(), whole);
  // Between the two: recomputation is chosen, unless it is forbidden.
  const std::int64_t between = (plan.total() + whole) / 2 + (std::int64_t{64} << 20);
  ASSERT_TRUE(choose(between, Recompute::kWhenNeeded)) << problem;
  EXPECT_TRUE(plan.recompute);
  EXPECT_FALSE(choose(between, Recompute::kNever));
  EXPECT_FALSE(choose(kGiB / 8, Recompute::kWhenNeeded));
  for (const char* word :
       {"cuda:0", "too little memory", "weights", "activations", "128 MiB", "computed twice"}) {
    EXPECT_NE(problem.find(word), std::string::npos) << problem;
  }
  cuda_on_cpu::SetDeviceMemory(std::size_t{4} << 30);
}

}  // namespace
}  // namespace retort::student
