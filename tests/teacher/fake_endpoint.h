// HTTP endpoints for tests, on a free port of the loopback interface: one that speaks HTTP properly, and one
// that writes whatever bytes a test wants, when it wants, so that a broken connection can be made at any
// byte.
#ifndef TESTS_TEACHER_FAKE_ENDPOINT_H_
#define TESTS_TEACHER_FAKE_ENDPOINT_H_

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace retort::teacher {

struct SeenRequest {
  std::string path, body;
  std::map<std::string, std::string> headers;  // lower-case names
};

struct CannedAnswer {
  int status = 200;
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

// Answers POST requests through `answer`, which is called with the number of requests before this one.
// Thread-safe.
class FakeEndpoint {
 public:
  // With certificate and key files the endpoint speaks TLS.
  explicit FakeEndpoint(std::function<CannedAnswer(int)> answer, const std::string& certificate = "",
                        const std::string& private_key = "");
  ~FakeEndpoint();

  std::string url() const;  // scheme://127.0.0.1:port
  std::vector<SeenRequest> requests() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Reads what a client sends until the end of its headers, then writes `chunks` with `pause` before each, then
// closes the connection. One connection after another, each the same.
class RawEndpoint {
 public:
  explicit RawEndpoint(std::vector<std::string> chunks,
                       std::chrono::milliseconds pause = std::chrono::milliseconds(0));
  ~RawEndpoint();

  std::string url() const;  // http://127.0.0.1:port
  int connections() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A port of the loopback interface where nothing listens (until something else takes it).
int ClosedPort();

}  // namespace retort::teacher

#endif  // TESTS_TEACHER_FAKE_ENDPOINT_H_
