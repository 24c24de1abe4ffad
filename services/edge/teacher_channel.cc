#include "services/edge/teacher_channel.h"

namespace retort::services {

std::string TeacherChannelName(teacher::v1::Channel channel) {
  switch (channel) {
    case teacher::v1::CHANNEL_CONSUMER_APP:
      return "consumer_app";
    case teacher::v1::CHANNEL_FIRST_PARTY_API:
      return "first_party_api";
    case teacher::v1::CHANNEL_CLOUD_MARKETPLACE:
      return "cloud_marketplace";
    case teacher::v1::CHANNEL_MANAGED_DISTILLATION:
      return "managed_distillation";
    case teacher::v1::CHANNEL_OPEN_WEIGHTS:
      return "open_weights";
    default:
      return "unspecified";
  }
}

}  // namespace retort::services
