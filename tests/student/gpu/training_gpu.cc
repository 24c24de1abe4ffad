// A student trained for a few steps on the device and on the CPU: the same losses within what the arithmetic
// allows, and, run again on the device, the same bits. Prints a line for each case; 0: all hold, 1: not, 77:
// no device.
//
//   training_gpu [--quick]   # one case and few steps, where a device is slow
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "student/bench/training_step.h"
#include "student/device/device.h"
#include "student/threads/thread_pool.h"

namespace retort::student {
namespace {

constexpr int kSteps = 10;
// Of the loss. In fp32 the products of the experts' gradients are rounded to TF32 (2^-11), and ten steps move
// the loss by a tenth of itself: 5e-5, twenty times over. In bf16 every activation is rounded to 2^-9, and a
// loss is a mean of differences of logits: about 4e-3, five times over.
constexpr double kBoundFp32 = 1e-3, kBoundBf16 = 2e-2;

struct Case {
  BatchShape shape;
  int modules = 0;  // of multi-token prediction
};
constexpr Case kCases[] = {
    {{.tokens = 1, .document = 1, .teacher_k = 4}},      // one token: most experts get none
    {{.tokens = 129, .document = 37, .teacher_k = 0}},   // cross-entropy alone, odd lengths
    {{.tokens = 515, .document = 200, .teacher_k = 8}},  // documents longer than an attention tile
    {{.tokens = 129, .document = 37, .teacher_k = 4}, 2},
};

// The loss after `steps`; ends the program if the device does not open.
double Loss(const DeviceChoice& choice, ThreadPool* pool, bool bf16, const Case& c, int steps) {
  std::string problem;
  const std::unique_ptr<Backend> backend = OpenDevice(choice, {.pool = pool, .bf16 = bf16}, &problem);
  if (backend == nullptr) {
    std::printf("FAILED: %s\n", problem.c_str());
    std::exit(1);
  }
  ModelConfig config = UnitConfig();
  config.prediction_layers = c.modules;
  const StepTime step = MeasureTrainingStep(*backend, config, c.shape, steps);
  if (!step.refusal.empty()) {
    std::printf("FAILED: %s\n", step.refusal.c_str());
    std::exit(1);
  }
  return step.loss;
}

int Main(bool quick) {
  const DeviceChoice cuda = ChooseDevice("cuda", DefaultCudaLibrary());
  std::printf("%s\n", cuda.reason.c_str());
  if (!cuda.ok) return 77;
  ThreadPool pool(ThreadPool::DefaultThreads());
  const int steps = quick ? 1 : kSteps;
  int failed = 0;
  for (const Case& c : std::span(kCases).first(quick ? 1 : std::size(kCases))) {
    const double truth = Loss(ChooseDevice("cpu", ""), &pool, false, c, steps);
    for (const bool bf16 : {false, true}) {
      const double loss = Loss(cuda, &pool, bf16, c, steps), again = Loss(cuda, &pool, bf16, c, steps);
      const double error = std::fabs(loss - truth) / std::fabs(truth), bound = bf16 ? kBoundBf16 : kBoundFp32;
      const bool holds = std::isfinite(loss) && error <= bound && loss == again;
      std::printf(
          "%s: %d steps of %lld tokens, %d modules, %s: loss %.7f, on the CPU %.7f, off by %.1e of %.1e, "
          "again %.7f\n",
          holds ? "ok" : "FAILED", steps, static_cast<long long>(c.shape.tokens), c.modules,
          bf16 ? "bf16" : "fp32", loss, truth, error, bound, again);
      failed += !holds;
    }
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace retort::student

int main(int argc, char** argv) {
  return retort::student::Main(argc > 1 && std::string_view(argv[1]) == "--quick");
}
