#include "services/telemetry/log.h"

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <ctime>
#include <utility>

#include "proto/utf8.h"

namespace retort::services {
namespace {

// Escaped bytes. Together with the names of the fields, below kLogLineBytesMax.
constexpr size_t kMessageBytesMax = 2400;
constexpr size_t kFieldBytesMax = 160;
constexpr std::string_view kCut = "...";

// Length of the character that begins at `at`, or 0 when the bytes there are none.
size_t CharacterAt(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (at + length > text.size() || !IsUtf8(text.substr(at, length))) return 0;
  return length;
}

// Appends `text` so that it stays one line and, with `quoted`, fits between the quotes of a JSON string; at
// most `bytes_max` bytes and kCut.
void AppendEscaped(std::string& out, std::string_view text, size_t bytes_max, bool quoted) {
  const size_t end = out.size() + bytes_max;
  for (size_t at = 0; at < text.size();) {
    const size_t length = CharacterAt(text, at);
    const std::string_view bytes = text.substr(at, length);
    std::string piece;
    // Besides C0 and DEL: C1 controls and the separators U+2028 and U+2029, which end lines for some readers.
    const bool c1 = length == 2 && bytes[0] == '\xC2' && static_cast<unsigned char>(bytes[1]) < 0xA0;
    if (length == 0) {
      piece = "\\ufffd";
    } else if (length == 1 && (static_cast<unsigned char>(bytes[0]) < 0x20 || bytes[0] == 0x7F)) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(bytes[0]));
      piece = bytes[0] == '\n' ? "\\n" : bytes[0] == '\t' ? "\\t" : escape;
    } else if (c1) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x",
                    static_cast<unsigned>(static_cast<unsigned char>(bytes[1])));
      piece = escape;
    } else if (bytes == "\xE2\x80\xA8" || bytes == "\xE2\x80\xA9") {
      piece = bytes.back() == '\xA8' ? "\\u2028" : "\\u2029";
    } else {
      if (quoted && (bytes == "\"" || bytes == "\\")) piece = '\\';
      piece += bytes;
    }
    if (out.size() + piece.size() > end) {
      out += kCut;
      return;
    }
    out += piece;
    at += length == 0 ? 1 : length;
  }
}

const char* LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      break;
  }
  return "error";
}

std::string Timestamp(std::chrono::system_clock::time_point time) {
  const int64_t us = std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count();
  const std::time_t seconds = static_cast<std::time_t>(us / 1'000'000 - (us % 1'000'000 < 0 ? 1 : 0));
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[64];
  const size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + length, sizeof(text) - length, ".%06dZ",
                static_cast<int>(us - int64_t{seconds} * 1'000'000));
  return text;
}

LogSettings& Settings() {
  static LogSettings settings;
  return settings;
}

}  // namespace

std::string FormatLogLine(const LogSettings& settings, LogLevel level,
                          std::chrono::system_clock::time_point time, std::string_view message,
                          const LogFields& fields) {
  std::string line;
  if (settings.format == LogFormat::kText) {
    line = settings.service + (level == LogLevel::kWarning ? ": warning: " : ": ");
    AppendEscaped(line, message, kMessageBytesMax, /*quoted=*/false);
    return line + "\n";
  }
  line = "{\"ts\":\"" + Timestamp(time) + "\",\"level\":\"" + LevelName(level) + "\",\"msg\":\"";
  AppendEscaped(line, message, kMessageBytesMax, /*quoted=*/true);
  line += '"';
  for (const auto& [name, value] : {std::pair<const char*, const std::string&>{"service", settings.service},
                                    {"version", settings.version},
                                    {"trace_id", fields.trace_id},
                                    {"span_id", fields.span_id},
                                    {"request_id", fields.request_id},
                                    {"peer", fields.peer},
                                    {"method", fields.method},
                                    {"code", fields.code},
                                    {"job", fields.job}}) {
    if (value.empty()) continue;
    line += std::string(",\"") + name + "\":\"";
    AppendEscaped(line, value, kFieldBytesMax, /*quoted=*/true);
    line += '"';
  }
  return line + "}\n";
}

void SetUpLog(LogSettings settings) {
  Settings() = std::move(settings);
}

void Log(LogLevel level, std::string_view message, const LogFields& fields) {
  const std::string line =
      FormatLogLine(Settings(), level, std::chrono::system_clock::now(), message, fields);
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;  // there is nowhere left to say so
}

}  // namespace retort::services
