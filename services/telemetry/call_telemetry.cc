#include "services/telemetry/call_telemetry.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "services/identity/peer.h"
#include "services/telemetry/call_facts.h"
#include "services/telemetry/trace_context.h"

namespace retort::services {
namespace {

using grpc::experimental::InterceptionHookPoints;
using std::chrono::steady_clock;

constexpr char kAppend[] = "/retort.ledger.v1.LedgerService/AppendEntry";
constexpr char kExtract[] = "/retort.teacher.v1.TeacherService/Extract";
constexpr char kDecideJob[] = "/retort.policy.v1.PolicyService/DecideJob";
constexpr char kDecideSample[] = "/retort.policy.v1.PolicyService/DecideSample";
constexpr std::string_view kLedgerService = "/retort.ledger.v1.LedgerService/";

bool IsOurFault(grpc::StatusCode code) {
  return code == grpc::StatusCode::INTERNAL || code == grpc::StatusCode::UNKNOWN ||
         code == grpc::StatusCode::DATA_LOSS || code == grpc::StatusCode::UNAVAILABLE;
}

// A call that was refused for what it asks did not come to a teacher.
bool CameToTeacher(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::FAILED_PRECONDITION:
      return false;
    default:
      return true;
  }
}

// The value of a top-level text field, empty without one.
std::string TextField(const google::protobuf::Message& message, const char* name) {
  const auto* field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->is_repeated() ||
      field->type() != google::protobuf::FieldDescriptor::TYPE_STRING) {
    return "";
  }
  return message.GetReflection()->GetString(message, field).substr(0, 128);
}

std::string_view HeaderOf(const std::multimap<grpc::string_ref, grpc::string_ref>& metadata,
                          const char* name) {
  const auto found = metadata.find(name);
  return found == metadata.end() ? "" : std::string_view(found->second.data(), found->second.size());
}

// Admits a number of events a second and counts the rest.
class Throttle {
 public:
  // How many were left out since the last that was admitted; nothing when this one is to be left out too.
  std::optional<int64_t> Admit() {
    const std::lock_guard lock(mutex_);
    const auto now = steady_clock::now();
    if (now - began_ >= std::chrono::seconds(1)) {
      began_ = now;
      admitted_ = 0;
    }
    if (admitted_ >= kFaultLinesPerSecond) {
      ++left_out_;
      return std::nullopt;
    }
    ++admitted_;
    return std::exchange(left_out_, 0);
  }

 private:
  std::mutex mutex_;
  steady_clock::time_point began_{};  // guarded by mutex_, as what follows
  int admitted_ = 0;
  int64_t left_out_ = 0;
};

struct Shared {
  CallTelemetryOptions options;
  Throttle throttle;
};

// One call. gRPC runs the hooks one after another; for a synchronous method on the thread that runs the
// handler.
class WatchedCall final : public grpc::experimental::Interceptor {
 public:
  WatchedCall(Shared& shared, grpc::experimental::ServerRpcInfo& info)
      : shared_(shared),
        info_(info),
        known_(shared.options.methods.contains(info.method())),
        method_(known_ ? info.method() : std::string(kOtherLabel)) {
    if (shared_.options.metrics != nullptr) shared_.options.metrics->CallBegan();
  }

  ~WatchedCall() override {
    if (shared_.options.metrics != nullptr) {
      shared_.options.metrics->CallEnded(method_, std::string(CodeName(code_)), Seconds());
    }
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* hooks) override {
    if (known_) {  // others may carry other things than messages
      if (hooks->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
        const auto* metadata = hooks->GetRecvInitialMetadata();
        trace_ = ParseTraceContext(HeaderOf(*metadata, "traceparent"), HeaderOf(*metadata, "tracestate"));
      }
      if (hooks->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE)) {
        if (const void* request = hooks->GetRecvMessage(); request != nullptr) Received(request);
      }
      if (hooks->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_MESSAGE) &&
          method_ == kExtract) {
        if (const void* response = hooks->GetSendMessage(); response != nullptr) {
          answer_ = FactsOf(*static_cast<const teacher::v1::ExtractResponse*>(
              static_cast<const google::protobuf::MessageLite*>(response)));
        }
      }
    }
    if (hooks->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS))
      Ended(hooks->GetSendStatus());
    hooks->Proceed();
  }

 private:
  double Seconds() const { return std::chrono::duration<double>(steady_clock::now() - began_).count(); }

  void Received(const void* bytes) {
    // Generated messages derive from Message first and alone, so the addresses are one.
    const auto& request = *static_cast<const google::protobuf::Message*>(bytes);
    request_id_ = TextField(request, "request_id");
    if (shared_.options.metrics != nullptr && method_ == kAppend) {
      sample_ = FactsOf(static_cast<const ledger::v1::AppendEntryRequest&>(request));
    }
  }

  void Ended(const grpc::Status& status) {
    code_ = status.error_code();
    if (shared_.options.metrics != nullptr) Measure(*shared_.options.metrics);
    if (!known_ || !IsOurFault(code_)) return;
    const auto left_out = shared_.throttle.Admit();
    if (!left_out.has_value()) return;
    std::string message = status.error_message();
    if (*left_out > 0) message += " (" + std::to_string(*left_out) + " lines like this were left out before)";
    LogFields fields{.request_id = request_id_,
                     .peer = CallerOf(*info_.server_context()),
                     .method = method_,
                     .code = std::string(CodeName(code_))};
    if (trace_.has_value()) {
      fields.trace_id = trace_->trace_id;
      fields.span_id = trace_->span_id;
    }
    shared_.options.log(code_ == grpc::StatusCode::UNAVAILABLE ? LogLevel::kWarning : LogLevel::kError,
                        message, fields);
  }

  void Measure(Metrics& metrics) {
    if (method_ == kAppend && code_ == grpc::StatusCode::OK) {
      metrics.LedgerAppended(Seconds());
      if (sample_.has_value()) metrics.SampleRecorded(sample_->teacher, sample_->verdict, sample_->rule);
    }
    if ((method_ == kDecideJob || method_ == kDecideSample) && code_ == grpc::StatusCode::OK) {
      metrics.PolicyEvaluated(Seconds());
    }
    if (method_ == kExtract && CameToTeacher(code_)) {
      metrics.TeacherAsked(Seconds());
      if (answer_.has_value()) metrics.TeacherTokens(answer_->input_tokens, answer_->output_tokens);
    }
    if (code_ == grpc::StatusCode::DATA_LOSS && method_.starts_with(kLedgerService))
      metrics.LedgerVerifyFailed();
  }

  Shared& shared_;
  grpc::experimental::ServerRpcInfo& info_;
  const steady_clock::time_point began_ = steady_clock::now();
  const bool known_;
  const std::string method_;
  std::optional<TraceContext> trace_;  // the caller's
  std::string request_id_;
  std::optional<SampleFacts> sample_;
  std::optional<AnswerFacts> answer_;
  grpc::StatusCode code_ = grpc::StatusCode::CANCELLED;  // what a call without a status came to
};

class CallTelemetry final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit CallTelemetry(CallTelemetryOptions options) { shared_.options = std::move(options); }

  grpc::experimental::Interceptor* CreateServerInterceptor(grpc::experimental::ServerRpcInfo* info) override {
    return new WatchedCall(shared_, *info);  // gRPC owns it
  }

 private:
  Shared shared_;
};

}  // namespace

std::string_view CodeName(int code) {
  static constexpr std::string_view kNames[] = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  return code >= 0 && code < static_cast<int>(std::size(kNames)) ? kNames[code] : "UNKNOWN";
}

std::set<std::string> MethodsOf(const std::vector<std::string>& services) {
  std::set<std::string> methods;
  for (const std::string& name : services) {
    const auto* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    for (int i = 0; service != nullptr && i < service->method_count(); ++i) {
      methods.insert("/" + name + "/" + service->method(i)->name());
    }
  }
  return methods;
}

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallTelemetry(
    CallTelemetryOptions options) {
  return std::make_unique<CallTelemetry>(std::move(options));
}

}  // namespace retort::services
