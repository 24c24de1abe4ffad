#include "services/teacher/teacher_service.h"

#include <google/protobuf/util/time_util.h>
#include <grpcpp/server_context.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "ledger/signed_statement.h"
#include "services/edge/list_query.h"
#include "services/edge/status.h"
#include "services/teacher/capture.h"
#include "services/teacher/failure.h"
#include "services/teacher/validate.h"

namespace retort::services {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

// For callers that set no deadline: longer than any answer of 8192 tokens takes, short enough to free the
// thread.
constexpr std::chrono::minutes kDeadlineDefault(10);

teacher::CallLimits LimitsOf(grpc::ServerContext* context) {
  teacher::CallLimits limits;
  const auto now = steady_clock::now();
  const system_clock::time_point deadline = context->deadline();
  limits.deadline = now + kDeadlineDefault;
  if (deadline != system_clock::time_point::max()) {
    limits.deadline =
        now + std::chrono::duration_cast<steady_clock::duration>(deadline - system_clock::now());
  }
  limits.cancelled = [context] { return context->IsCancelled(); };
  return limits;
}

// gRPC marks a call cancelled when its deadline passes; the caller is told which of the two it was.
absl::Status TellDeadline(const absl::Status& status, const teacher::CallLimits& limits) {
  if (status.code() != absl::StatusCode::kCancelled || steady_clock::now() < limits.deadline) return status;
  return absl::DeadlineExceededError("no answer before the caller's deadline");
}

absl::Status NoSuchTeacher(const std::string& id) {
  return WithReason(absl::NotFoundError("no teacher " + id), NOT_FOUND, {{"teacher", id}});
}

void Describe(const std::string& project, const TeacherDescription& description,
              const absl::StatusOr<teacher::Teacher*>& made, teacher::v1::Teacher* out) {
  out->set_name(project + "/teachers/" + description.id);
  out->set_provider(description.provider);
  out->set_channel(description.channel);
  out->set_model(description.model);
  out->set_account_class(description.account_class);
  out->set_account_region(description.account_region);
  if (!description.acquired_time.empty()) {
    google::protobuf::util::TimeUtil::FromString(description.acquired_time, out->mutable_acquired_time());
  }
  if (description.price.has_value()) *out->mutable_price() = *description.price;
  if (!made.ok()) {
    out->set_unavailable_reason(std::string(made.status().message()));
    return;
  }
  const teacher::TeacherIdentity& identity = (*made)->identity();
  out->set_endpoint(identity.endpoint);
  out->set_weights_sha256(identity.weights_sha256);
  out->set_top_logprobs_max(identity.top_logprobs_max);
}

const ListRules& TeacherRules() {
  static const ListRules rules{FilterFields(*teacher::v1::Teacher::descriptor(),
                                            {"name", "provider", "channel", "model", "account_class",
                                             "account_region", "endpoint", "unavailable_reason"}),
                               {"name", "name desc"}};
  return rules;
}

std::string ProjectOf(const std::string& teacher_name) {
  return teacher_name.substr(0, teacher_name.find("/teachers/"));
}

}  // namespace

TeacherServiceImpl::TeacherServiceImpl(std::unique_ptr<TeacherRegistry> registry, ledger::SigningKey key,
                                       PageTokens page_tokens, Clock clock)
    : registry_(std::move(registry)),
      key_(std::move(key)),
      page_tokens_(std::move(page_tokens)),
      clock_(std::move(clock)) {}

grpc::Status TeacherServiceImpl::Extract(grpc::ServerContext* context,
                                         const teacher::v1::ExtractRequest* request,
                                         teacher::v1::ExtractResponse* response) {
  const auto call = Validate(*request);
  if (!call.ok()) return ToGrpcStatus(call.status());
  const TeacherDescription* description = registry_->Find(call->teacher_id);
  if (description == nullptr) return ToGrpcStatus(NoSuchTeacher(call->teacher_id));
  const auto teacher = registry_->Get(call->teacher_id);
  if (!teacher.ok()) return ToGrpcStatus(NameFailure(teacher.status(), call->teacher_id));
  const teacher::TeacherIdentity& identity = (*teacher)->identity();
  if (auto fits = CheckPayloadFits(call->question, identity.endpoint == "local"); !fits.ok())
    return ToGrpcStatus(fits);

  const teacher::CallLimits limits = LimitsOf(context);
  const auto requested_time = clock_();
  const auto answer = (*teacher)->Complete(call->question, limits);
  if (!answer.ok()) return ToGrpcStatus(NameFailure(TellDeadline(answer.status(), limits), call->teacher_id));
  const auto completed_time = std::max(clock_(), requested_time);

  std::string payload = SerialisePayload(call->question, *answer);
  if (payload.size() > kSamplePayloadBytesMax) {
    return ToGrpcStatus(WithReason(
        absl::InvalidArgumentError("teacher " + call->teacher_id + ": the answer takes " +
                                   std::to_string(payload.size()) + " bytes, a ledger entry holds " +
                                   std::to_string(kSamplePayloadBytesMax) +
                                   "; lower max_tokens or top_logprobs"),
        LIMIT_EXCEEDED, {{"teacher", call->teacher_id}}));
  }
  std::array<char, 32> salt;
  if (getentropy(salt.data(), salt.size()) != 0)
    return ToGrpcStatus(absl::InternalError("the system has no entropy"));
  const std::string_view salt_view(salt.data(), salt.size());
  const ledger::CaptureStatement capture =
      MakeCapture({*call, request->key(), *description, identity, *answer, payload, salt_view, requested_time,
                   completed_time});
  const ledger::SignedStatement signed_capture =
      ledger::SignStatement(key_, ledger::StatementType::kCapture, capture.ToJson());
  response->set_capture(signed_capture.statement);
  response->set_signature(signed_capture.signature.data(), signed_capture.signature.size());
  response->set_key_id(signed_capture.key_id.data(), signed_capture.key_id.size());
  response->set_payload(std::move(payload));
  response->set_salt(salt.data(), salt.size());
  response->set_completion_tokens(answer->completion_tokens);
  return grpc::Status::OK;
}

grpc::Status TeacherServiceImpl::GetTeacher(grpc::ServerContext*,
                                            const teacher::v1::GetTeacherRequest* request,
                                            teacher::v1::Teacher* response) {
  const auto id = Validate(*request);
  if (!id.ok()) return ToGrpcStatus(id.status());
  const TeacherDescription* description = registry_->Find(*id);
  if (description == nullptr) return ToGrpcStatus(NoSuchTeacher(*id));
  Describe(ProjectOf(request->name()), *description, registry_->Get(*id), response);
  return grpc::Status::OK;
}

grpc::Status TeacherServiceImpl::ListTeachers(grpc::ServerContext*,
                                              const teacher::v1::ListTeachersRequest* request,
                                              teacher::v1::ListTeachersResponse* response) {
  if (auto valid = Validate(*request); !valid.ok()) return ToGrpcStatus(valid);
  const auto query = ParseListQuery("teachers",
                                    {request->parent(), request->page_size(), request->page_token(),
                                     request->filter(), request->order_by()},
                                    TeacherRules(), page_tokens_);
  if (!query.ok()) return ToGrpcStatus(query.status());
  const std::vector<std::string> ids = registry_->ids();  // in order
  response->set_next_page_token(PageOfItems(
      ids, *query, page_tokens_, [](const std::string& id) { return id; },
      [&](const std::string& id) {
        teacher::v1::Teacher teacher;
        Describe(request->parent(), *registry_->Find(id), registry_->Get(id), &teacher);
        return teacher;
      },
      [&](teacher::v1::Teacher teacher) { *response->add_teachers() = std::move(teacher); }));
  return grpc::Status::OK;
}

}  // namespace retort::services
