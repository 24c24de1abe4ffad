#include <algorithm>
#include <cstring>
#include <limits>

#include "student/model/parameters.h"
#include "student/optimizer/adamw.h"
#include "student/optimizer/expert_bias.h"
#include "student/threads/thread_pool.h"
#include "tests/student/device_ops/table.h"

namespace retort::student {
namespace {

constexpr double kRoundings = 16;
constexpr AdamWOptions kOptions = {};

AdamWStep StepWith(double learning_rate, std::int64_t steps_taken) {
  AdamWStep step;
  std::memset(&step, 0, sizeof(step));
  step.learning_rate = learning_rate;
  step.steps_taken = steps_taken;
  return step;
}

struct Optimized {
  std::vector<float> parameters, first, second;
  std::vector<Bf16> rounded;
  AdamWStep step;
  Outputs outputs() const {
    return {Doubles(parameters),
            Doubles(first),
            Doubles(second),
            Doubles(rounded),
            {step.norm, static_cast<double>(step.steps_taken), static_cast<double>(step.applied)}};
  }
};

// `steps` device steps with the same gradients.
Optimized RunDevice(const AdamWPlan& plan, const AdamWOptions& options, const std::vector<float>& gradients,
                    const std::vector<float>& parameters, const AdamWStep& before, int steps, bool rounded) {
  DeviceArray<AdamWLeaf> leaves(plan.leaves);
  DeviceArray<std::int32_t> tensor_leaves(plan.tensor_leaves);
  DeviceArray<float> device_gradients(gradients), device_parameters(parameters),
      first(std::vector<float>(parameters.size(), 0.0f)), second(std::vector<float>(parameters.size(), 0.0f));
  DeviceArray<Bf16> copy(std::vector<Bf16>(parameters.size(), Bf16{0}));
  DeviceArray<double> workspace(plan.leaves.size());
  DeviceArray<AdamWStep> step(std::vector<AdamWStep>{before});
  const DeviceAdamW tensors = {leaves.data(),
                               tensor_leaves.data(),
                               static_cast<std::int32_t>(plan.leaves.size()),
                               static_cast<std::int32_t>(plan.tensor_leaves.size()) - 1,
                               device_gradients.data(),
                               device_parameters.data(),
                               rounded ? copy.data() : nullptr,
                               first.data(),
                               second.data(),
                               workspace.data(),
                               step.data()};
  for (int i = 0; i < steps; ++i) {
    GlobalNorm(TestStream(), tensors);
    StepAdamW(TestStream(), options, tensors);
  }
  return {device_parameters.Read(), first.Read(), second.Read(), copy.Read(), step.Read()[0]};
}

ModelConfig OddConfig() {
  ModelConfig config = UnitConfig();
  config.vocabulary = 517;
  return config;
}

// Against the CPU's optimiser on a whole layout: the norm bit for bit, the step within the bound.
void LayoutCases(Table* table) {
  const auto layout = ParameterLayout::Create(OddConfig());
  ThreadPool pool(2);
  const AdamWPlan plan = PlanAdamW(*layout);
  ParameterSet start(layout);
  InitializeParameters(3, &start);
  const std::vector<float> parameters(start.storage().begin(), start.storage().end());
  for (const double scale : {1e-4, 1.0}) {  // below and above the clip
    Gradients gradients(layout);
    for (int i = 0; i < static_cast<int>(layout->tensors().size()); ++i) {
      const auto numbers = Numbers<float>(layout->tensors()[i].size, i, scale);
      std::copy(numbers.begin(), numbers.end(), gradients.tensor(i).begin());
    }
    const std::vector<float> gradient_values(gradients.storage().begin(), gradients.storage().end());
    const std::string shape = "gradients of " + std::to_string(scale);
    ParameterSet cpu = start.Clone();
    AdamW optimizer(layout, kOptions, pool, Isa::kPlain);
    constexpr int kSteps = 3;
    for (int i = 0; i < kSteps; ++i) optimizer.Step(&cpu, gradients, 1e-3);

    Optimized device;
    table->Begin("AdamW", "", shape);
    table->Twice([&] {
      device = RunDevice(plan, kOptions, gradient_values, parameters, StepWith(1e-3, 0), kSteps, true);
      return device.outputs();
    });
    Expected theta, first, second;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      // Both sides round, over three steps of at most about the learning rate each.
      const double moved = std::fabs(double{cpu.storage()[i]} - parameters[i]) + kSteps * 1e-3;
      theta.Add<float>(cpu.storage()[i], 2 * kSteps, std::fabs(cpu.storage()[i]));
      theta.bound.back() += 2 * kSteps * kRoundings * kUnit * moved;
      first.Add<float>(optimizer.first_moment().storage()[i], 2 * kSteps * kRoundings,
                       std::fabs(optimizer.first_moment().storage()[i]));
      second.Add<float>(optimizer.second_moment().storage()[i], 2 * kSteps * kRoundings,
                        optimizer.second_moment().storage()[i]);
    }
    table->Compare("parameters", Doubles(device.parameters), theta);
    table->Compare("first moment", Doubles(device.first), first);
    table->Compare("second moment", Doubles(device.second), second);
    table->Require(device.step.steps_taken == kSteps && device.step.applied == 1, "the step was not counted");
    bool rounded = true;
    for (const ParameterInfo& info : layout->tensors()) {
      if (!info.trained()) continue;
      for (std::int64_t i = info.offset; i < info.offset + info.size; ++i)
        rounded = rounded && device.rounded[i].bits == RoundedToBf16(device.parameters[i]).bits;
    }
    table->Require(rounded, "the Bf16 copy is not the rounded parameters");

    table->Begin("GlobalNorm", "", shape);
    table->Require(device.step.norm == GlobalNorm(gradients, pool), "norm differs from the CPU's");
  }
}

// Tensors of odd sizes: one value, around a leaf, many leaves; norm and a first step by hand.
void OddTensorCases(Table* table) {
  AdamWPlan plan = {{}, {0}};
  std::int64_t size = 0;
  for (const int count : {1, 3, 4095, 4096, 4097, 5 * 4096 + 7, 2}) {
    for (int first = 0; first < count; first += 4096)
      plan.leaves.push_back({size + first, std::min(4096, count - first), count % 2});
    plan.tensor_leaves.push_back(static_cast<std::int32_t>(plan.leaves.size()));
    size += (count + 15) / 16 * 16;
  }
  table->Begin("AdamW", "", "odd tensors");
  // Values between tensors must be left alone, and not counted.
  std::vector<float> gradients = Numbers<float>(size, 1), parameters = Numbers<float>(size, 2);
  std::vector<bool> owned(size, false), decays(size, false);
  double squares = 0;
  for (const AdamWLeaf& leaf : plan.leaves) {
    for (int i = 0; i < leaf.count; ++i) {
      owned[leaf.offset + i] = true;
      decays[leaf.offset + i] = leaf.decays != 0;
      squares += double{gradients[leaf.offset + i]} * gradients[leaf.offset + i];
    }
  }
  const double norm = std::sqrt(squares), learning_rate = 1e-2;
  const AdamWStep before = StepWith(learning_rate, 9);
  Optimized device;
  table->Twice([&] {
    device = RunDevice(plan, kOptions, gradients, parameters, before, 1, false);
    return device.outputs();
  });
  table->Require(std::fabs(device.step.norm - norm) <= 1e-12 * norm, "norm differs");
  table->Require(device.step.steps_taken == 10, "steps are not counted on");
  Expected theta;
  for (std::int64_t i = 0; i < size; ++i) {
    if (!owned[i]) {
      theta.AddExact(parameters[i]);
      continue;
    }
    const double g = gradients[i] / norm;  // clipped to 1
    const double m = (1 - kOptions.beta1) * g / (1 - std::pow(kOptions.beta1, 10));
    const double v = (1 - kOptions.beta2) * g * g / (1 - std::pow(kOptions.beta2, 10));
    const double step = learning_rate * (m / (std::sqrt(v) + kOptions.epsilon) +
                                         (decays[i] ? kOptions.weight_decay * parameters[i] : 0.0));
    theta.Add<float>(parameters[i] - step, 2, std::fabs(parameters[i]));
    // 1 - beta is a difference of fp32 numbers: as exact as beta is, times 1 / (1 - beta) = 20.
    theta.bound.back() += 20 * kRoundings * kUnit * std::fabs(learning_rate);
  }
  table->Compare("parameters", Doubles(device.parameters), theta);
}

void NotFiniteCases(Table* table) {
  const AdamWPlan plan = {{{0, 40, 1}}, {0, 1}};
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    table->Begin("AdamW", "", "a gradient that is not finite");
    auto gradients = Numbers<float>(40, 1);
    const auto parameters = Numbers<float>(40, 2);
    gradients[33] = bad;
    const Optimized device = RunDevice(plan, kOptions, gradients, parameters, StepWith(1e-2, 4), 1, true);
    table->Require(device.parameters == parameters, "parameters changed");
    table->Require(device.first == std::vector<float>(40, 0.0f) && device.second == device.first,
                   "moments changed");
    table->Require(
        std::all_of(device.rounded.begin(), device.rounded.end(), [](Bf16 x) { return x.bits == 0; }),
        "the copy changed");
    table->Require(
        device.step.steps_taken == 4 && device.step.applied == 0 && !std::isfinite(device.step.norm),
        "the step counts as done");
  }
}

void ExpertBiasCases(Table* table) {
  for (const int experts : {1, 4, 300}) {
    for (const bool applied : {true, false}) {
      table->Begin("UpdateExpertBias", "", std::to_string(experts) + (applied ? "" : ", step not applied"));
      std::vector<std::int64_t> loads(experts);
      std::int64_t total = 0;
      for (int e = 0; e < experts; ++e)
        total += loads[e] = (std::int64_t{1} << 33) + (e % 3 == 0 ? 0 : e % 2 * 2 - 1);
      const auto bias = Numbers<float>(experts, 1);
      AdamWStep step = StepWith(0, 0);
      step.expert_bias_rate = 1e-3;
      step.applied = applied ? 1 : 0;
      Expected expected;
      for (int e = 0; e < experts; ++e) {
        const std::int64_t difference = total - experts * loads[e];
        float value = bias[e];
        if (applied && difference > 0) value += static_cast<float>(1e-3);
        if (applied && difference < 0) value -= static_cast<float>(1e-3);
        expected.AddExact(value);
      }
      table->Compare("bias", table->Twice([&] {
        DeviceArray<std::int64_t> device_loads(loads);
        DeviceArray<AdamWStep> device_step(std::vector<AdamWStep>{step});
        DeviceArray<float> device_bias(bias);
        UpdateExpertBias(TestStream(), device_loads.data(), experts, device_step.data(), device_bias.data());
        return Outputs{device_bias.Doubles()};
      })[0],
                     expected);
    }
  }
}

}  // namespace

void RunOptimizerCases(Table* table) {
  LayoutCases(table);
  OddTensorCases(table);
  NotFiniteCases(table);
  ExpertBiasCases(table);
}

}  // namespace retort::student
