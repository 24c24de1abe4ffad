#include "tests/teacher/fake_endpoint.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cctype>
#include <mutex>
#include <thread>

namespace retort::teacher {

struct FakeEndpoint::State {
  std::unique_ptr<httplib::Server> server;
  int port = 0;
  bool tls = false;
  std::thread thread;
  mutable std::mutex mutex;
  std::vector<SeenRequest> requests;  // guarded by mutex
};

FakeEndpoint::FakeEndpoint(std::function<CannedAnswer(int)> answer, const std::string& certificate,
                           const std::string& private_key)
    : state_(std::make_unique<State>()) {
  State* state = state_.get();
  state->tls = !certificate.empty();
  if (state->tls) {
    state->server = std::make_unique<httplib::SSLServer>(certificate.c_str(), private_key.c_str());
  } else {
    state->server = std::make_unique<httplib::Server>();
  }
  state->server->Post(".*", [state, answer = std::move(answer)](const httplib::Request& request,
                                                                httplib::Response& response) {
    SeenRequest seen{request.path, request.body, {}};
    for (const auto& [name, value] : request.headers) {
      std::string lower = name;
      std::transform(lower.begin(), lower.end(), lower.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      seen.headers[lower] = value;
    }
    int number = 0;
    {
      const std::lock_guard<std::mutex> lock(state->mutex);
      number = static_cast<int>(state->requests.size());
      state->requests.push_back(std::move(seen));
    }
    const CannedAnswer canned = answer(number);
    response.status = canned.status;
    for (const auto& [name, value] : canned.headers) response.set_header(name, value);
    response.set_content(canned.body, "application/json");
  });
  state->port = state->server->bind_to_any_port("127.0.0.1");
  state->thread = std::thread([state] { state->server->listen_after_bind(); });
  while (!state->server->is_running()) std::this_thread::yield();
}

FakeEndpoint::~FakeEndpoint() {
  state_->server->stop();
  state_->thread.join();
}

std::string FakeEndpoint::url() const {
  return std::string(state_->tls ? "https" : "http") + "://127.0.0.1:" + std::to_string(state_->port);
}

std::vector<SeenRequest> FakeEndpoint::requests() const {
  const std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->requests;
}

namespace {

int ListenOnLoopback(int* port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(fd, 16) == 0 &&
                     getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  assert(bound);
  *port = bound ? ntohs(address.sin_port) : 0;
  return fd;
}

}  // namespace

struct RawEndpoint::State {
  int listener = -1;
  int port = 0;
  std::atomic<bool> stop{false};
  std::atomic<int> connections{0};
  std::thread thread;

  // True when `fd` became readable, false when the endpoint is to stop.
  bool WaitReadable(int fd) const {
    while (!stop) {
      pollfd waited{fd, POLLIN, 0};
      if (poll(&waited, 1, 10) > 0) return true;
    }
    return false;
  }

  void Serve(int fd, const std::vector<std::string>& chunks, std::chrono::milliseconds pause) const {
    std::string seen;
    char buffer[4096];
    while (seen.find("\r\n\r\n") == std::string::npos) {
      if (!WaitReadable(fd)) return;
      const ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
      if (got <= 0) return;
      seen.append(buffer, static_cast<size_t>(got));
    }
    for (const std::string& chunk : chunks) {
      const auto end = std::chrono::steady_clock::now() + pause;
      while (!stop && std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      size_t sent = 0;
      while (!stop && sent < chunk.size()) {
        const ssize_t wrote = send(fd, chunk.data() + sent, chunk.size() - sent, MSG_NOSIGNAL);
        if (wrote <= 0) return;  // the client has gone
        sent += static_cast<size_t>(wrote);
      }
    }
    shutdown(fd, SHUT_WR);
  }
};

RawEndpoint::RawEndpoint(std::vector<std::string> chunks, std::chrono::milliseconds pause)
    : state_(std::make_unique<State>()) {
  State* state = state_.get();
  state->listener = ListenOnLoopback(&state->port);
  state->thread = std::thread([state, chunks = std::move(chunks), pause] {
    while (state->WaitReadable(state->listener)) {
      const int fd = accept(state->listener, nullptr, nullptr);
      if (fd < 0) continue;
      ++state->connections;
      state->Serve(fd, chunks, pause);
      close(fd);
    }
  });
}

RawEndpoint::~RawEndpoint() {
  state_->stop = true;
  state_->thread.join();
  close(state_->listener);
}

std::string RawEndpoint::url() const {
  return "http://127.0.0.1:" + std::to_string(state_->port);
}

int RawEndpoint::connections() const {
  return state_->connections;
}

int ClosedPort() {
  int port = 0;
  close(ListenOnLoopback(&port));
  return port;
}

}  // namespace retort::teacher
