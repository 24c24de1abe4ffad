#include "student/device/nvml.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "student/device/energy.h"
#include "tests/student/device/fake_nvml.h"

namespace retort::student {
namespace {

class NvmlTest : public testing::Test {
 protected:
  void SetUp() override {
    library_ = dlopen(FAKE_NVML, RTLD_NOW);
    ASSERT_NE(library_, nullptr) << dlerror();
    fake_ = static_cast<FakeNvml*>(dlsym(library_, "fake_nvml"));
    ASSERT_NE(fake_, nullptr);
    before_ = *fake_;
  }
  void TearDown() override {
    *fake_ = before_;
    dlclose(library_);
  }

  void* library_ = nullptr;
  FakeNvml* fake_ = nullptr;
  FakeNvml before_{};
  std::string reason_;
};

TEST_F(NvmlTest, ReadsWhatTheDeviceSays) {
  {
    const auto nvml = Nvml::Open(FAKE_NVML, &reason_);
    ASSERT_NE(nvml, nullptr) << reason_;
    EXPECT_EQ(fake_->inits, 1);
    EXPECT_EQ(nvml->device_count(), 2);
    const auto device = nvml->Find("1", &reason_);
    ASSERT_TRUE(device) << reason_;
    EXPECT_EQ(device->name, "NVIDIA Fake 80GB");
    const NvmlReading reading = nvml->Read(*device);
    EXPECT_EQ(reading.celsius, 61);
    EXPECT_EQ(reading.watts, 350.5);
    EXPECT_EQ(reading.energy_millijoules, 7'001'000u);
    EXPECT_EQ(reading.memory_used_bytes, 12'000'000'000u);
    EXPECT_EQ(reading.memory_total_bytes, 80'000'000'000u);
  }
  EXPECT_EQ(fake_->shutdowns, 1);
}

TEST_F(NvmlTest, FindsByBusId) {
  const auto nvml = Nvml::Open(FAKE_NVML, &reason_);
  ASSERT_NE(nvml, nullptr) << reason_;
  const auto device = nvml->Find("0000:17:00.0", &reason_);
  ASSERT_TRUE(device) << reason_;
  EXPECT_EQ(device->handle, nvml->Find("1", &reason_)->handle);
}

TEST_F(NvmlTest, SaysWhichDeviceIsNotThere) {
  const auto nvml = Nvml::Open(FAKE_NVML, &reason_);
  ASSERT_NE(nvml, nullptr) << reason_;
  EXPECT_FALSE(nvml->Find("7", &reason_));
  EXPECT_EQ(reason_, "device 7: NVML error 6: Not Found");
  EXPECT_FALSE(nvml->Find("0000:99:00.0", &reason_));
  EXPECT_FALSE(nvml->Find("", &reason_));
}

TEST_F(NvmlTest, NamesArePrintable) {
  fake_->name = "evil\x1b[2J\n";
  const auto nvml = Nvml::Open(FAKE_NVML, &reason_);
  ASSERT_NE(nvml, nullptr) << reason_;
  EXPECT_EQ(nvml->Find("0", &reason_)->name, "evil?[2J?");
}

TEST_F(NvmlTest, QueriesThatFailAreAbsentNotZero) {
  const auto nvml = Nvml::Open(FAKE_NVML, &reason_);
  ASSERT_NE(nvml, nullptr) << reason_;
  const auto device = nvml->Find("0", &reason_);
  ASSERT_TRUE(device) << reason_;
  fake_->sensor_result = 3;
  const NvmlReading reading = nvml->Read(*device);
  EXPECT_FALSE(reading.celsius);
  EXPECT_FALSE(reading.watts);
  EXPECT_FALSE(reading.energy_millijoules);
  EXPECT_FALSE(reading.memory_used_bytes);
  EXPECT_FALSE(reading.memory_total_bytes);
}

TEST_F(NvmlTest, OlderDriversLackSensors) {
  const auto nvml = Nvml::Open(FAKE_NVML_OLD, &reason_);
  ASSERT_NE(nvml, nullptr) << reason_;
  const auto device = nvml->Find("0", &reason_);
  ASSERT_TRUE(device) << reason_;
  const NvmlReading reading = nvml->Read(*device);
  EXPECT_TRUE(reading.watts);
  EXPECT_FALSE(reading.celsius);
  EXPECT_FALSE(reading.energy_millijoules);
  EXPECT_FALSE(reading.memory_used_bytes);
  EXPECT_EQ(MakeNvmlMeter(*nvml, {*device}, &reason_), nullptr);
  EXPECT_EQ(reason_, "NVIDIA Fake 80GB: does not count energy");
}

TEST_F(NvmlTest, NamesTheFunctionThatIsMissing) {
  EXPECT_EQ(Nvml::Open(FAKE_NVML_BROKEN, &reason_), nullptr);
  EXPECT_NE(reason_.find("has no function nvmlDeviceGetName"), std::string::npos) << reason_;
}

TEST_F(NvmlTest, PassesOnWhatTheLibrarySays) {
  fake_->init_result = 9;
  EXPECT_EQ(Nvml::Open(FAKE_NVML, &reason_), nullptr);
  EXPECT_NE(reason_.find("NVML error 9: Driver Not Loaded"), std::string::npos) << reason_;
  EXPECT_EQ(fake_->shutdowns, 0);
}

TEST_F(NvmlTest, NoLibraryIsAReason) {
  EXPECT_EQ(Nvml::Open("/nowhere/libnvidia-ml.so.1", &reason_), nullptr);
  EXPECT_NE(reason_.find("/nowhere/libnvidia-ml.so.1"), std::string::npos) << reason_;
}

TEST_F(NvmlTest, MeterCountsFromItsBeginning) {
  const auto nvml = Nvml::Open(FAKE_NVML, &reason_);
  ASSERT_NE(nvml, nullptr) << reason_;
  const auto meter = MakeNvmlMeter(*nvml, {*nvml->Find("0", &reason_), *nvml->Find("1", &reason_)}, &reason_);
  ASSERT_NE(meter, nullptr) << reason_;
  EXPECT_EQ(meter->source(), "nvml");
  EXPECT_EQ(meter->Read(), 0u);
  fake_->millijoules += 5;
  EXPECT_EQ(meter->Read(), 10'000u);  // 5 mJ on each of two boards
}

TEST_F(NvmlTest, MeterThatLostItsCounterStaysSilent) {
  const auto nvml = Nvml::Open(FAKE_NVML, &reason_);
  ASSERT_NE(nvml, nullptr) << reason_;
  const auto meter = MakeNvmlMeter(*nvml, {*nvml->Find("0", &reason_)}, &reason_);
  ASSERT_NE(meter, nullptr) << reason_;
  fake_->millijoules -= 1;  // reset
  EXPECT_FALSE(meter->Read());
  fake_->millijoules += 1000;
  EXPECT_FALSE(meter->Read());
}

}  // namespace
}  // namespace retort::student
