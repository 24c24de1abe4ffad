// What the stack in front of a handler costs a unary call: mutual TLS identity, access rule, call limits,
// metrics and log, against the same handler in a bare gRPC server with the same certificates. One connection
// each, calls in turn, one JSON line:
//   bin/call_overhead_bench [calls]
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "retort/policy/v1/policy.grpc.pb.h"
#include "services/edge/channel.h"
#include "services/edge/dev_identity.h"
#include "services/edge/server.h"
#include "services/identity/access_audit.h"
#include "services/identity/access_file.h"
#include "services/identity/access_guard.h"
#include "services/identity/tls_credentials.h"
#include "services/telemetry/call_telemetry.h"

namespace {

using namespace retort;
using Clock = std::chrono::steady_clock;
constexpr char kService[] = "retort.policy.v1.PolicyService";
constexpr size_t kPayload = 1024;

class EchoService final : public policy::v1::PolicyService::Service {
  grpc::Status GetPolicy(grpc::ServerContext*, const policy::v1::GetPolicyRequest* request,
                         policy::v1::Policy* response) override {
    response->set_name(request->name());
    response->set_title(std::string(kPayload, 'e'));
    return grpc::Status::OK;
  }
};

// Reads leave no entry, so nothing comes here.
class NoSink final : public services::AccessSink {
 public:
  absl::StatusOr<bool> HasLog(const std::string&) override { return true; }
  absl::Status Append(const std::string&, const ledger::AccessStatement&) override {
    return absl::InternalError("a read was audited");
  }
};

class Caller {
 public:
  explicit Caller(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(policy::v1::PolicyService::NewStub(channel)) {
    request_.set_name("projects/kitchen/policies/smollm2");
  }
  // Microseconds of one call; ends the program when it fails.
  double Call() {
    grpc::ClientContext context;
    services::SetDeadline(context, std::chrono::seconds(10));
    context.AddMetadata("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    const auto begin = Clock::now();
    const grpc::Status status = stub_->GetPolicy(&context, request_, &response_);
    const auto end = Clock::now();
    if (!status.ok()) {
      std::fprintf(stderr, "call: %s\n", status.error_message().c_str());
      std::exit(1);
    }
    return std::chrono::duration<double, std::micro>(end - begin).count();
  }

 private:
  std::unique_ptr<policy::v1::PolicyService::Stub> stub_;
  policy::v1::GetPolicyRequest request_;
  policy::v1::Policy response_;
};

double Quantile(std::vector<double>& values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

template <class T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  const int calls = argc > 1 ? std::atoi(argv[1]) : 20'000;
  const std::string folder =
      (std::filesystem::temp_directory_path() / ("call_overhead." + std::to_string(getpid()))).string();
  if (calls < 1 || !services::EnsureDevIdentity(folder).ok()) return 1;
  const auto paths = [&](const std::string& name) {
    return services::TlsPaths{folder + "/" + name + ".crt", folder + "/" + name + ".key", folder + "/ca.crt"};
  };
  std::ofstream(folder + "/access.yaml") << "trust_domain: dev.retort.invalid\ngrants:\n"
                                            "  - {identity: spiffe://dev.retort.invalid/client, roles: "
                                            "[viewer], projects: [kitchen]}\n";
  const auto file = Must(services::AccessFile::Open({.path = folder + "/access.yaml"}));
  NoSink sink;
  services::AccessAudit audit({.sink = &sink});
  const services::AccessGuard guard(file.get(), &audit);
  services::Metrics metrics({});
  EchoService service;
  const auto ours = Must(services::EdgeServer::Start(
      {.listen = "127.0.0.1:0",
       .tls = paths("server"),
       .access = &guard,
       .limits = {.calls_per_second = 1'000'000, .burst = 1'000'000},
       .telemetry =
           services::MakeCallTelemetry({.metrics = &metrics, .methods = services::MethodsOf({kService})})},
      {{&service, kService}}));
  const auto bare_credentials = Must(services::ServerTls(paths("server"), std::chrono::seconds(20)));
  grpc::ServerBuilder builder;
  int bare_port = 0;
  builder.AddListeningPort("127.0.0.1:0", bare_credentials, &bare_port);
  builder.RegisterService(&service);
  const auto bare = builder.BuildAndStart();

  Caller to_ours(Must(services::ConnectTo("127.0.0.1:" + std::to_string(ours->port()), paths("client"))));
  Caller to_bare(Must(services::ConnectTo("127.0.0.1:" + std::to_string(bare_port), paths("client"))));
  std::vector<double> of_ours, of_bare;
  for (int i = -500; i < calls; ++i) {  // the first ones connect and warm up
    const double a = to_bare.Call(), b = to_ours.Call();
    if (i >= 0) {
      of_bare.push_back(a);
      of_ours.push_back(b);
    }
  }
  const double p50 = Quantile(of_ours, 0.5), bare_p50 = Quantile(of_bare, 0.5);
  std::printf(
      "{\"calls\":%d,\"response_bytes\":%zu,\"bare_p50_us\":%.1f,\"bare_p99_us\":%.1f,\"p50_us\":%.1f,\"p99_"
      "us\":"
      "%.1f,\"ratio_p50\":%.3f,\"ratio_p99\":%.3f}\n",
      calls, kPayload, bare_p50, Quantile(of_bare, 0.99), p50, Quantile(of_ours, 0.99), p50 / bare_p50,
      Quantile(of_ours, 0.99) / Quantile(of_bare, 0.99));
  bare->Shutdown();
  std::filesystem::remove_all(folder);
  return 0;
}
