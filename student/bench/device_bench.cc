// How close the student comes to what a device can do. Measures the device's two ceilings, then every
// operator of the training step beside them, then whole steps. A table goes to standard error, one line of
// JSON to standard output.
//
//   device_bench [--device=auto|cpu|cuda[:n]] [--compute=bf16|fp32] [--shape=unit|nano|small|large]
//   [--tokens=N]
//                [--document=N] [--steps=N] [--milliseconds=N] [--ceiling=N] [--skip-operators]
//
// --tokens of one step, cut into documents of --document tokens; --steps=0 measures none; --milliseconds for
// each measurement; --ceiling is the side of the square product that is taken for the ceiling.
//
// Exit status: 0; 1 when the device failed or has too little memory; 2 for a wrong argument; 77 when there is
// no such device here.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "student/bench/report.h"
#include "student/bench/shapes.h"
#include "student/device/device.h"
#include "student/threads/thread_pool.h"

namespace retort::student {
namespace {

constexpr int kNoDevice = 77;  // ctest shows it as skipped

struct Options {
  std::string device = "auto";
  std::string compute;  // empty: bf16 on CUDA, fp32 on the CPU
  std::string shape = "nano";
  BatchShape batch = {.tokens = 2048, .document = 512, .teacher_k = 32};
  std::int64_t steps = 5;         // 0: none are measured
  double seconds = 0.1;           // for each measurement
  std::int64_t ceiling_size = 0;  // 0: as the device is
  bool operators = true;
};

bool ParseCount(const char* text, std::int64_t max, std::int64_t* value) {
  char* end = nullptr;
  errno = 0;
  *value = std::strtoll(text, &end, 10);
  return errno == 0 && end != text && *end == '\0' && *value >= 1 && *value <= max;
}

// Whether `argument` is --name=…; then *value is what follows.
bool Take(std::string_view argument, std::string_view name, std::string* value) {
  if (!argument.starts_with(name) || argument.substr(name.size(), 1) != "=") return false;
  *value = argument.substr(name.size() + 1);
  return true;
}

// The empty string, or what is wrong.
std::string Parse(int argc, char** argv, Options* options) {
  const auto count = [](const std::string& text, std::int64_t max, std::int64_t* value) -> std::string {
    if (ParseCount(text.c_str(), max, value)) return "";
    return "saw '" + text + "', wanted a whole number from 1 to " + std::to_string(max);
  };
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    std::string value, wrong;
    std::int64_t milliseconds = 0;
    if (Take(argument, "--device", &options->device)) {
    } else if (Take(argument, "--compute", &options->compute)) {
      if (options->compute != "bf16" && options->compute != "fp32") {
        wrong = "saw '" + options->compute + "', wanted bf16 or fp32";
      }
    } else if (Take(argument, "--shape", &options->shape)) {
      if (!ShapeNamed(options->shape))
        wrong = "saw '" + options->shape + "', wanted unit, nano, small or large";
    } else if (Take(argument, "--tokens", &value)) {
      wrong = count(value, 1 << 24, &options->batch.tokens);
    } else if (Take(argument, "--document", &value)) {
      std::int64_t document = 0;
      wrong = count(value, 1 << 20, &document);
      options->batch.document = static_cast<int>(document);
    } else if (Take(argument, "--steps", &value)) {
      wrong = value == "0" ? "" : count(value, 10000, &options->steps);
      if (value == "0") options->steps = 0;
    } else if (Take(argument, "--milliseconds", &value)) {
      wrong = count(value, 60000, &milliseconds);
      options->seconds = static_cast<double>(milliseconds) / 1e3;
    } else if (Take(argument, "--ceiling", &value)) {
      wrong = count(value, 1 << 16, &options->ceiling_size);
    } else if (argument == "--skip-operators") {
      options->operators = false;
    } else {
      return std::string(argument) + ": not known; see the head of student/bench/device_bench.cc";
    }
    if (!wrong.empty()) return std::string(argument.substr(0, argument.find('='))) + ": " + wrong;
  }
  const ModelConfig config = *ShapeNamed(options->shape);
  if (options->batch.document > config.context) {
    return "--document: saw " + std::to_string(options->batch.document) +
           ", wanted at most the context of the shape, " + std::to_string(config.context);
  }
  return "";
}

int Main(int argc, char** argv) {
  Options options;
  if (const std::string wrong = Parse(argc, argv, &options); !wrong.empty()) {
    std::fprintf(stderr, "device_bench: %s\n", wrong.c_str());
    return 2;
  }
  const ModelConfig config = *ShapeNamed(options.shape);
  const DeviceChoice choice = ChooseDevice(options.device, DefaultCudaLibrary());
  std::fprintf(stderr, "device_bench: %s\n", choice.reason.c_str());
  if (!choice.ok) return kNoDevice;
  ThreadPool pool(ThreadPool::DefaultThreads());
  const bool bf16 = options.compute.empty() ? choice.device != "cpu" : options.compute == "bf16";
  std::string problem;
  const std::unique_ptr<Backend> backend = OpenDevice(choice, {.pool = &pool, .bf16 = bf16}, &problem);
  if (backend == nullptr) {
    std::fprintf(stderr, "device_bench: %s\n", problem.c_str());
    return 1;
  }

  Report report = {
      .shape = options.shape, .config = config, .batch = options.batch, .device = backend->description()};
  const bool host = report.device.kind == "cpu";
  const std::int64_t size = options.ceiling_size > 0 ? options.ceiling_size : host ? 1024 : 8192;
  report.ceilings = MeasureCeilings(*backend, size, options.seconds);
  report.stated_peak = StatedPeak(report.device);
  if (options.operators)
    report.operators = MeasureOperators(*backend, config, options.batch, options.seconds);
  if (options.steps > 0) {
    report.step = MeasureTrainingStep(*backend, config, options.batch, static_cast<int>(options.steps));
  }
  PrintTable(report, stderr);
  PrintJson(report, stdout);
  return 0;
}

}  // namespace
}  // namespace retort::student

int main(int argc, char** argv) {
  return retort::student::Main(argc, argv);
}
