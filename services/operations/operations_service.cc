#include "services/operations/operations_service.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>

#include "services/edge/call_budget.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"

namespace retort::services {

using google::longrunning::Operation;
using google::protobuf::util::TimeUtil;

namespace {

absl::Status CheckName(const std::string& name) {
  return ParseResourceName("name", name, "projects/*/operations/*").status();
}

}  // namespace

grpc::Status OperationsServiceImpl::ListOperations(grpc::ServerContext*,
                                                   const google::longrunning::ListOperationsRequest* request,
                                                   google::longrunning::ListOperationsResponse* response) {
  if (auto name = ParseResourceName("name", request->name(), "projects/*"); !name.ok())
    return ToGrpcStatus(name.status());
  auto page = host_.List(*request);
  if (!page.ok()) return ToGrpcStatus(page.status());
  *response = *std::move(page);
  return grpc::Status::OK;
}

grpc::Status OperationsServiceImpl::GetOperation(grpc::ServerContext*,
                                                 const google::longrunning::GetOperationRequest* request,
                                                 Operation* response) {
  if (auto s = CheckName(request->name()); !s.ok()) return ToGrpcStatus(s);
  auto operation = host_.Get(request->name());
  if (!operation.ok()) return ToGrpcStatus(operation.status());
  *response = *std::move(operation);
  return grpc::Status::OK;
}

grpc::Status OperationsServiceImpl::DeleteOperation(
    grpc::ServerContext*, const google::longrunning::DeleteOperationRequest* request,
    google::protobuf::Empty*) {
  if (auto s = CheckName(request->name()); !s.ok()) return ToGrpcStatus(s);
  return ToGrpcStatus(host_.Delete(request->name()));
}

grpc::Status OperationsServiceImpl::CancelOperation(
    grpc::ServerContext*, const google::longrunning::CancelOperationRequest* request,
    google::protobuf::Empty*) {
  if (auto s = CheckName(request->name()); !s.ok()) return ToGrpcStatus(s);
  return ToGrpcStatus(host_.Cancel(request->name()));
}

grpc::Status OperationsServiceImpl::WaitOperation(grpc::ServerContext* context,
                                                  const google::longrunning::WaitOperationRequest* request,
                                                  Operation* response) {
  if (auto s = CheckName(request->name()); !s.ok()) return ToGrpcStatus(s);
  const CallBudget budget(*context);
  auto span = budget.Downstream();
  if (request->has_timeout()) {
    if (request->timeout().seconds() < 0 || request->timeout().nanos() < 0)
      return ToGrpcStatus(InvalidField("timeout", TimeUtil::ToString(request->timeout()), "0 s or more"));
    const int64_t seconds = std::min<int64_t>(request->timeout().seconds(), 3600);
    span = std::min(span, std::chrono::milliseconds(1000 * seconds + request->timeout().nanos() / 1'000'000));
  }
  auto operation = host_.Wait(request->name(), span, [context] { return context->IsCancelled(); });
  if (!operation.ok()) return ToGrpcStatus(operation.status());
  *response = *std::move(operation);
  return grpc::Status::OK;
}

}  // namespace retort::services
