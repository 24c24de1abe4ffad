// What the gateway knows of an HTTP/1.1 request, and how it writes the head of a response (RFC 9112). Plain
// values; the functions are pure.
#ifndef SERVICES_GATEWAY_HTTP_MESSAGE_H_
#define SERVICES_GATEWAY_HTTP_MESSAGE_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace retort::services::gateway {

// Names in lower case, in the order of the wire; a name may be there again.
using Headers = std::vector<std::pair<std::string, std::string>>;

struct RequestHead {
  std::string method;  // GET, POST, ...
  std::string target;  // as it was sent, nothing decoded
  Headers headers;
  bool keep_alive = true;  // the client takes another response on this connection
  // Of the body; nothing when it is sent in chunks.
  std::optional<size_t> content_length = 0;
};

// The first value of a header, empty without it.
std::string_view ValueOf(const Headers& headers, std::string_view name);
// Of all headers of that name, joined by a comma (RFC 9110, section 5.3).
std::string JoinedValues(const Headers& headers, std::string_view name);
size_t CountOf(const Headers& headers, std::string_view name);

// A status line, the headers and the empty line. Names and values hold no control characters: those that come
// from a service have passed ToHeaders (metadata.h).
std::string ResponseHead(int status, const Headers& headers);

// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, section 5.6.7).
std::string HttpDate(long unix_seconds);

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_HTTP_MESSAGE_H_
