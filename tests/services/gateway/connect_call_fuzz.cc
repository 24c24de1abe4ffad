// Bytes of a connection: read as a request, or refused, with bounded work; the same whatever the pieces in
// which they come. What is read as a call becomes bytes that protobuf reads back, and every refusal can be
// written down.
#include <grpcpp/support/status.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <string>

#include "google/longrunning/operations.pb.h"
#include "retort/jobs/v1/jobs.pb.h"
#include "retort/ledger/v1/ledger.pb.h"
#include "services/edge/status.h"
#include "services/gateway/browser_rules.h"
#include "services/gateway/connect_call.h"
#include "services/gateway/connect_error.h"
#include "services/gateway/request_parser.h"

namespace {

using namespace retort::services::gateway;
using State = RequestParser::State;

constexpr size_t kHeadBytesMax = 4096;
constexpr size_t kMessageBytesMax = 1 << 16;

void Feed(RequestParser& parser, std::string_view bytes, size_t step) {
  std::string unread;
  while (!bytes.empty() && parser.state() != State::kDone && parser.state() != State::kRefused) {
    unread.append(bytes.substr(0, step));
    bytes.remove_prefix(std::min(step, bytes.size()));
    for (size_t used = 1; used > 0 && !unread.empty();) {
      used = parser.Feed(unread);
      assert(used <= unread.size());
      unread.erase(0, used);
      if (parser.state() == State::kHead) parser.AcceptBody(kMessageBytesMax);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Named, so that their descriptors are linked.
  static_cast<void>(retort::jobs::v1::Job::descriptor()),
      static_cast<void>(retort::ledger::v1::Entry::descriptor());
  static_cast<void>(google::longrunning::Operation::descriptor());
  static const MethodTable& table = *new MethodTable(*MethodTable::Make(
      {"retort.jobs.v1.JobsService", "retort.ledger.v1.LedgerService", "google.longrunning.Operations"}));
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  RequestParser whole(kHeadBytesMax), pieces(kHeadBytesMax);
  Feed(whole, bytes, size == 0 ? 1 : size);
  Feed(pieces, bytes, 7);
  if (whole.state() == State::kDone) {
    assert(pieces.state() == State::kDone && pieces.body() == whole.body());
    assert(pieces.head().headers == whole.head().headers && pieces.head().target == whole.head().target);
  }
  if (whole.state() != State::kDone && whole.state() != State::kBody) return 0;
  const RequestHead& head = whole.head();
  const Headers cors = CorsHeaders(head.headers, {{"x", "y"}});
  assert(OriginAllowed(head.headers, {}) == (CountOf(head.headers, "origin") == 0));
  static_cast<void>(IsLoopbackHost(ValueOf(head.headers, "host"), 8080));
  const auto read = ReadCall(head, table);
  if (const auto* refusal = std::get_if<Refusal>(&read)) {
    if (refusal->http_status != 0) {
      assert(refusal->http_status >= 400 && !ResponseHead(refusal->http_status, refusal->headers).empty());
    } else {
      assert(!refusal->error.ok() && !ErrorJson(retort::services::ToGrpcStatus(refusal->error)).empty());
    }
    return 0;
  }
  const auto& plan = std::get<CallPlan>(read);
  for (const auto& [name, value] : plan.metadata)
    assert(!name.starts_with("retort-forwarded-") && name != "host");
  const auto request = RequestOf(plan, whole.body(), kMessageBytesMax);
  if (!request.ok()) {
    assert(!EndStreamJson(retort::services::ToGrpcStatus(request.status()), {}).empty());
    return 0;
  }
  assert(RequestBytes(*plan.method->input_type(), Codec::kProto, *request).ok());
  assert(ResponseBody(*plan.method->input_type(), Codec::kJson, *request).ok());
  return 0;
}
