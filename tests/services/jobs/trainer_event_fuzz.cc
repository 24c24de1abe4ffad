// Any bytes: either an event whose numbers are finite and not negative, or InvalidArgument.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "services/jobs/trainer_event.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort::jobs;
  const auto event = ParseTrainerEvent({reinterpret_cast<const char*>(data), size});
  if (!event.ok()) {
    if (event.status().code() != absl::StatusCode::kInvalidArgument) abort();
    return 0;
  }
  if (const auto* step = std::get_if<TrainerStep>(&*event)) {
    if (!std::isfinite(step->loss) || step->step < 0 || step->tokens < 0) abort();
  }
  if (const auto* finished = std::get_if<TrainerFinished>(&*event)) {
    if (finished->digest.size() != 64 || finished->entry < 0) abort();
  }
  return 0;
}
