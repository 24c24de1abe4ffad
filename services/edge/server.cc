#include "services/edge/server.h"

#include <arpa/inet.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mutex>
#include <set>
#include <utility>

#include "services/identity/guarded_service.h"
#include "services/identity/tls_credentials.h"

namespace retort::services {
namespace {

constexpr int kMetadataBytesMax = 16 << 10;
constexpr int kStreamsPerConnectionMax = 256;
constexpr int kThreadsMax = 512;
constexpr size_t kMemoryBytesMax = size_t{1} << 30;

// Both plugins are process-wide switches of the library and must be set before the first server is built.
void EnablePlugins() {
  static std::once_flag once;
  std::call_once(once, [] { grpc::EnableDefaultHealthCheckService(true); });
}

void SetLimits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kReceiveBytesMax);
  builder.SetMaxSendMessageSize(kSendBytesMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnectionMax);
  // Without this a second server on the same port would silently share its connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  grpc::ResourceQuota quota("retort");
  quota.SetMaxThreads(kThreadsMax);
  quota.Resize(kMemoryBytesMax);
  builder.SetResourceQuota(quota);
}

}  // namespace

EdgeServer::EdgeServer(std::unique_ptr<CallLimits> limits,
                       std::vector<std::unique_ptr<grpc::Service>> guarded,
                       std::unique_ptr<grpc::Server> server, int port)
    : limits_(std::move(limits)), guarded_(std::move(guarded)), server_(std::move(server)), port_(port) {}

EdgeServer::~EdgeServer() {
  Drain(std::chrono::milliseconds(0));
}

absl::StatusOr<std::unique_ptr<EdgeServer>> EdgeServer::Start(EdgeServerOptions options,
                                                              const std::vector<ServedService>& services) {
  EnablePlugins();
  if (options.access == nullptr)
    return absl::FailedPreconditionError("no access guard: nobody could be let in");
  auto limits = std::make_unique<CallLimits>(options.limits);
  std::vector<std::unique_ptr<grpc::Service>> guarded;
  std::set<std::string> methods;
  for (const ServedService& served : services) {
    auto one = GuardedService::Make(served.service, served.name, options.access, limits.get());
    if (!one.ok()) return one.status();
    methods.insert((*one)->methods().begin(), (*one)->methods().end());
    guarded.push_back(*std::move(one));
  }
  auto credentials = ServerTls(options.tls, options.certificate_refresh);
  if (!credentials.ok()) return credentials.status();
  (*credentials)
      ->SetAuthMetadataProcessor(std::make_shared<AdmissionProcessor>(options.access, std::move(methods)));
  grpc::ServerBuilder builder;
  SetLimits(builder);
  int port = 0;
  builder.AddListeningPort(options.listen, *credentials, &port);
  for (const auto& service : guarded) builder.RegisterService(service.get());
  if (options.reflection) {
    static std::once_flag once;
    std::call_once(once, [] { grpc::reflection::InitProtoReflectionServerBuilderPlugin(); });
  }
  if (options.telemetry != nullptr) {
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
    interceptors.push_back(std::move(options.telemetry));
    builder.experimental().SetInterceptorCreators(std::move(interceptors));
  }
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    return absl::FailedPreconditionError(
        "cannot listen on " + options.listen +
        ": the port is taken, the address is not of this machine, or the TLS files do not belong together (" +
        options.tls.certificate + ", " + options.tls.private_key + ")");
  }
  return std::unique_ptr<EdgeServer>(
      new EdgeServer(std::move(limits), std::move(guarded), std::move(server), port));
}

std::shared_ptr<grpc::Channel> EdgeServer::InProcessChannel() const {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kSendBytesMax);
  return server_->InProcessChannel(arguments);
}

void EdgeServer::SetServing(bool serving) {
  if (auto* health = server_->GetHealthCheckService(); health != nullptr) health->SetServingStatus(serving);
}

void EdgeServer::Drain(std::chrono::milliseconds grace) {
  SetServing(false);
  server_->Shutdown(std::chrono::system_clock::now() + grace);
}

absl::StatusOr<int> FreeLoopbackPort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::UnavailableError("no socket for choosing a port");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                     getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  close(fd);
  if (!bound) return absl::UnavailableError("no free port on the loopback interface");
  return static_cast<int>(ntohs(address.sin_port));
}

}  // namespace retort::services
