// The server under test of the public Connect conformance runner: its ConformanceService as an ordinary gRPC
// service in process, behind the gateway without TLS. One process serves one configuration, which the runner
// writes on standard input (connectrpc/conformance, docs/testing_servers.md).
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "connectrpc/conformance/v1/server_compat.pb.h"
#include "connectrpc/conformance/v1/service.grpc.pb.h"
#include "google/rpc/status.pb.h"
#include "services/gateway/gateway.h"
#include "services/gateway/metadata.h"
#include "services/identity/access_guard.h"
#include "services/identity/forwarded_identity.h"

namespace {

using namespace connectrpc::conformance::v1;
using retort::services::gateway::DecodeBase64;
using retort::services::gateway::UnpaddedBase64;

// A deadline further away is the gateway's own, of a request without a timeout.
constexpr auto kTimeoutMax = std::chrono::minutes(30);
constexpr char kIdentity[] = "spiffe://conformance.invalid/client";

void FillInfo(const grpc::ServerContext& context, const google::protobuf::Message& request,
              ConformancePayload::RequestInfo& info) {
  Header* header = nullptr;
  for (const auto& [key, value] : context.client_metadata()) {
    const std::string name(key.data(), key.size());
    std::string text(value.data(), value.size());
    if (retort::services::IsForwardingHeader(name)) continue;
    if (name.ends_with("-bin")) text = UnpaddedBase64(text);
    if (header == nullptr || header->name() != name) {  // they are sorted by name
      header = info.add_request_headers();
      header->set_name(name);
    }
    header->add_value(text);
  }
  const auto left = context.deadline() - std::chrono::system_clock::now();
  if (left < kTimeoutMax)
    info.set_timeout_ms(std::chrono::duration_cast<std::chrono::milliseconds>(left).count());
  info.add_requests()->PackFrom(request);
}

std::string ValueOf(const std::string& name, const std::string& text) {
  if (!name.ends_with("-bin")) return text;
  const auto bytes = DecodeBase64(text);
  return bytes.ok() ? *bytes : text;
}

template <class Definition>
void AddMetadata(const Definition& definition, grpc::ServerContext& context) {
  for (const auto& header : definition.response_headers()) {
    for (const auto& value : header.value())
      context.AddInitialMetadata(header.name(), ValueOf(header.name(), value));
  }
  for (const auto& header : definition.response_trailers()) {
    for (const auto& value : header.value())
      context.AddTrailingMetadata(header.name(), ValueOf(header.name(), value));
  }
}

grpc::Status StatusOf(const Error& error, const ConformancePayload::RequestInfo* info) {
  google::rpc::Status status;
  status.set_code(error.code());
  status.set_message(error.message());
  *status.mutable_details() = error.details();
  if (info != nullptr) status.add_details()->PackFrom(*info);
  return {static_cast<grpc::StatusCode>(error.code()), error.message(), status.SerializeAsString()};
}

class Conformance final : public ConformanceService::Service {
  grpc::Status Unary(grpc::ServerContext* context, const UnaryRequest* request,
                     UnaryResponse* response) override {
    return Answer(*context, *request, *response);
  }
  grpc::Status IdempotentUnary(grpc::ServerContext* context, const IdempotentUnaryRequest* request,
                               IdempotentUnaryResponse* response) override {
    return Answer(*context, *request, *response);
  }

  template <class Request, class Response>
  static grpc::Status Answer(grpc::ServerContext& context, const Request& request, Response& response) {
    const auto& definition = request.response_definition();
    AddMetadata(definition, context);
    auto& payload = *response.mutable_payload();
    FillInfo(context, request, *payload.mutable_request_info());
    std::this_thread::sleep_for(std::chrono::milliseconds(definition.response_delay_ms()));
    if (definition.has_error()) return StatusOf(definition.error(), &payload.request_info());
    payload.set_data(definition.response_data());
    return grpc::Status::OK;
  }

  grpc::Status ServerStream(grpc::ServerContext* context, const ServerStreamRequest* request,
                            grpc::ServerWriter<ServerStreamResponse>* writer) override {
    const auto& definition = request->response_definition();
    AddMetadata(definition, *context);
    ConformancePayload::RequestInfo info;
    FillInfo(*context, *request, info);
    if (definition.response_data_size() > 0) writer->SendInitialMetadata();
    for (int i = 0; i < definition.response_data_size(); ++i) {
      ServerStreamResponse response;
      response.mutable_payload()->set_data(definition.response_data(i));
      if (i == 0) *response.mutable_payload()->mutable_request_info() = info;
      std::this_thread::sleep_for(std::chrono::milliseconds(definition.response_delay_ms()));
      if (!writer->Write(response)) return grpc::Status::CANCELLED;
    }
    if (!definition.has_error()) return grpc::Status::OK;
    return StatusOf(definition.error(), definition.response_data_size() == 0 ? &info : nullptr);
  }
};

// The ledger of a process that has none: whoever is let in here is the runner.
class NoLedger final : public retort::services::AccessSink {
  absl::StatusOr<bool> HasLog(const std::string&) override { return false; }
  absl::Status Append(const std::string&, const retort::ledger::AccessStatement&) override {
    return absl::OkStatus();
  }
};

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "conformance_server: %s\n", why.c_str());
  std::exit(1);
}

// Messages on standard input and output have their size before them, four bytes in network order.
template <class Message>
Message ReadDelimited() {
  unsigned char size[4];
  if (std::fread(size, 1, 4, stdin) != 4) Die("no request on standard input");
  std::string bytes(static_cast<size_t>(size[0]) << 24 | size[1] << 16 | size[2] << 8 | size[3], '\0');
  Message message;
  if (bytes.size() > 1 << 20 || std::fread(bytes.data(), 1, bytes.size(), stdin) != bytes.size() ||
      !message.ParseFromString(bytes)) {
    Die("no message of the wanted type on standard input");
  }
  return message;
}

void WriteDelimited(const google::protobuf::Message& message) {
  const std::string bytes = message.SerializeAsString();
  for (const int shift : {24, 16, 8, 0}) std::fputc(static_cast<int>(bytes.size() >> shift & 0xff), stdout);
  std::fwrite(bytes.data(), 1, bytes.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

int main() {
  using namespace retort::services;
  sigset_t signals;  // blocked in every thread to come
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const auto request = ReadDelimited<ServerCompatRequest>();
  if (request.use_tls())
    Die("wanted a configuration without TLS: the gateway's needs certificates with SPIFFE ids");
  char path[] = "/tmp/conformance_access.XXXXXX";
  const int file = mkstemp(path);
  if (file < 0) Die("no temporary file");
  close(file);
  std::ofstream(path) << "trust_domain: conformance.invalid\ngrants:\n  - {identity: " << kIdentity
                      << ", roles: [viewer], projects: [\"*\"]}\n";
  const auto access = AccessFile::Open({.path = path});
  unlink(path);
  if (!access.ok()) Die(std::string(access.status().message()));
  NoLedger ledger;
  AccessAudit audit({.sink = &ledger});
  const AccessGuard guard(access->get(), &audit);

  Conformance service;
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  builder.SetMaxReceiveMessageSize(64 << 20);
  const auto server = builder.BuildAndStart();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(64 << 20);
  gateway::GatewayOptions options{.listen = "127.0.0.1:0",
                                  .own_identity = kIdentity,
                                  .services = {ConformanceService::service_full_name()},
                                  .access = &guard,
                                  .channel = server->InProcessChannel(arguments)};
  options.limits.unary_call = std::chrono::hours(1);
  if (request.message_receive_limit() > 0) options.limits.message_bytes_max = request.message_receive_limit();
  const auto gateway = gateway::Gateway::Start(std::move(options));
  if (!gateway.ok()) Die(std::string(gateway.status().message()));
  ServerCompatResponse response;
  response.set_host("127.0.0.1");
  response.set_port(static_cast<uint32_t>((*gateway)->port()));
  WriteDelimited(response);
  int signal = 0;  // by which the runner ends the process
  sigwait(&signals, &signal);
  return 0;
}
