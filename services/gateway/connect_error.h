// Errors of a call as the Connect protocol writes them ("Error Codes", "Error and EndStreamResponse"). Pure
// functions.
#ifndef SERVICES_GATEWAY_CONNECT_ERROR_H_
#define SERVICES_GATEWAY_CONNECT_ERROR_H_

#include <string>
#include <string_view>

#include "services/gateway/http_message.h"

namespace grpc {
class Status;
}

namespace retort::services::gateway {

// "not_found"; "unknown" for numbers that are no code, and for 0.
std::string_view ConnectCode(int grpc_code);

// 404 for not_found, and so on.
int HttpStatusOf(int grpc_code);

// {"code":...,"message":...,"details":[{"type","value","debug"}]} of a status that is not OK. `debug` is
// there for types that are linked into this program. Text that is no UTF-8 is mended, not passed on.
std::string ErrorJson(const grpc::Status& status);

// What the last message of a stream holds: {} or {"error":{...},"metadata":{...}}.
std::string EndStreamJson(const grpc::Status& status, const Headers& trailers);

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_CONNECT_ERROR_H_
