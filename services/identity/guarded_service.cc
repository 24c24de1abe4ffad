#include "services/identity/guarded_service.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/rpc_service_method.h>

#include <optional>
#include <utility>

#include "services/edge/status.h"
#include "services/identity/peer.h"

namespace retort::services {
namespace {

using grpc::internal::MethodHandler;
using grpc::internal::RpcMethod;
using grpc::internal::RpcServiceMethod;

// GetHandler is protected; what it returns is what the generated code registered.
struct HandlerAccess : grpc::Service {
  static MethodHandler* Of(grpc::Service& service, int index) {
    return (service.*(&HandlerAccess::GetHandler))(index);
  }
};

// In front of one generated handler. That one still reads the request and sends the answer; handed a status
// that is not OK it sends just this, without calling the service.
class GuardingHandler final : public MethodHandler {
 public:
  GuardingHandler(MethodHandler* handler, MethodRule rule, bool stream, const AccessGuard* guard,
                  CallLimits* limits)
      : handler_(handler), rule_(std::move(rule)), stream_(stream), guard_(guard), limits_(limits) {}

  void* Deserialize(grpc_call* call, grpc_byte_buffer* bytes, grpc::Status* status, void** data) final {
    return handler_->Deserialize(call, bytes, status, data);
  }

  void RunHandler(const HandlerParameter& call) final {
    if (!call.status.ok()) return handler_->RunHandler(call);
    // Generated messages derive from Message first and alone, so the addresses are one.
    auto* request = static_cast<google::protobuf::Message*>(call.request);
    std::optional<CallLimits::Ticket> ticket;  // until the answer is sent, or the last of a stream
    const absl::Status checked = Check(*call.server_context, *request, ticket);
    if (checked.ok()) return handler_->RunHandler(call);
    request->~Message();  // its memory is the call's; a handler that is not run does not destroy it
    handler_->RunHandler(HandlerParameter(call.call, call.server_context, nullptr, ToGrpcStatus(checked),
                                          call.internal_data, call.call_requester));
  }

 private:
  absl::Status Check(const grpc::ServerContextBase& context, const google::protobuf::Message& request,
                     std::optional<CallLimits::Ticket>& ticket) const {
    const auto caller = guard_->Admit(CallerUris(context), rule_.method());
    if (!caller.ok()) return caller.status();
    if (limits_ != nullptr && !guard_->IsService(*caller)) {
      auto taken = limits_->Take(caller->text(), stream_);
      if (!taken.ok()) return taken.status();
      ticket.emplace(*std::move(taken));
    }
    return guard_->Check(*caller, rule_, request);
  }

  MethodHandler* const handler_;
  const MethodRule rule_;
  const bool stream_;
  const AccessGuard* const guard_;
  CallLimits* const limits_;
};

RpcMethod::RpcType TypeOf(const google::protobuf::MethodDescriptor& method) {
  return method.server_streaming() ? RpcMethod::SERVER_STREAMING : RpcMethod::NORMAL_RPC;
}

}  // namespace

GuardedService::~GuardedService() = default;

absl::StatusOr<std::unique_ptr<GuardedService>> GuardedService::Make(grpc::Service* service,
                                                                     const std::string& name,
                                                                     const AccessGuard* guard,
                                                                     CallLimits* limits) {
  const auto* descriptor = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
  if (descriptor == nullptr)
    return absl::NotFoundError("no service " + name + " is linked into this program");
  if (service->has_callback_methods() || service->has_async_methods() || service->has_generic_methods()) {
    return absl::FailedPreconditionError(name + ": wanted an implementation of synchronous methods only");
  }
  std::unique_ptr<GuardedService> guarded(new GuardedService());
  guarded->methods_.reserve(static_cast<size_t>(descriptor->method_count()));
  for (int i = 0; i < descriptor->method_count(); ++i) {
    auto rule = MethodRule::Of(*descriptor->method(i));
    if (!rule.ok()) return rule.status();
    guarded->methods_.push_back(rule->method());
    const auto type = TypeOf(*descriptor->method(i));
    guarded->AddMethod(
        new RpcServiceMethod(guarded->methods_.back().c_str(), type,
                             new GuardingHandler(HandlerAccess::Of(*service, i), *std::move(rule),
                                                 type == RpcMethod::SERVER_STREAMING, guard, limits)));
  }
  return guarded;
}

grpc::Status AdmissionProcessor::Process(const InputMetadata& metadata, grpc::AuthContext* context,
                                         OutputMetadata*, OutputMetadata*) {
  const auto path = metadata.find(":path");
  std::string method = path == metadata.end() ? "" : std::string(path->second.data(), path->second.size());
  if (!methods_.contains(method)) method = "_OTHER";
  return ToGrpcStatus(guard_->Admit(PeerUris(*context), method).status());
}

}  // namespace retort::services
