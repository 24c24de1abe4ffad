// A small Connect client over libcurl with mutual TLS, for tests: calls any method with the bytes of its
// request.
#ifndef TESTS_SERVICES_GATEWAY_CONNECT_CLIENT_H_
#define TESTS_SERVICES_GATEWAY_CONNECT_CLIENT_H_

#include <memory>
#include <string>

#include "google/protobuf/descriptor.h"
#include "services/edge/tls_paths.h"

namespace retort::services::gateway {

class ConnectClient {
 public:
  // `address` is host:port. Empty paths of certificate and key show none.
  ConnectClient(const std::string& address, const TlsPaths& tls);
  ~ConnectClient();
  ConnectClient(ConnectClient&&) noexcept;

  // The code that the call ends with, as gRPC spells it: "OK", "NOT_FOUND". "NO_CONNECTION" when there is
  // none, which a refused certificate shows as. What it answers is thrown away.
  std::string Call(const google::protobuf::MethodDescriptor& method, const std::string& request);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::services::gateway

#endif  // TESTS_SERVICES_GATEWAY_CONNECT_CLIENT_H_
