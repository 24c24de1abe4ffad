#include "tests/services/gateway/http_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

namespace retort::services::gateway {

HttpPeer::HttpPeer(int port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  const timeval patience{10, 0};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) Close();
}

HttpPeer::~HttpPeer() {
  Close();
}

void HttpPeer::Close() {
  if (socket_ >= 0) close(socket_);
  socket_ = -1;
}

void HttpPeer::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

bool HttpPeer::Fill() {
  const std::string more = ReadSome();
  unread_ += more;
  return !more.empty();
}

std::string HttpPeer::ReadSome() {
  if (!unread_.empty() && socket_ < 0) return "";
  std::string bytes(64 << 10, '\0');
  const ssize_t got = recv(socket_, bytes.data(), bytes.size(), 0);
  bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return bytes;
}

bool HttpPeer::IsClosed() {
  char byte = 0;
  const ssize_t got = recv(socket_, &byte, 1, 0);
  return socket_ < 0 || got == 0 || (got < 0 && errno == ECONNRESET);
}

bool HttpPeer::ReadLine(std::string& line) {
  size_t end = 0;
  while ((end = unread_.find("\r\n")) == std::string::npos) {
    if (!Fill()) return false;
  }
  line = unread_.substr(0, end);
  unread_.erase(0, end + 2);
  return true;
}

bool HttpPeer::ReadExactly(size_t size, std::string& bytes) {
  while (unread_.size() < size) {
    if (!Fill()) return false;
  }
  bytes += unread_.substr(0, size);
  unread_.erase(0, size);
  return true;
}

HttpResponse HttpPeer::Read() {
  HttpResponse response;
  std::string line;
  if (!ReadLine(line) || line.size() < 12) return {};
  const int status = std::stoi(line.substr(9, 3));
  while (ReadLine(line) && !line.empty()) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) return {};
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    response.headers.emplace_back(name, line.substr(colon + 2));
  }
  if (response.header("transfer-encoding") == "chunked") {
    for (size_t size = 1; size > 0;) {
      if (!ReadLine(line)) return {};
      size = std::stoul(line, nullptr, 16);
      if (!ReadExactly(size, response.body) || !ReadLine(line)) return {};
    }
  } else if (const auto length = response.header("content-length"); !length.empty()) {
    if (!ReadExactly(std::stoul(std::string(length)), response.body)) return {};
  }
  response.status = status;
  return response;
}

std::string Post(int port, const std::string& path, const std::string& type, const std::string& body,
                 const std::string& lines) {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost:" + std::to_string(port) +
         "\r\nContent-Type: " + type + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + lines +
         "\r\n" + body;
}

std::string Get(int port, const std::string& target, const std::string& lines) {
  return "GET " + target + " HTTP/1.1\r\nHost: localhost:" + std::to_string(port) + "\r\n" + lines + "\r\n";
}

}  // namespace retort::services::gateway
