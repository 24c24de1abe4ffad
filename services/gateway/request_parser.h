// Reads one HTTP/1.1 request from bytes as they come (RFC 9112), over Boost.Beast, which no other file of
// this folder includes. No sockets. Not thread-safe.
//
//   RequestParser parser(limits);
//   size_t used = parser.Feed(bytes);              // call again with what was not used, and more
//   if (parser.state() == RequestParser::State::kHead) parser.AcceptBody(limit);
#ifndef SERVICES_GATEWAY_REQUEST_PARSER_H_
#define SERVICES_GATEWAY_REQUEST_PARSER_H_

#include <memory>
#include <string>
#include <string_view>

#include "services/gateway/http_message.h"

namespace retort::services::gateway {

class RequestParser {
 public:
  enum class State {
    kReading,  // the head is not there yet
    kHead,     // the head is; AcceptBody or nothing more
    kBody,     // the body is coming
    kDone,     // all of it is there; what Feed did not use is the next request
    kRefused,  // no request; see refusal()
  };
  struct HttpRefusal {
    int status = 400;
    std::string text;
  };

  explicit RequestParser(size_t head_bytes_max);
  ~RequestParser();

  // How many of `bytes` were used. Bytes that were not are to be given again, with those that follow them. A
  // head longer than head_bytes_max is refused with 431, another version than HTTP/1.1 with 505, what is not
  // HTTP, or would be read in two ways, with 400: both Content-Length and chunks, two Host fields or none.
  size_t Feed(std::string_view bytes);

  // From here on the body is taken: at most `bytes_max` of it, more is refused with 413.
  void AcceptBody(size_t bytes_max);

  State state() const { return state_; }
  const RequestHead& head() const { return head_; }  // from kHead on
  const HttpRefusal& refusal() const { return refusal_; }
  const std::string& body() const;  // what has come of it

 private:
  struct Impl;
  void Refuse(int status, std::string text);
  void TakeHead();

  std::unique_ptr<Impl> impl_;
  State state_ = State::kReading;
  RequestHead head_;
  HttpRefusal refusal_;
};

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_REQUEST_PARSER_H_
