#include "services/edge/health_server.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <chrono>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "grpc/health/v1/health.grpc.pb.h"

namespace retort::services {
namespace {

using HealthRequest = grpc::health::v1::HealthCheckRequest;
using HealthResponse = grpc::health::v1::HealthCheckResponse;
using ServingStatus = HealthResponse::ServingStatus;

constexpr int kProbeBytesMax = 4 << 10;
constexpr int kProbeMetadataBytesMax = 8 << 10;
constexpr size_t kProbeMemoryBytesMax = size_t{64} << 20;

class HealthService final : public grpc::health::v1::Health::CallbackService {
 public:
  explicit HealthService(const std::vector<std::string>& services) {
    statuses_[""] = HealthResponse::NOT_SERVING;
    for (const std::string& name : services) statuses_[name] = HealthResponse::NOT_SERVING;
    statuses_[std::string(kLiveness)] = HealthResponse::SERVING;
  }

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context, const HealthRequest* request,
                                  HealthResponse* response) override {
    auto* reactor = context->DefaultReactor();
    const std::lock_guard lock(mutex_);
    const auto found = statuses_.find(request->service());
    if (found == statuses_.end()) {
      reactor->Finish({grpc::StatusCode::NOT_FOUND, "no such service here"});
    } else {
      response->set_status(found->second);
      reactor->Finish(grpc::Status::OK);
    }
    return reactor;
  }

  grpc::ServerWriteReactor<HealthResponse>* Watch(grpc::CallbackServerContext*,
                                                  const HealthRequest* request) override {
    const std::lock_guard lock(mutex_);
    auto* watch = new Watcher(*this, request->service());  // deletes itself in OnDone
    watches_.insert(watch);
    if (ending_) {
      watch->End({grpc::StatusCode::UNAVAILABLE, "the server is stopping"});
    } else if (watches_.size() > HealthServer::kWatchesMax) {
      watch->End({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many watches"});
    } else {
      const auto found = statuses_.find(request->service());
      watch->Tell(found == statuses_.end() ? HealthResponse::SERVICE_UNKNOWN : found->second);
    }
    return watch;
  }

  void Set(const std::string& service, bool serving) {
    const std::lock_guard lock(mutex_);
    const auto found = statuses_.find(service);
    if (found == statuses_.end()) return;
    found->second = serving ? HealthResponse::SERVING : HealthResponse::NOT_SERVING;
    for (Watcher* watch : watches_) {
      if (watch->service() == service) watch->Tell(found->second);
    }
  }

  void EndWatches() {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    for (Watcher* watch : watches_) watch->End({grpc::StatusCode::UNAVAILABLE, "the server is stopping"});
  }

 private:
  // One stream. At most one message is under way; of statuses that come meanwhile only the newest is sent.
  // Tell and End are called with the service's mutex held, gRPC's On… without it.
  class Watcher final : public grpc::ServerWriteReactor<HealthResponse> {
   public:
    Watcher(HealthService& owner, std::string service) : owner_(owner), service_(std::move(service)) {}

    const std::string& service() const { return service_; }

    void Tell(ServingStatus status) {
      newest_ = status;
      if (!writing_) WriteNewest();
    }
    void End(const grpc::Status& status) {
      if (std::exchange(ended_, true)) return;
      Finish(status);
    }
    void OnWriteDone(bool ok) override {
      const std::lock_guard lock(owner_.mutex_);
      writing_ = false;
      if (!ok) return End({grpc::StatusCode::CANCELLED, "the watcher has gone"});
      if (newest_ != message_.status()) WriteNewest();
    }
    void OnCancel() override {
      const std::lock_guard lock(owner_.mutex_);
      End({grpc::StatusCode::CANCELLED, "the watcher has gone"});
    }
    void OnDone() override {
      {
        const std::lock_guard lock(owner_.mutex_);
        owner_.watches_.erase(this);
      }
      delete this;
    }

   private:
    void WriteNewest() {
      if (ended_) return;
      writing_ = true;
      message_.set_status(newest_);
      StartWrite(&message_);
    }

    HealthService& owner_;
    const std::string service_;
    HealthResponse message_;
    ServingStatus newest_ = HealthResponse::UNKNOWN;
    bool writing_ = false, ended_ = false;
  };

  std::mutex mutex_;
  std::map<std::string, ServingStatus> statuses_;  // guarded by mutex_, as what follows
  std::set<Watcher*> watches_;
  bool ending_ = false;
};

}  // namespace

struct HealthServer::Impl {
  explicit Impl(const std::vector<std::string>& services) : service(services) {}

  HealthService service;
  std::unique_ptr<grpc::Server> server;  // ends before the service that it calls
  int port = 0;
};

HealthServer::HealthServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HealthServer::~HealthServer() {
  impl_->service.EndWatches();
  impl_->server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
}

absl::StatusOr<std::unique_ptr<HealthServer>> HealthServer::Start(const std::string& listen,
                                                                  const std::vector<std::string>& services) {
  auto impl = std::make_unique<Impl>(services);
  grpc::ServerBuilder builder;
  // The library's own health service would answer the same names with the state of another server.
  builder.SetOption(std::make_unique<grpc::HealthCheckServiceServerBuilderOption>(nullptr));
  builder.SetMaxReceiveMessageSize(kProbeBytesMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kProbeMetadataBytesMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, static_cast<int>(kWatchesMax) + 16);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  grpc::ResourceQuota quota("health");
  quota.Resize(kProbeMemoryBytesMax);
  builder.SetResourceQuota(quota);
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &impl->port);
  builder.RegisterService(&impl->service);
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || impl->port == 0) {
    return absl::FailedPreconditionError("health_listen: cannot listen on " + listen +
                                         ": the port is taken, or the address is not of this machine");
  }
  return std::unique_ptr<HealthServer>(new HealthServer(std::move(impl)));
}

int HealthServer::port() const {
  return impl_->port;
}

void HealthServer::Set(const std::string& service, bool serving) {
  if (service != kLiveness) impl_->service.Set(service, serving);
}

}  // namespace retort::services
