#include "services/telemetry/trace_context.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <utility>

namespace retort::services {
namespace {

constexpr size_t kTraceparentBytes = 55;
constexpr size_t kStateBytesMax = 512;  // what section 3.3.1.5 asks to hand on at least

thread_local const TraceContext* current_trace = nullptr;

bool IsLowerHex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}
bool IsZero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

// Ids need to differ, not to be secret.
std::string RandomHex(size_t digits) {
  static thread_local std::mt19937_64 generator = [] {
    std::random_device entropy;
    std::seed_seq seed{entropy(), entropy(), entropy(), entropy()};
    return std::mt19937_64(seed);
  }();
  std::string text;
  do {
    text.clear();
    while (text.size() < digits) {
      uint64_t bits = generator();
      for (int i = 0; i < 16 && text.size() < digits; ++i, bits >>= 4) text += "0123456789abcdef"[bits & 15];
    }
  } while (IsZero(text));
  return text;
}

}  // namespace

std::string TraceContext::Traceparent() const {
  return "00-" + trace_id + "-" + span_id + (sampled ? "-01" : "-00");
}

TraceContext TraceContext::NewRoot(bool sampled) {
  return {.trace_id = RandomHex(32), .span_id = RandomHex(16), .sampled = sampled, .state = ""};
}

TraceContext TraceContext::Child() const {
  TraceContext child = *this;
  child.span_id = RandomHex(16);
  return child;
}

std::optional<TraceContext> ParseTraceContext(std::string_view traceparent, std::string_view state) {
  if (traceparent.size() < kTraceparentBytes) return std::nullopt;
  const std::string_view version = traceparent.substr(0, 2), trace_id = traceparent.substr(3, 32),
                         span_id = traceparent.substr(36, 16), flags = traceparent.substr(53, 2);
  if (traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-') return std::nullopt;
  if (!IsLowerHex(version) || version == "ff") return std::nullopt;
  if (traceparent.size() > kTraceparentBytes && (version == "00" || traceparent[kTraceparentBytes] != '-')) {
    return std::nullopt;
  }
  if (!IsLowerHex(trace_id) || IsZero(trace_id) || !IsLowerHex(span_id) || IsZero(span_id) ||
      !IsLowerHex(flags)) {
    return std::nullopt;
  }
  const bool keep = state.size() <= kStateBytesMax &&
                    std::all_of(state.begin(), state.end(), [](char c) { return c >= 0x20 && c <= 0x7E; });
  return TraceContext{.trace_id = std::string(trace_id),
                      .span_id = std::string(span_id),
                      .sampled = std::string_view("13579bdf").find(flags[1]) != std::string_view::npos,
                      .state = keep ? std::string(state) : ""};
}

const TraceContext* CurrentTrace() {
  return current_trace;
}

TraceScope::TraceScope(TraceContext context) : context_(std::move(context)), before_(current_trace) {
  current_trace = &context_;
}

TraceScope::~TraceScope() {
  current_trace = before_;
}

}  // namespace retort::services
