// What a server says, one line an event on standard error: text for a person at a terminal, JSON for a
// collector.
//
//   // once, in main:
//   SetUpLog({.format = LogFormat::kJson, .service = "retortd", .version = RETORT_VERSION});
//   // then anywhere:
//   Log(LogLevel::kWarning, "the disk is nearly full");
//   Log(LogLevel::kError, message, {.method = "GetJob", .code = "INTERNAL"});
//
// A message may come from a hostile peer: control bytes and broken UTF-8 are escaped, and a line has at most
// kLogLineBytesMax bytes, so one event is one line and one write. Never pass prompts, completions or keys.
#ifndef SERVICES_TELEMETRY_LOG_H_
#define SERVICES_TELEMETRY_LOG_H_

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace retort::services {

enum class LogLevel { kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

inline constexpr size_t kLogLineBytesMax = 4096;  // what a pipe takes in one piece

struct LogSettings {
  LogFormat format = LogFormat::kText;
  std::string service = "retortd";
  std::string version;
};

// What is known of the event; empty fields are left out.
struct LogFields {
  std::string trace_id, span_id, request_id, peer, method, code, job;
};

// The line, with its newline. Text has message and level only; JSON has ts (RFC 3339, UTC, microseconds),
// level, msg, service, version and the fields. Pure.
std::string FormatLogLine(const LogSettings& settings, LogLevel level,
                          std::chrono::system_clock::time_point time, std::string_view message,
                          const LogFields& fields);

// For the whole process, before threads start. Until then lines are text of "retortd".
void SetUpLog(LogSettings settings);

// Writes one line. Safe on any thread; an error of standard error is ignored.
void Log(LogLevel level, std::string_view message, const LogFields& fields = {});

}  // namespace retort::services

#endif  // SERVICES_TELEMETRY_LOG_H_
