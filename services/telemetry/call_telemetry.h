// Watches every call of a gRPC server: how long it took, how it ended, what it was about; for metrics and the
// log.
//
// A server interceptor (services/edge/server.h takes it): it sees a call from its arrival to its status and
// changes nothing. Calls that are turned away before their request is read
// (services/identity/guarded_service.h, AdmissionProcessor) do not come here; the ledger has those.
#ifndef SERVICES_TELEMETRY_CALL_TELEMETRY_H_
#define SERVICES_TELEMETRY_CALL_TELEMETRY_H_

#include <grpcpp/support/server_interceptor.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"

namespace retort::services {

// "OK", "NOT_FOUND": the names of gRPC; "UNKNOWN" for a number that is none.
std::string_view CodeName(int code);

// "/package.Service/Method" of each method of these services, as far as they are linked into the program.
std::set<std::string> MethodsOf(const std::vector<std::string>& services);

struct CallTelemetryOptions {
  // Not owned, outlives the server; null measures nothing.
  Metrics* metrics = nullptr;
  // The methods that are told apart: synchronous methods of the server's own services. Others are
  // kOtherLabel.
  std::set<std::string> methods;
  // Gets calls that ended by a fault of ours (INTERNAL, UNKNOWN, DATA_LOSS, UNAVAILABLE), at most
  // kFaultLinesPerSecond.
  std::function<void(LogLevel, std::string_view, const LogFields&)> log = Log;
};

// So that a fault which every call meets does not fill the disk as well.
inline constexpr int kFaultLinesPerSecond = 10;

// What a ServerBuilder takes; made once for each server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallTelemetry(
    CallTelemetryOptions options);

}  // namespace retort::services

#endif  // SERVICES_TELEMETRY_CALL_TELEMETRY_H_
