#include "services/teacher/teacher_registry.h"

#include <utility>

namespace retort::services {

absl::Status TeacherRegistry::Add(TeacherDescription description, Maker maker) {
  std::string id = description.id;
  auto place = std::make_unique<Place>();
  place->description = std::move(description);
  place->maker = std::move(maker);
  if (!places_.emplace(id, std::move(place)).second)
    return absl::AlreadyExistsError("teacher " + id + " is there already");
  return absl::OkStatus();
}

const TeacherDescription* TeacherRegistry::Find(std::string_view id) const {
  const auto place = places_.find(id);
  return place == places_.end() ? nullptr : &place->second->description;
}

absl::StatusOr<teacher::Teacher*> TeacherRegistry::Get(std::string_view id) {
  const auto found = places_.find(id);
  if (found == places_.end()) return absl::NotFoundError("no teacher " + std::string(id.substr(0, 63)));
  Place& place = *found->second;
  const std::lock_guard<std::mutex> lock(place.mutex);
  if (place.teacher == nullptr) {
    auto made = place.maker();
    if (!made.ok()) return absl::FailedPreconditionError(std::string(made.status().message()));
    place.teacher = *std::move(made);
  }
  return place.teacher.get();
}

std::vector<std::string> TeacherRegistry::ids() const {
  std::vector<std::string> ids;
  for (const auto& [id, place] : places_) ids.push_back(id);
  return ids;
}

}  // namespace retort::services
