// Where a piece of work stands in a distributed trace: W3C Trace Context, level 1 (traceparent and
// tracestate).
#ifndef SERVICES_TELEMETRY_TRACE_CONTEXT_H_
#define SERVICES_TELEMETRY_TRACE_CONTEXT_H_

#include <optional>
#include <string>
#include <string_view>

namespace retort::services {

struct TraceContext {
  std::string trace_id;  // 32 lower-case hex digits, not all zero
  std::string span_id;   // 16, not all zero
  bool sampled = false;
  std::string state;  // tracestate as it came, handed on unchanged; at most 512 bytes

  // The value of the header traceparent, version 00.
  std::string Traceparent() const;

  // A trace that begins here, with random ids.
  static TraceContext NewRoot(bool sampled);
  // A span under this one: the same trace and state, a new span id.
  TraceContext Child() const;
};

// The sender's place. Nothing for a malformed traceparent, as section 3.2 asks (a hostile one begins a new
// trace); a higher version is read as 00 is, and may have more at its end. `state` is kept only when it is
// printable ASCII and short enough.
std::optional<TraceContext> ParseTraceContext(std::string_view traceparent, std::string_view state);

// The place of what this thread is doing, for lines of the log and for calls it makes; null outside of any.
const TraceContext* CurrentTrace();

// Makes `context` the thread's place until it is destroyed, then the one before is again. Destroyed on the
// same thread, in reverse order.
class TraceScope {
 public:
  explicit TraceScope(TraceContext context);
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

 private:
  const TraceContext context_;
  const TraceContext* const before_;
};

}  // namespace retort::services

#endif  // SERVICES_TELEMETRY_TRACE_CONTEXT_H_
