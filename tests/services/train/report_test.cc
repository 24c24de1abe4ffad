#include "services/train/report.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "services/train/metrics_file.h"
#include "services/train/peak.h"
#include "services/train/sensors.h"

namespace retort::train {
namespace {

class ReporterTest : public testing::Test {
 protected:
  ReporterTest() {
    config_ = student::UnitConfig();
    instruments_ = PlainInstruments();
    instruments_.seconds = [this] { return now_; };
  }
  student::TrainedStep Step(int64_t number) {
    student::TrainedStep step;
    step.step = number;
    step.loss = 2.5;
    step.tokens = 100;
    step.average_context = 10;
    step.phases = {0.125, 0.5, 1, 0.25, 0};
    step.expert_tokens.assign(static_cast<size_t>(config_.moe_layers() * config_.experts), 10);
    return step;
  }

  double now_ = 50;
  student::ModelConfig config_;
  Instruments instruments_;
};

TEST_F(ReporterTest, WaitsForTheInterval) {
  Reporter reporter(config_, 9, 10, instruments_);
  EXPECT_FALSE(reporter.Due());
  now_ += 20;
  EXPECT_FALSE(reporter.Due()) << "there is no step to report";
  reporter.Add(Step(1));
  EXPECT_TRUE(reporter.Due());
  reporter.Take();
  reporter.Add(Step(2));
  EXPECT_FALSE(reporter.Due());
  now_ += 10;
  EXPECT_TRUE(reporter.Due());
}

TEST_F(ReporterTest, ReportsTheLastStepAtOnce) {
  Reporter reporter(config_, 3, 1000, instruments_);
  reporter.Add(Step(3));
  EXPECT_TRUE(reporter.Due());
}

TEST_F(ReporterTest, AddsUpTheInterval) {
  instruments_.peak_flops_per_second = 1e9;
  Reporter reporter(config_, 9, 10, instruments_);
  student::TrainedStep uneven = Step(1);
  uneven.expert_tokens[0] =
      10 * config_.experts + 10;  // one expert of the first layer takes as much as the rest again
  reporter.Add(uneven);
  student::TrainedStep predicting = Step(2);
  predicting.prediction_loss = 4;
  reporter.Add(predicting);
  reporter.AddCheckpoint(0.75);
  now_ += 4;
  const Report report = reporter.Take();
  EXPECT_EQ(report.step, 2);
  EXPECT_EQ(report.steps, 9);
  EXPECT_EQ(report.loss, 2.5);
  EXPECT_EQ(report.prediction_loss, 4);
  EXPECT_EQ(report.tokens, 200);
  EXPECT_EQ(report.seconds, 4);
  EXPECT_EQ(report.tokens_per_second, 50);
  EXPECT_EQ(report.phases.data, 0.25);
  EXPECT_EQ(report.phases.forward, 1);
  EXPECT_EQ(report.phases.backward, 2);
  EXPECT_EQ(report.phases.optimizer, 0.5);
  EXPECT_EQ(report.checkpoint_seconds, 0.75);
  const double flops = student::TrainingFlopsPerToken(config_, 10) * 50;
  EXPECT_DOUBLE_EQ(report.flops_per_second, flops);
  EXPECT_DOUBLE_EQ(*report.mfu, flops / 1e9);
  ASSERT_EQ(report.expert_load.size(), static_cast<size_t>(config_.moe_layers()));
  const double e = config_.experts;
  EXPECT_DOUBLE_EQ(report.expert_load[0], (10 * e + 20) * e / (30 * e));
  for (size_t i = 1; i < report.expert_load.size(); ++i) EXPECT_EQ(report.expert_load[i], 1);
  EXPECT_GT(report.resident_bytes, 1 << 20);
  EXPECT_EQ(report.energy_source, "none");
  EXPECT_FALSE(report.watts);
  EXPECT_FALSE(report.joules);
  EXPECT_FALSE(report.celsius);
  // And the next one begins at nothing.
  reporter.Add(Step(3));
  now_ += 1;
  const Report next = reporter.Take();
  EXPECT_EQ(next.tokens, 100);
  EXPECT_FALSE(next.prediction_loss);
  EXPECT_EQ(next.checkpoint_seconds, 0);
  EXPECT_EQ(next.expert_load[0], 1);
}

TEST_F(ReporterTest, PowerIsEnergyOverTimeOrTheSensorsWord) {
  uint64_t us = 0;
  const auto energy = student::MakeDeclaredMeter(65'000, [&us] { return us; });
  instruments_.energy = energy.get();
  Reporter reporter(config_, 9, 0, instruments_);
  reporter.Add(Step(1));
  now_ += 2;
  us += 2'000'000;
  Report report = reporter.Take();
  EXPECT_EQ(report.energy_source, "declared");
  EXPECT_DOUBLE_EQ(*report.joules, 130);
  EXPECT_DOUBLE_EQ(*report.watts, 65);
  instruments_.sensors = [] {
    student::NvmlReading reading;
    reading.watts = 350;
    reading.celsius = 61;
    reading.memory_used_bytes = 1 << 30;
    return reading;
  };
  reporter.Add(Step(2));
  now_ += 1;
  report = reporter.Take();
  EXPECT_EQ(report.watts, 350);
  EXPECT_EQ(report.celsius, 61);
  EXPECT_EQ(report.device_memory_bytes, 1 << 30);
}

TEST(MetricsTextTest, IsThePrometheusTextFormat) {
  Report report;
  report.step = 3;
  report.steps = 9;
  report.loss = 1.5;
  report.prediction_loss = 2.25;
  report.tokens = 640;
  report.tokens_per_second = 320.5;
  report.phases.forward = 0.5;
  report.checkpoint_seconds = 0.25;
  report.expert_load = {1.5, 1.25};
  report.resident_bytes = 1000;
  report.energy_source = "none";
  MetricTotals totals;
  totals.attempt = 2;
  totals.device = "a \"quoted\\\" device\n";
  totals.report_time_us = 1'767'323'045'500'000;
  totals.Add(report);
  totals.Add(report);
  const std::string text = MetricsText(report, totals, {{"job", "projects/p/jobs/j"}, {"run", "logits"}});
  const auto has = [&](const std::string& line) { return text.find(line + "\n") != std::string::npos; };
  EXPECT_TRUE(has("# TYPE retort_train_step gauge")) << text;
  EXPECT_TRUE(has("retort_train_step{job=\"projects/p/jobs/j\",run=\"logits\"} 3")) << text;
  EXPECT_TRUE(has("retort_train_prediction_loss{job=\"projects/p/jobs/j\",run=\"logits\"} 2.25")) << text;
  EXPECT_TRUE(has("retort_train_tokens_total{job=\"projects/p/jobs/j\",run=\"logits\"} 1280")) << text;
  EXPECT_TRUE(has("retort_train_tokens_per_second{job=\"projects/p/jobs/j\",run=\"logits\"} 320.5")) << text;
  EXPECT_TRUE(
      has("retort_train_phase_seconds_total{job=\"projects/p/jobs/j\",run=\"logits\",phase=\"forward\"} 1"))
      << text;
  EXPECT_TRUE(has(
      "retort_train_phase_seconds_total{job=\"projects/p/jobs/j\",run=\"logits\",phase=\"checkpoint\"} 0.5"))
      << text;
  EXPECT_TRUE(
      has("retort_train_expert_load_imbalance{job=\"projects/p/jobs/j\",run=\"logits\",layer=\"1\"} 1.25"))
      << text;
  EXPECT_TRUE(
      has("retort_train_info{job=\"projects/p/jobs/j\",run=\"logits\",attempt=\"2\","
          "device=\"a \\\"quoted\\\\\\\" device?\",energy_source=\"none\"} 1"))
      << text;
  EXPECT_TRUE(
      has("retort_train_report_timestamp_seconds{job=\"projects/p/jobs/j\",run=\"logits\"} 1767323045.5"))
      << text;
  for (const char* absent : {"watts", "celsius", "mfu", "joules", "peak", "device_memory"}) {
    EXPECT_EQ(text.find(absent), std::string::npos) << absent;
  }
  EXPECT_EQ(text.back(), '\n');
}

TEST(MetricsFileTest, ReplacesAndRemoves) {
  const std::string path = testing::TempDir() + "metrics_" + std::to_string(getpid()) + ".prom";
  {
    MetricsFile file(path);
    ASSERT_TRUE(file.Write("one\n").ok());
    ASSERT_TRUE(file.Write("two\n").ok());
    std::ifstream in(path);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "two\n");
    EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  MetricsFile nowhere("/nowhere/metrics.prom");
  EXPECT_EQ(nowhere.Write("x").code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(MetricsFile("").Write("x").ok());
}

TEST(PeakTest, KnownDevices) {
  EXPECT_EQ(KnownBf16Peak("NVIDIA H100 80GB HBM3"), 989e12);
  EXPECT_EQ(KnownBf16Peak("NVIDIA H100 PCIe"), 756e12);
  EXPECT_EQ(KnownBf16Peak("NVIDIA A100-SXM4-80GB"), 312e12);
  EXPECT_EQ(KnownBf16Peak("NVIDIA L40S"), 362e12);
  EXPECT_EQ(KnownBf16Peak("NVIDIA L4"), 121e12);
  EXPECT_EQ(KnownBf16Peak("NVIDIA A10G"), std::nullopt);
  EXPECT_EQ(KnownBf16Peak("NVIDIA H1000"), std::nullopt);
  EXPECT_EQ(KnownBf16Peak(""), std::nullopt);
}

TEST(PeakTest, MeasuresThisMachine) {
  const double peak = MeasureCpuPeak(1, 0.01);
  EXPECT_GT(peak, 1e6);
  EXPECT_LT(peak, 1e13);
}

class SensorsTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.peak_seconds = 0;
    options_.threads = 2;
    options_.powercap_folder = testing::TempDir() + "sensors_powercap_" + std::to_string(getpid());
    options_.nvml_library = "/nowhere/libnvidia-ml.so.1";
    std::filesystem::remove_all(options_.powercap_folder);
  }
  void TearDown() override { std::filesystem::remove_all(options_.powercap_folder); }
  std::unique_ptr<Sensors> Open() {
    auto sensors =
        Sensors::Open(options_, [this](std::string_view line) { said_ += std::string(line) + "\n"; });
    EXPECT_TRUE(sensors.ok()) << sensors.status();
    return sensors.ok() ? *std::move(sensors) : nullptr;
  }
  void MakeCounter() {
    const std::string zone = options_.powercap_folder + "/intel-rapl:0";
    std::filesystem::create_directories(zone);
    std::ofstream(zone + "/name") << "package-0\n";
    std::ofstream(zone + "/energy_uj") << "1\n";
    std::ofstream(zone + "/max_energy_range_uj") << "1000\n";
  }

  SensorOptions options_;
  std::string said_;
};

TEST_F(SensorsTest, SaysOnceThatNothingMeasures) {
  const auto sensors = Open();
  EXPECT_EQ(sensors->instruments().energy, nullptr);
  EXPECT_EQ(sensors->instruments().device, "cpu, 2 threads");
  EXPECT_NE(said_.find("has no zone of a processor package"), std::string::npos) << said_;
  EXPECT_NE(said_.find("energy is not measured"), std::string::npos) << said_;
}

TEST_F(SensorsTest, PrefersACounterToADeclaration) {
  MakeCounter();
  options_.declared_watts = "65";
  const auto sensors = Open();
  ASSERT_NE(sensors->instruments().energy, nullptr);
  EXPECT_EQ(sensors->instruments().energy->source(), "rapl");
  EXPECT_EQ(sensors->declared_watts(), "");
}

TEST_F(SensorsTest, FallsBackToWhatIsDeclaredAndLabelsIt) {
  options_.declared_watts = "65.50";
  const auto sensors = Open();
  ASSERT_NE(sensors->instruments().energy, nullptr);
  EXPECT_EQ(sensors->instruments().energy->source(), "declared");
  EXPECT_EQ(sensors->declared_watts(), "65.5");
}

// A counter of this machine does not cover devices in another.
TEST_F(SensorsTest, NoCounterForOtherMachines) {
  MakeCounter();
  options_.one_machine = false;
  EXPECT_EQ(Open()->instruments().energy, nullptr);
}

TEST_F(SensorsTest, ADriverThatIsNotThereIsSaidOnce) {
  options_.cuda_device = "0000:17:00.0";
  options_.cuda_name = "NVIDIA H100 PCIe";
  options_.cuda_bf16 = true;
  const auto sensors = Open();
  EXPECT_EQ(sensors->instruments().device, "NVIDIA H100 PCIe");
  EXPECT_EQ(sensors->instruments().peak_flops_per_second, 756e12);
  EXPECT_FALSE(sensors->instruments().sensors);
  EXPECT_NE(said_.find("/nowhere/libnvidia-ml.so.1"), std::string::npos) << said_;
}

// The fake driver shows two boards, and one has this bus id whatever their order is.
TEST_F(SensorsTest, FindsTheBoardByItsBusId) {
  options_.nvml_library = FAKE_NVML;
  options_.cuda_device = "0000:17:00.0";
  const auto sensors = Open();
  ASSERT_NE(sensors->instruments().energy, nullptr) << said_;
  EXPECT_EQ(sensors->instruments().energy->source(), "nvml");
  ASSERT_TRUE(sensors->instruments().sensors);
  EXPECT_EQ(sensors->instruments().sensors().celsius, 61);
  options_.devices = 2;  // the other process has a board of its own
  EXPECT_EQ(Open()->instruments().energy, nullptr);
  options_.devices = 1;
  options_.cuda_device = "0000:65:00.0";
  EXPECT_EQ(Open()->instruments().energy, nullptr);
  EXPECT_NE(said_.find("device 0000:65:00.0: NVML error 6"), std::string::npos) << said_;
}

TEST_F(SensorsTest, RefusesWattsThatAreNone) {
  for (const char* watts : {"0", "-5", "many", "0.0001"}) {
    options_.declared_watts = watts;
    EXPECT_EQ(Sensors::Open(options_, [](std::string_view) {}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << watts;
  }
}

}  // namespace
}  // namespace retort::train
