// From the operator's configuration to teachers: a model of this machine, or an OpenAI-compatible endpoint.
#ifndef SERVICES_TEACHER_CONFIGURED_TEACHERS_H_
#define SERVICES_TEACHER_CONFIGURED_TEACHERS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "google/protobuf/repeated_field.h"
#include "retort/server/v1/server_config.pb.h"
#include "services/teacher/teacher_registry.h"

namespace retort::services {

// A registry of all `configs`. Asks nobody and loads nothing yet. InvalidArgument names the field of a time
// that is no RFC 3339, a missing backend, or an id given twice; everything else was checked by
// ValidateServerConfig.
absl::StatusOr<std::unique_ptr<TeacherRegistry>> MakeTeacherRegistry(
    const google::protobuf::RepeatedPtrField<server::v1::TeacherConfig>& configs);

}  // namespace retort::services

#endif  // SERVICES_TEACHER_CONFIGURED_TEACHERS_H_
