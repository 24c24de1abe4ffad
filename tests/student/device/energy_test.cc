#include "student/device/energy.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace retort::student {
namespace {

// A folder like /sys/class/powercap.
class RaplTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "powercap_" + std::to_string(getpid());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Zone(const std::string& zone, const std::string& name, const std::string& counter,
            const std::string& range = "1000") {
    std::filesystem::create_directories(folder_ + "/" + zone);
    Put(zone, "name", name);
    Put(zone, "energy_uj", counter);
    Put(zone, "max_energy_range_uj", range);
  }
  void Put(const std::string& zone, const std::string& file, const std::string& text) {
    std::ofstream(folder_ + "/" + zone + "/" + file) << text << "\n";
  }

  std::string folder_, reason_;
};

TEST_F(RaplTest, SumsPackagesAndTheirMemory) {
  Zone("intel-rapl:0", "package-0", "100");
  Zone("intel-rapl:0:0", "core", "100");
  Zone("intel-rapl:0:1", "dram", "50");
  Zone("intel-rapl:1", "package-1", "0");
  Zone("intel-rapl:2", "psys", "7");
  Zone("intel-rapl-mmio:0", "package-0", "100");
  std::filesystem::create_directories(folder_ + "/intel-rapl");
  const auto meter = MakeRaplMeter(folder_, &reason_);
  ASSERT_NE(meter, nullptr) << reason_;
  EXPECT_EQ(meter->source(), "rapl");
  EXPECT_EQ(meter->Read(), 0u);
  for (const char* zone : {"intel-rapl:0", "intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:1", "intel-rapl:2",
                           "intel-rapl-mmio:0"}) {
    Put(zone, "energy_uj", "300");
  }
  EXPECT_EQ(meter->Read(), 200u + 250u + 300u);
}

TEST_F(RaplTest, CountersWrapAround) {
  Zone("intel-rapl:0", "package-0", "990", "1000");
  const auto meter = MakeRaplMeter(folder_, &reason_);
  ASSERT_NE(meter, nullptr) << reason_;
  Put("intel-rapl:0", "energy_uj", "5");
  EXPECT_EQ(meter->Read(), 15u);
  Put("intel-rapl:0", "energy_uj", "905");
  EXPECT_EQ(meter->Read(), 915u);
  Put("intel-rapl:0", "energy_uj", "0");
  EXPECT_EQ(meter->Read(), 1010u);
}

TEST_F(RaplTest, NothingThatMeasuresIsAReason) {
  EXPECT_EQ(MakeRaplMeter(folder_ + "/nowhere", &reason_), nullptr);
  EXPECT_NE(reason_.find("has no zone of a processor package"), std::string::npos) << reason_;
  Zone("intel-rapl:0", "psys", "1");
  EXPECT_EQ(MakeRaplMeter(folder_, &reason_), nullptr);
}

TEST_F(RaplTest, UnreadableCountersAreNamed) {
  Zone("intel-rapl:0", "package-0", "100");
  std::filesystem::remove(folder_ + "/intel-rapl:0/energy_uj");
  EXPECT_EQ(MakeRaplMeter(folder_, &reason_), nullptr);
  EXPECT_NE(reason_.find("intel-rapl:0/energy_uj: No such file"), std::string::npos) << reason_;
}

TEST_F(RaplTest, NonsenseIsRefused) {
  for (const auto& [counter, range] : {std::pair<const char*, const char*>{"much", "1000"},
                                       {"-1", "1000"},
                                       {"99999999999999999999999", "1000"},
                                       {"1001", "1000"},
                                       {"0", "0"},
                                       {"1", "none"}}) {
    Zone("intel-rapl:0", "package-0", counter, range);
    EXPECT_EQ(MakeRaplMeter(folder_, &reason_), nullptr) << counter << " of " << range;
  }
}

TEST_F(RaplTest, MeterThatLostItsCounterStaysSilent) {
  Zone("intel-rapl:0", "package-0", "100");
  const auto meter = MakeRaplMeter(folder_, &reason_);
  ASSERT_NE(meter, nullptr) << reason_;
  Put("intel-rapl:0", "energy_uj", "gone");
  EXPECT_FALSE(meter->Read());
  Put("intel-rapl:0", "energy_uj", "200");
  EXPECT_FALSE(meter->Read());
}

TEST(DeclaredMeterTest, IsWattsTimesTime) {
  uint64_t now = 5'000'000;
  const auto meter = MakeDeclaredMeter(65'500, [&now] { return now; });
  EXPECT_EQ(meter->source(), "declared");
  EXPECT_EQ(meter->Read(), 0u);
  now += 2'000'000;
  EXPECT_EQ(meter->Read(), 131'000'000u);  // 65.5 W for 2 s are 131 J
  now += 10;
  EXPECT_EQ(meter->Read(), 131'000'655u);
  now += uint64_t{10} * 365 * 86'400 * 1'000'000;  // ten years do not overflow
  EXPECT_GT(meter->Read(), uint64_t{20'000'000'000'000'000});
}

}  // namespace
}  // namespace retort::student
