// One call of the server's own gRPC services, over the in-process channel and without generated stubs: bytes
// in, bytes out. Unary methods and those that stream responses are alike here.
#ifndef SERVICES_GATEWAY_UPSTREAM_CALL_H_
#define SERVICES_GATEWAY_UPSTREAM_CALL_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/client_callback.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "services/gateway/metadata.h"
#include "services/identity/spiffe_id.h"

namespace retort::services::gateway {

struct UpstreamRequest {
  std::string path;  // /package.Service/Method
  std::string message;
  Metadata metadata;
  std::optional<SpiffeId> caller;  // there, always; handed on as services/identity/forwarded_identity.h does
  std::chrono::system_clock::time_point deadline;
  std::shared_ptr<void> slot;  // let go of when nothing is left of the call, events included
};

// Called on threads of gRPC, one after another; they hand over and return at once.
struct UpstreamEvents {
  std::function<void(Metadata)>
      began;  // initial metadata; before any message, and not at all for a call that fails first
  std::function<void(std::string)> message;
  std::function<void(grpc::Status, Metadata)> ended;  // once, last; trailing metadata
};

// Thread-safe. Lives until `ended` has returned, whoever else holds it.
class UpstreamCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  // Sends the request and asks for the first message.
  static std::shared_ptr<UpstreamCall> Start(const std::shared_ptr<grpc::Channel>& channel,
                                             UpstreamRequest request, UpstreamEvents events);
  ~UpstreamCall() override = default;

  // Asks for the message after the last one: nothing comes unasked, so a slow client slows the service down.
  void Next();

  // Ends the call soon, with CANCELLED unless it has ended already. `ended` still comes.
  void Cancel();

  void OnReadInitialMetadataDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  UpstreamCall(const std::shared_ptr<grpc::Channel>& channel, UpstreamRequest request, UpstreamEvents events);
  void ReadOne();

  const std::shared_ptr<void> slot_;  // first, so that it goes last
  const std::string path_;
  UpstreamEvents events_;
  grpc::ClientContext context_;
  grpc::GenericStub stub_;
  grpc::ByteBuffer request_, response_;
  std::shared_ptr<UpstreamCall> self_;  // until OnDone

  std::mutex mutex_;
  bool reading_ = false;  // guarded by mutex_, as what follows
  bool read_all_ = false;
  bool cancelled_ = false;

  // gRPC may tell of the first message, on another thread, before it has told of the metadata that came
  // first.
  std::mutex events_mutex_;
  bool began_ = false;  // guarded by events_mutex_, as what follows
  std::optional<std::string> early_;
};

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_UPSTREAM_CALL_H_
