// The gRPC face of teachers: validate, find the teacher, ask, capture, sign, map. It holds the only key that
// can sign a capture, and it keeps nothing: an answer that the caller does not bring to the ledger is gone.
//
//   auto registry = MakeTeacherRegistry(config.teachers());  // configured_teachers.h
//   TeacherServiceImpl service(*std::move(registry), std::move(key), PageTokens::WithRandomKey(),
//   std::chrono::system_clock::now);
//
// Thread-safe; calls of Extract run side by side, each on the thread that gRPC gives it.
#ifndef SERVICES_TEACHER_TEACHER_SERVICE_H_
#define SERVICES_TEACHER_TEACHER_SERVICE_H_

#include <chrono>
#include <functional>
#include <memory>

#include "ledger/signing.h"
#include "retort/teacher/v1/teacher.grpc.pb.h"
#include "services/edge/page_token.h"
#include "services/teacher/teacher_registry.h"

namespace retort::services {

class TeacherServiceImpl final : public teacher::v1::TeacherService::Service {
 public:
  // Gives the times in captures; called from any thread.
  using Clock = std::function<std::chrono::system_clock::time_point()>;

  // `key` signs captures; `page_tokens` seals page tokens. `registry` is never null.
  TeacherServiceImpl(std::unique_ptr<TeacherRegistry> registry, ledger::SigningKey key,
                     PageTokens page_tokens, Clock clock);

  // Asks once. The call's deadline (10 minutes without one) and its cancellation reach the teacher. Errors,
  // with reason:
  //   INVALID_ARGUMENT    a field is wrong (INVALID_FIELD); the answer could not be stored (LIMIT_EXCEEDED;
  //   said before
  //                       asking where that can be foreseen); the endpoint refuses the request
  //                       (TEACHER_REJECTED)
  //   NOT_FOUND           no such teacher (NOT_FOUND)
  //   FAILED_PRECONDITION the teacher cannot be asked before the operator acts (TEACHER_NOT_READY)
  //   UNAUTHENTICATED     the endpoint refuses the key (TEACHER_UNAUTHORISED)
  //   RESOURCE_EXHAUSTED  rate limit after retries, or no money left (TEACHER_RATE_LIMITED)
  //   DEADLINE_EXCEEDED   no answer in time (TEACHER_TIMEOUT)
  //   UNAVAILABLE         the endpoint fails after retries (TEACHER_UNAVAILABLE)
  //   UNKNOWN             the answer cannot be read (TEACHER_BROKEN_ANSWER)
  //   CANCELLED           the caller went away (CANCELLED)
  grpc::Status Extract(grpc::ServerContext* context, const teacher::v1::ExtractRequest* request,
                       teacher::v1::ExtractResponse* response) override;

  // NOT_FOUND: no teacher of that id. Teachers are the same for every project. A teacher that cannot be asked
  // is no error: unavailable_reason says why.
  grpc::Status GetTeacher(grpc::ServerContext* context, const teacher::v1::GetTeacherRequest* request,
                          teacher::v1::Teacher* response) override;

  // INVALID_ARGUMENT: parent is no project, page_size is negative, or the token belongs to another listing.
  grpc::Status ListTeachers(grpc::ServerContext* context, const teacher::v1::ListTeachersRequest* request,
                            teacher::v1::ListTeachersResponse* response) override;

 private:
  const std::unique_ptr<TeacherRegistry> registry_;
  const ledger::SigningKey key_;
  const PageTokens page_tokens_;
  const Clock clock_;
};

}  // namespace retort::services

#endif  // SERVICES_TEACHER_TEACHER_SERVICE_H_
