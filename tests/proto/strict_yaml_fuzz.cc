// Any bytes as YAML of several messages: no crash, no hang, and every refusal says where.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "proto/strict_yaml.h"
#include "retort/jobs/v1/job_spec.pb.h"
#include "retort/policy/v1/facts.pb.h"
#include "retort/policy/v1/pack.pb.h"
#include "retort/server/v1/server_config.pb.h"
#include "retort/teacher/v1/payload.pb.h"

namespace {

template <typename T>
void Load(std::string_view yaml) {
  T message;
  const absl::Status status = retort::LoadYaml(yaml, "f.yaml", &message);
  if (status.ok()) return;
  if (status.code() != absl::StatusCode::kInvalidArgument) std::abort();
  if (std::string(status.message()).rfind("f.yaml:", 0) != 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view yaml(reinterpret_cast<const char*>(data), size);
  Load<retort::jobs::v1::JobSpec>(yaml);
  Load<retort::policy::v1::Facts>(yaml);
  Load<retort::policy::v1::Pack>(yaml);
  Load<retort::server::v1::ServerConfig>(yaml);
  Load<retort::teacher::v1::SamplePayload>(yaml);
  Load<google::rpc::RetryInfo>(yaml);
  return 0;
}
