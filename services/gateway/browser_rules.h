// What a browser may be made to do by a page that is not ours: requests across origins, and names that are
// rebound to loopback. Pure functions.
//
// The gateway serves no page, so a request with an Origin is of somebody else's, and only listed ones are let
// in (Fetch standard, "CORS protocol").
#ifndef SERVICES_GATEWAY_BROWSER_RULES_H_
#define SERVICES_GATEWAY_BROWSER_RULES_H_

#include <set>
#include <string>
#include <string_view>

#include "services/gateway/http_message.h"

namespace retort::services::gateway {

// scheme://host[:port] as browsers write it: lower case, no default port, no path. Never "null" and never
// "*".
bool IsOrigin(std::string_view text);

// False for a request with an Origin, or several, that is not listed.
bool OriginAllowed(const Headers& headers, const std::set<std::string>& origins);

// True for the request by which a browser asks before it sends another.
bool IsPreflight(const RequestHead& head);

// The headers of an answer to it, or of the response to a request with an allowed Origin: `response` are its
// other headers, which a page may read from then on. Nothing without an Origin.
Headers PreflightHeaders(const Headers& request);
Headers CorsHeaders(const Headers& request, const Headers& response);

// True for localhost, 127.0.0.1 or [::1], with that port or, for port 80, without one: what this user typed,
// and no name that somebody else's DNS server sent here.
bool IsLoopbackHost(std::string_view host, int port);

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_BROWSER_RULES_H_
