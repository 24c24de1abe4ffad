// Filters come from strangers: whatever the bytes, parsing ends, and what parses can be matched.
#include <cstdint>
#include <string_view>

#include "retort/jobs/v1/jobs.pb.h"
#include "services/edge/filter.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using retort::jobs::v1::Job;
  static const retort::services::FilterFields fields(
      *Job::descriptor(), {"name", "state", "create_time", "labels", "queue_position", "progress.loss",
                           "progress.samples_done", "spec.extract_only", "spec.authorisations"});
  static const Job job = [] {
    Job made;
    made.set_name("projects/p/jobs/kitchen");
    (*made.mutable_labels())["team"] = "cooks";
    made.mutable_spec()->add_authorisations("letter");
    return made;
  }();
  const auto filter =
      retort::services::Filter::Parse(std::string_view(reinterpret_cast<const char*>(data), size), fields);
  if (filter.ok()) {
    filter->Matches(job);
    filter->Matches(Job::default_instance());
  }
  return 0;
}
