#include "services/edge/teacher_channel.h"

#include <gtest/gtest.h>

namespace retort::services {
namespace {

TEST(TeacherChannelTest, NamesEachChannelAsPacksDo) {
  EXPECT_EQ(TeacherChannelName(teacher::v1::CHANNEL_CONSUMER_APP), "consumer_app");
  EXPECT_EQ(TeacherChannelName(teacher::v1::CHANNEL_FIRST_PARTY_API), "first_party_api");
  EXPECT_EQ(TeacherChannelName(teacher::v1::CHANNEL_CLOUD_MARKETPLACE), "cloud_marketplace");
  EXPECT_EQ(TeacherChannelName(teacher::v1::CHANNEL_MANAGED_DISTILLATION), "managed_distillation");
  EXPECT_EQ(TeacherChannelName(teacher::v1::CHANNEL_OPEN_WEIGHTS), "open_weights");
}

// A new value of the enumeration must get a name here, or every sample of such a teacher would be denied.
TEST(TeacherChannelTest, NamesEveryValueOfTheEnumeration) {
  const auto* channels = teacher::v1::Channel_descriptor();
  for (int i = 0; i < channels->value_count(); ++i) {
    const int number = channels->value(i)->number();
    EXPECT_EQ(TeacherChannelName(static_cast<teacher::v1::Channel>(number)) == "unspecified",
              number == teacher::v1::CHANNEL_UNSPECIFIED)
        << channels->value(i)->name();
  }
}

TEST(TeacherChannelTest, CallsUnknownValuesUnspecified) {
  EXPECT_EQ(TeacherChannelName(static_cast<teacher::v1::Channel>(1000)), "unspecified");
}

}  // namespace
}  // namespace retort::services
