#include "services/gateway/upstream_call.h"

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <utility>
#include <vector>

#include "services/identity/forwarded_identity.h"

namespace retort::services::gateway {
namespace {

Metadata Copied(const std::multimap<grpc::string_ref, grpc::string_ref>& from) {
  Metadata metadata;
  for (const auto& [name, value] : from) {
    metadata.emplace_back(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
  }
  return metadata;
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::string bytes;
  bytes.reserve(buffer.Length());
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices)
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

}  // namespace

UpstreamCall::UpstreamCall(const std::shared_ptr<grpc::Channel>& channel, UpstreamRequest request,
                           UpstreamEvents events)
    : slot_(std::move(request.slot)),
      path_(std::move(request.path)),
      events_(std::move(events)),
      stub_(channel) {
  for (const auto& [name, value] : request.metadata) {
    if (!IsForwardingHeader(name)) context_.AddMetadata(name, value);
  }
  if (request.caller.has_value()) ForwardIdentity(*request.caller, context_);
  context_.set_deadline(request.deadline);
  const grpc::Slice slice(request.message);
  request_ = grpc::ByteBuffer(&slice, 1);
}

std::shared_ptr<UpstreamCall> UpstreamCall::Start(const std::shared_ptr<grpc::Channel>& channel,
                                                  UpstreamRequest request, UpstreamEvents events) {
  std::shared_ptr<UpstreamCall> call(new UpstreamCall(channel, std::move(request), std::move(events)));
  call->self_ = call;
  call->stub_.PrepareBidiStreamingCall(&call->context_, call->path_, grpc::StubOptions(), call.get());
  call->AddHold();  // reads are begun from outside of reactions; held until one says that nothing follows
  call->reading_ = true;
  call->StartWriteLast(&call->request_, grpc::WriteOptions());
  call->StartRead(&call->response_);
  call->StartCall();
  return call;
}

void UpstreamCall::ReadOne() {
  {
    const std::lock_guard lock(mutex_);
    if (reading_ || read_all_) return;
    reading_ = true;
  }
  StartRead(&response_);
}

void UpstreamCall::Next() {
  ReadOne();
}

void UpstreamCall::Cancel() {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  context_.TryCancel();
  ReadOne();  // which fails, and so lets go of the call
}

void UpstreamCall::OnReadInitialMetadataDone(bool ok) {
  const std::lock_guard lock(events_mutex_);
  if (ok) events_.began(Copied(context_.GetServerInitialMetadata()));
  began_ = true;
  if (early_.has_value()) events_.message(*std::move(early_));
  early_.reset();
}

void UpstreamCall::OnReadDone(bool ok) {
  std::string bytes = ok ? BytesOf(response_) : std::string();  // before another read may begin
  bool again = false;
  {
    const std::lock_guard lock(mutex_);
    reading_ = false;
    read_all_ = !ok;
    again = ok && cancelled_;  // one that was there already: on to the failing one
  }
  if (!ok) return RemoveHold();
  if (again) return ReadOne();
  const std::lock_guard lock(events_mutex_);
  if (began_) return events_.message(std::move(bytes));
  early_ = std::move(bytes);
}

void UpstreamCall::OnDone(const grpc::Status& status) {
  events_.ended(status, Copied(context_.GetServerTrailingMetadata()));
  events_ = {};                                                 // which hold the session, which may hold this
  const std::shared_ptr<UpstreamCall> last = std::move(self_);  // this ends with the function
}

}  // namespace retort::services::gateway
