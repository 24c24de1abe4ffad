// From an answer to its evidence: the private payload, and the public statement that names it by a salted
// digest. Pure functions; no signing, no clock, no entropy.
#ifndef SERVICES_TEACHER_CAPTURE_H_
#define SERVICES_TEACHER_CAPTURE_H_

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "ledger/statement.h"
#include "retort/teacher/v1/teacher.pb.h"
#include "services/teacher/teacher_registry.h"
#include "services/teacher/validate.h"
#include "teacher/teacher.h"

namespace retort::services {

// Largest payload that a ledger entry can have (ledger::kPayloadBytesMax; a test compares them).
inline constexpr size_t kSamplePayloadBytesMax = 3 << 20;

// OK when the answer to `question` will fit into kSamplePayloadBytesMax: an answer that was paid for and
// cannot be recorded must not come about. Exact for a local teacher; for a remote one it counts 128 bytes for
// each alternative and token, the size of the JSON that OpenAI-compatible servers send. InvalidArgument with
// reason LIMIT_EXCEEDED says what to lower.
absl::Status CheckPayloadFits(const teacher::CompletionRequest& question, bool local);

// Serialised SamplePayload. These exact bytes are stored; they are never serialised again.
std::string SerialisePayload(const teacher::CompletionRequest& question, const teacher::Completion& answer);

struct CaptureInput {
  const ExtractCall& call;
  const teacher::v1::SampleKey& key;
  const TeacherDescription& teacher;
  const teacher::TeacherIdentity& identity;
  const teacher::Completion& answer;
  std::string_view payload;
  std::string_view salt;  // 32 bytes
  std::chrono::system_clock::time_point requested_time, completed_time;
};

ledger::CaptureStatement MakeCapture(const CaptureInput& input);

// RFC 3339 in UTC with six fractional digits, as statements have it.
std::string StatementTime(std::chrono::system_clock::time_point time);

// The shortest decimal that reads back as `value`, as statements have it.
std::string StatementDecimal(double value);

}  // namespace retort::services

#endif  // SERVICES_TEACHER_CAPTURE_H_
