// google.longrunning.Operations over an OperationHost. A thin adapter, thread-safe.
#ifndef SERVICES_OPERATIONS_OPERATIONS_SERVICE_H_
#define SERVICES_OPERATIONS_OPERATIONS_SERVICE_H_

#include "google/longrunning/operations.grpc.pb.h"
#include "services/operations/operation_host.h"

namespace retort::services {

class OperationsServiceImpl final : public google::longrunning::Operations::Service {
 public:
  // `host` is not owned and outlives the service.
  explicit OperationsServiceImpl(OperationHost* host) : host_(*host) {}

  grpc::Status ListOperations(grpc::ServerContext* context,
                              const google::longrunning::ListOperationsRequest* request,
                              google::longrunning::ListOperationsResponse* response) override;
  grpc::Status GetOperation(grpc::ServerContext* context,
                            const google::longrunning::GetOperationRequest* request,
                            google::longrunning::Operation* response) override;
  grpc::Status DeleteOperation(grpc::ServerContext* context,
                               const google::longrunning::DeleteOperationRequest* request,
                               google::protobuf::Empty* response) override;
  grpc::Status CancelOperation(grpc::ServerContext* context,
                               const google::longrunning::CancelOperationRequest* request,
                               google::protobuf::Empty* response) override;
  // Without a timeout it waits until shortly before the deadline of the call, at most 30 s.
  grpc::Status WaitOperation(grpc::ServerContext* context,
                             const google::longrunning::WaitOperationRequest* request,
                             google::longrunning::Operation* response) override;

 private:
  OperationHost& host_;
};

}  // namespace retort::services

#endif  // SERVICES_OPERATIONS_OPERATIONS_SERVICE_H_
