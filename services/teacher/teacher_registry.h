// Teachers by id, each made when it is first needed and shared from then on (configured_teachers.h fills
// one).
//
// Making a local teacher loads a model (about a second), making a remote one reads its key. A teacher that
// could not be made is tried again at the next use, so that a key file that appears later needs no restart.
// Thread-safe; two first uses of one teacher make it once, uses of others do not wait.
#ifndef SERVICES_TEACHER_TEACHER_REGISTRY_H_
#define SERVICES_TEACHER_TEACHER_REGISTRY_H_

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/teacher/v1/teacher.pb.h"
#include "teacher/teacher.h"

namespace retort::services {

// What the operator says about a teacher, as captures and facts repeat it.
struct TeacherDescription {
  std::string id;
  std::string provider;
  teacher::v1::Channel channel = teacher::v1::CHANNEL_UNSPECIFIED;
  std::string model;
  std::string account_class, account_region;
  std::string acquired_time;  // RFC 3339 in UTC with six fractional digits; empty when unknown
  std::optional<teacher::v1::TeacherPrice> price;
};

class TeacherRegistry {
 public:
  using Maker = std::function<absl::StatusOr<std::unique_ptr<teacher::Teacher>>()>;

  TeacherRegistry() = default;
  TeacherRegistry(const TeacherRegistry&) = delete;
  TeacherRegistry& operator=(const TeacherRegistry&) = delete;

  // Adds a teacher; not to be called once others use the registry. AlreadyExists when the id is taken.
  absl::Status Add(TeacherDescription description, Maker maker);

  // The description; nullptr when there is no such id. Valid as long as the registry.
  const TeacherDescription* Find(std::string_view id) const;

  // The teacher, made if need be; valid as long as the registry. NotFound when there is no such id.
  // FailedPrecondition when it cannot be made now: no key, no model file, a URL that cannot be used.
  absl::StatusOr<teacher::Teacher*> Get(std::string_view id);

  // Ids in order.
  std::vector<std::string> ids() const;

 private:
  struct Place {
    TeacherDescription description;
    Maker maker;
    std::mutex mutex;
    std::unique_ptr<teacher::Teacher> teacher;  // guarded by mutex; never replaced once made
  };
  std::map<std::string, std::unique_ptr<Place>, std::less<>> places_;
};

}  // namespace retort::services

#endif  // SERVICES_TEACHER_TEACHER_REGISTRY_H_
