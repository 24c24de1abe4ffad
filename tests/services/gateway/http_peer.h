// A client of HTTP/1.1 over one plain socket that sends exactly what a test gives it, and reads what comes
// back.
#ifndef TESTS_SERVICES_GATEWAY_HTTP_PEER_H_
#define TESTS_SERVICES_GATEWAY_HTTP_PEER_H_

#include <string>
#include <string_view>

#include "services/gateway/http_message.h"

namespace retort::services::gateway {

struct HttpResponse {
  int status = 0;  // 0: none came
  Headers headers;
  std::string body;  // chunks joined

  std::string_view header(std::string_view name) const { return ValueOf(headers, name); }
};

class HttpPeer {
 public:
  // Connects to 127.0.0.1; reads end after ten seconds.
  explicit HttpPeer(int port);
  ~HttpPeer();
  HttpPeer(const HttpPeer&) = delete;
  HttpPeer& operator=(const HttpPeer&) = delete;

  // What cannot be sent because the server has closed is dropped.
  void Send(std::string_view bytes);
  // The next response; status 0 when the connection ends before one is complete.
  HttpResponse Read();
  // The next bytes of a response, "" at the end.
  std::string ReadSome();
  // True when the server ends the connection, and sends nothing more, within ten seconds.
  bool IsClosed();
  void Close();

 private:
  bool Fill();
  bool ReadLine(std::string& line);
  bool ReadExactly(size_t size, std::string& bytes);

  int socket_;
  std::string unread_;
};

// A request with Host, Content-Type and Content-Length, and further header lines as "Name: value\r\n".
std::string Post(int port, const std::string& path, const std::string& type, const std::string& body,
                 const std::string& lines = "");
std::string Get(int port, const std::string& target, const std::string& lines = "");

}  // namespace retort::services::gateway

#endif  // TESTS_SERVICES_GATEWAY_HTTP_PEER_H_
