// What makes two requests the same request: SHA-256 of everything but the request id.
#ifndef SERVICES_EDGE_REQUEST_HASH_H_
#define SERVICES_EDGE_REQUEST_HASH_H_

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <string>

#include "ledger/digest.h"

namespace retort::services {

// 32 bytes. Equal messages give equal hashes within one build of protobuf, which is all that a repeat needs:
// a hash that differs after an upgrade makes a repeat fail with REQUEST_ID_REUSED, never a second effect.
template <class Request>
std::string RequestHash(Request request) {
  request.clear_request_id();
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    request.SerializeToCodedStream(&coded);
  }
  return std::string(ledger::AsView(ledger::Sha256(bytes)));
}

}  // namespace retort::services

#endif  // SERVICES_EDGE_REQUEST_HASH_H_
