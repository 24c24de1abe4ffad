#include "services/edge/channel.h"

#include <grpcpp/grpcpp.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

namespace retort::services {

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t bytes_max) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    const std::string message = path + ": cannot be read: " + std::strerror(errno);
    if (errno == ENOENT) return absl::NotFoundError(message);
    return absl::FailedPreconditionError(message);
  }
  std::string bytes(bytes_max + 1, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(in.gcount()));
  if (in.bad()) return absl::FailedPreconditionError(path + ": reading failed; wanted a regular file");
  if (bytes.size() > bytes_max) {
    return absl::FailedPreconditionError(path + ": larger than " + std::to_string(bytes_max) + " bytes");
  }
  return bytes;
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectTo(const std::string& address, const TlsPaths& tls) {
  grpc::SslCredentialsOptions options;
  for (const auto& [path, into] : {std::pair{&tls.certificate, &options.pem_cert_chain},
                                   {&tls.private_key, &options.pem_private_key},
                                   {&tls.authorities, &options.pem_root_certs}}) {
    auto bytes = ReadSmallFile(*path);
    if (!bytes.ok()) return bytes.status();
    *into = *std::move(bytes);
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(8 << 20);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A restarted peer should be found again within a second, not after the library's default of up to two
  // minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  return grpc::CreateCustomChannel(address, grpc::SslCredentials(options), arguments);
}

void SetDeadline(grpc::ClientContext& context, std::chrono::milliseconds from_now) {
  context.set_deadline(std::chrono::system_clock::now() + from_now);
}

}  // namespace retort::services
