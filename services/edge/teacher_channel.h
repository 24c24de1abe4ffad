// The one spelling of a teacher's channel in facts, statements and policy packs.
#ifndef SERVICES_EDGE_TEACHER_CHANNEL_H_
#define SERVICES_EDGE_TEACHER_CHANNEL_H_

#include <string>

#include "retort/teacher/v1/teacher.pb.h"

namespace retort::services {

// "consumer_app", "first_party_api", "cloud_marketplace", "managed_distillation" or "open_weights";
// "unspecified" for no channel and for values that a newer peer may know. No pack selects "unspecified", so
// such a teacher is denied, at preflight as for each sample; the server's configuration refuses it before
// that.
std::string TeacherChannelName(teacher::v1::Channel channel);

}  // namespace retort::services

#endif  // SERVICES_EDGE_TEACHER_CHANNEL_H_
