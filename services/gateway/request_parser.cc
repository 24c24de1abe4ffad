#include "services/gateway/request_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <limits>

namespace retort::services::gateway {

namespace http = boost::beast::http;

struct RequestParser::Impl {
  http::request_parser<http::string_body> parser;
};

RequestParser::RequestParser(size_t head_bytes_max) : impl_(std::make_unique<Impl>()) {
  impl_->parser.header_limit(
      static_cast<uint32_t>(std::min<size_t>(head_bytes_max, std::numeric_limits<uint32_t>::max())));
  // Until AcceptBody, before which nothing of it is read. Not boost::none: this release takes that for a
  // limit of nothing.
  impl_->parser.body_limit(std::numeric_limits<uint64_t>::max());
  impl_->parser.eager(false);
}

RequestParser::~RequestParser() = default;

const std::string& RequestParser::body() const {
  return impl_->parser.get().body();
}

void RequestParser::Refuse(int status, std::string text) {
  state_ = State::kRefused;
  refusal_ = {status, std::move(text)};
}

size_t RequestParser::Feed(std::string_view bytes) {
  if (state_ != State::kReading && state_ != State::kBody) return 0;
  boost::beast::error_code error;
  const size_t used = impl_->parser.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
  if (error == http::error::need_more) return used;
  if (error == http::error::header_limit) {
    Refuse(431, "the head of the request is too long");
  } else if (error == http::error::body_limit) {
    Refuse(413, "the body of the request is too long");
  } else if (error == http::error::bad_version) {
    Refuse(505, "wanted HTTP/1.1");
  } else if (error) {
    Refuse(400, "no HTTP request: " + error.message());
  } else if (state_ == State::kReading && impl_->parser.is_header_done()) {
    TakeHead();
  } else if (state_ == State::kBody && impl_->parser.is_done()) {
    state_ = State::kDone;
  }
  return used;
}

void RequestParser::AcceptBody(size_t bytes_max) {
  if (state_ != State::kHead) return;
  if (head_.content_length.has_value() && *head_.content_length > bytes_max)
    return Refuse(413, "the body of the request is too long");
  impl_->parser.body_limit(bytes_max);
  impl_->parser.eager(true);
  state_ = impl_->parser.is_done() ? State::kDone : State::kBody;
}

void RequestParser::TakeHead() {
  const auto& message = impl_->parser.get();
  if (message.version() != 11) return Refuse(505, "wanted HTTP/1.1");
  head_.method = std::string(message.method_string());
  head_.target = std::string(message.target());
  for (const auto& field : message) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    head_.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  head_.keep_alive = message.keep_alive();
  if (impl_->parser.chunked()) {
    head_.content_length.reset();
  } else if (const auto length = impl_->parser.content_length()) {
    head_.content_length = static_cast<size_t>(*length);
  }
  if (CountOf(head_.headers, "host") != 1) return Refuse(400, "wanted exactly one Host");
  if (impl_->parser.chunked() && CountOf(head_.headers, "content-length") > 0)
    return Refuse(400, "wanted either Content-Length or chunks");
  if (head_.target.empty() || head_.target[0] != '/')
    return Refuse(400, "wanted a target that begins with a slash");
  state_ = State::kHead;
}

}  // namespace retort::services::gateway
