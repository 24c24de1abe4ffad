#include "services/telemetry/log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "proto/utf8.h"

namespace retort::services {
namespace {

using nlohmann::json;

const auto kTime = std::chrono::system_clock::time_point(std::chrono::microseconds(1'767'323'045'000'006));
const LogSettings kJson{LogFormat::kJson, "retortd", "0.1.0"};
const LogSettings kText{LogFormat::kText, "retortd", "0.1.0"};

TEST(LogTest, OneObjectALine) {
  const std::string line = FormatLogLine(kJson, LogLevel::kWarning, kTime, "the disk is full",
                                         {.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736",
                                          .span_id = "00f067aa0ba902b7",
                                          .request_id = "r",
                                          .peer = "spiffe://a/b",
                                          .method = "/s/M",
                                          .code = "UNAVAILABLE",
                                          .job = "projects/p/jobs/j"});
  ASSERT_EQ(line.find('\n'), line.size() - 1);
  const json object = json::parse(line);
  EXPECT_EQ(object, json({{"ts", "2026-01-02T03:04:05.000006Z"},
                          {"level", "warning"},
                          {"msg", "the disk is full"},
                          {"service", "retortd"},
                          {"version", "0.1.0"},
                          {"trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"},
                          {"span_id", "00f067aa0ba902b7"},
                          {"request_id", "r"},
                          {"peer", "spiffe://a/b"},
                          {"method", "/s/M"},
                          {"code", "UNAVAILABLE"},
                          {"job", "projects/p/jobs/j"}}));
}

TEST(LogTest, UnknownFieldsAreLeftOut) {
  const json object = json::parse(FormatLogLine(kJson, LogLevel::kInfo, kTime, "x", {}));
  EXPECT_EQ(object.size(), 5u) << object;
  EXPECT_EQ(object["level"], "info");
  EXPECT_EQ(json::parse(FormatLogLine(kJson, LogLevel::kError, kTime, "x", {}))["level"], "error");
}

TEST(LogTest, TextIsForPeople) {
  EXPECT_EQ(FormatLogLine(kText, LogLevel::kInfo, kTime, "serving", {.job = "j"}), "retortd: serving\n");
  EXPECT_EQ(FormatLogLine(kText, LogLevel::kWarning, kTime, "soon", {}), "retortd: warning: soon\n");
  EXPECT_EQ(FormatLogLine(kText, LogLevel::kError, kTime, "say \"x\" \\", {}), "retortd: say \"x\" \\\n");
}

TEST(LogTest, AForgedLineStaysInsideItsOwn) {
  const std::string forged =
      "x\n{\"level\":\"info\",\"msg\":\"all is well\"}\r\n\x1b[2J\xC2\x9B"
      "2J\xE2\x80\xA8"
      "end";
  for (const LogSettings& settings : {kJson, kText}) {
    const std::string line = FormatLogLine(settings, LogLevel::kError, kTime, forged, {.peer = forged});
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    EXPECT_EQ(line.find_first_of("\r\x1b"), std::string::npos);
    EXPECT_EQ(line.find("\xC2\x9B"), std::string::npos);
    EXPECT_EQ(line.find("\xE2\x80\xA8"), std::string::npos);
  }
  const json object = json::parse(FormatLogLine(kJson, LogLevel::kError, kTime, forged, {.peer = forged}));
  EXPECT_EQ(object["msg"], forged);  // nothing is lost, and it is one string
  EXPECT_EQ(object["peer"], forged);
}

TEST(LogTest, AnyBytesMakeJson) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  for (const std::string& bytes : {all, std::string("\xF0\x9F\x98"), std::string("\xED\xA0\x80"),
                                   std::string("\xC0\xAF"), std::string("a\0b", 3)}) {
    const std::string line = FormatLogLine(kJson, LogLevel::kInfo, kTime, bytes, {.job = bytes});
    EXPECT_TRUE(IsUtf8(line));
    EXPECT_FALSE(json::parse(line, nullptr, /*allow_exceptions=*/false).is_discarded()) << line;
  }
  EXPECT_EQ(json::parse(FormatLogLine(kJson, LogLevel::kInfo, kTime, "\xF0\x9F\x98\x80 \xC3\xA9", {}))["msg"],
            "\xF0\x9F\x98\x80 \xC3\xA9");
}

TEST(LogTest, ALineIsBounded) {
  for (const std::string& piece :
       {std::string("a"), std::string(1, '\1'), std::string("\""), std::string("\xF0\x9F\x98\x80")}) {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += piece;
    const LogFields fields{text, text, text, text, text, text, text};
    for (const LogSettings& settings : {kJson, kText}) {
      const std::string line = FormatLogLine(settings, LogLevel::kWarning, kTime, text, fields);
      EXPECT_LE(line.size(), kLogLineBytesMax);
      EXPECT_TRUE(IsUtf8(line));
    }
    const json object = json::parse(FormatLogLine(kJson, LogLevel::kWarning, kTime, text, fields));
    EXPECT_TRUE(object["msg"].get<std::string>().ends_with("..."));
  }
}

}  // namespace
}  // namespace retort::services
