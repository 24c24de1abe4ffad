#include "services/gateway/session.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstdio>
#include <utility>

#include "services/edge/status.h"
#include "services/gateway/browser_rules.h"
#include "services/gateway/connect_error.h"
#include "services/gateway/envelope.h"
#include "services/gateway/gzip.h"
#include "services/identity/access_guard.h"

namespace retort::services::gateway {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr size_t kReadBytes = 16 << 10;
// Of requests that come before the one at hand is answered; then nothing more is read.
constexpr size_t kUnreadBytesMax = 64 << 10;

std::string Chunk(std::string_view bytes) {
  char size[24];
  snprintf(size, sizeof(size), "%zx\r\n", bytes.size());
  std::string chunk;
  chunk.reserve(bytes.size() + 24);
  return chunk.append(size).append(bytes).append("\r\n");
}

constexpr char kLastChunk[] = "0\r\n\r\n";

Headers AlwaysThere() {
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(system_clock::now().time_since_epoch()).count();
  return {{"date", HttpDate(static_cast<long>(now))},
          {"cache-control", "no-store"},  // what one caller may see is not for a cache
          {"x-content-type-options", "nosniff"}};
}

void Append(Headers& headers, Headers more) {
  headers.insert(headers.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

Refusal OfHttp(int status, std::string text) {
  Refusal refusal;
  refusal.http_status = status;
  refusal.text = std::move(text);
  return refusal;
}

}  // namespace

std::shared_ptr<void> CallSlots::Take() {
  const std::lock_guard lock(mutex_);
  if (taken_ >= most_) return nullptr;
  ++taken_;
  return std::shared_ptr<void>(this, [](void* slots) {
    auto* const self = static_cast<CallSlots*>(slots);
    const std::lock_guard unlock(self->mutex_);
    if (--self->taken_ == 0) self->changed_.notify_all();
  });
}

void CallSlots::AwaitNone() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return taken_ == 0; });
}

Session::Session(SessionContext& context, asio::any_io_executor strand,
                 std::unique_ptr<Connection> connection, std::function<void()> ended)
    : context_(context),
      strand_(std::move(strand)),
      connection_(std::move(connection)),
      ended_(std::move(ended)),
      timer_(strand_),
      chunk_(kReadBytes, '\0') {}

Session::~Session() = default;

// Waiting and ending.

void Session::Arm(milliseconds patience) {
  timer_.expires_after(patience);
  timer_.async_wait(
      [self = shared_from_this(), number = ++timer_number_](const boost::system::error_code& error) {
        if (!error && number == self->timer_number_) self->OnPatienceOver();
      });
}

void Session::Disarm() {
  ++timer_number_;
  timer_.cancel();
}

void Session::OnPatienceOver() {
  Close();
}

void Session::Close() {
  if (stage_ == Stage::kClosed) return;
  stage_ = Stage::kClosed;
  Disarm();
  connection_->Close();
  if (call_running_) call_->Cancel();
  LetGo();
  MaybeEnd();
}

void Session::MaybeEnd() {
  if (stage_ != Stage::kClosed || call_running_ || ended_ == nullptr) return;
  std::exchange(ended_, nullptr)();
}

void Session::Abort() {
  Close();
}

void Session::BeginDrain() {
  draining_ = true;
  if (stage_ == Stage::kBeginning || (stage_ == Stage::kHead && unread_.empty())) Close();
}

bool Session::Hold(size_t bytes) {
  if (!context_.held_bytes.Take(bytes)) return false;
  held_bytes_ += bytes;
  return true;
}

void Session::LetGo() {
  context_.held_bytes.GiveBack(std::exchange(held_bytes_, 0));
}

// Reading.

void Session::Begin() {
  if (draining_ || stage_ == Stage::kClosed) return Close();
  Arm(context_.limits.handshake);
  connection_->Begin([self = shared_from_this()](bool ok) {
    if (self->stage_ == Stage::kClosed) return;
    if (!ok || self->draining_) return self->Close();
    self->peer_uris_ = self->connection_->PeerUris();
    self->NextRequest();
  });
}

void Session::KeepReading() {
  if (reading_ || peer_ended_ || stage_ == Stage::kClosed || unread_.size() >= kUnreadBytesMax) return;
  reading_ = true;
  connection_->ReadSome(chunk_.data(), chunk_.size(), [self = shared_from_this()](bool ok, size_t bytes) {
    self->reading_ = false;
    self->OnRead(ok, bytes);
  });
}

void Session::OnRead(bool ok, size_t bytes) {
  if (stage_ == Stage::kClosed) return;
  if (!ok) {
    peer_ended_ = true;
    // A response that is ready may still be read; nobody waits for one that is not.
    if (stage_ != Stage::kAnswering) Close();
    return;
  }
  if (stage_ == Stage::kLingering) {
    lingered_bytes_ += bytes;
    return lingered_bytes_ > 2 * context_.limits.message_bytes_max ? Close() : KeepReading();
  }
  if (stage_ == Stage::kHead && unread_.empty()) Arm(context_.limits.head);
  unread_.append(chunk_.data(), bytes);
  if (stage_ == Stage::kHead || stage_ == Stage::kBody) Parse();
  KeepReading();
}

void Session::NextRequest() {
  parser_ = std::make_unique<RequestParser>(context_.limits.head_bytes_max);
  body_unread_ = page_may_read_ = false;
  caller_.reset();
  plan_.reset();
  call_.reset();
  initial_.clear();
  response_.reset();
  failure_ = absl::OkStatus();
  stream_begun_ = ask_next_ = response_done_ = false;
  stage_ = Stage::kHead;
  Arm(unread_.empty() ? context_.limits.idle : context_.limits.head);
  if (!unread_.empty()) Parse();
  KeepReading();
}

void Session::Parse() {
  using State = RequestParser::State;
  while (!unread_.empty() && (parser_->state() == State::kReading || parser_->state() == State::kBody)) {
    const State before = parser_->state();
    const size_t used = parser_->Feed(unread_);
    unread_.erase(0, used);
    if (before == State::kBody && parser_->body().size() > held_bytes_ &&
        !Hold(parser_->body().size() - held_bytes_)) {
      return Fail(absl::UnavailableError("the server holds as much as it may; try again later"));
    }
    if (used == 0) break;
  }
  switch (parser_->state()) {
    case State::kReading:
      return;
    case State::kBody:
      // The parser wants the whole line that begins a chunk before it takes any of it.
      if (unread_.size() >= kReadBytes)
        Refuse(OfHttp(400, "no HTTP request: a chunk with a head that does not end"));
      return;
    case State::kRefused: {
      body_unread_ = true;
      const auto& refusal = parser_->refusal();
      if (refusal.status == 413 && plan_.has_value()) {
        return Fail(absl::ResourceExhaustedError(
            "the request is longer than " + std::to_string(context_.limits.message_bytes_max) + " bytes"));
      }
      return Refuse(OfHttp(refusal.status, refusal.text));
    }
    case State::kHead:
      return OnHead();
    case State::kDone:
      return OnBody();
  }
}

// Nothing of the body has been read yet, and nothing of it is unless the caller may call something here.
void Session::OnHead() {
  const RequestHead& head = parser_->head();
  keep_alive_ = head.keep_alive;
  body_unread_ = head.content_length != 0;
  if (context_.own_identity.has_value() && !IsLoopbackHost(ValueOf(head.headers, "host"), context_.port)) {
    return Refuse(OfHttp(403, "wanted the Host localhost:" + std::to_string(context_.port)));
  }
  if (!OriginAllowed(head.headers, context_.origins)) {
    return Refuse(OfHttp(403, "pages of this origin may not call; gateway_origins lists those that may"));
  }
  page_may_read_ = true;
  if (IsPreflight(head)) return Answer(204, PreflightHeaders(head.headers), "");
  if (const auto refusal = Admit(head); refusal.has_value()) return Refuse(*refusal);
  auto read = ReadCall(head, context_.methods);
  if (const auto* refusal = std::get_if<Refusal>(&read)) return Refuse(*refusal);
  plan_ = std::get<CallPlan>(std::move(read));
  const std::string expectation = JoinedValues(head.headers, "expect");
  if (!expectation.empty() && expectation != "100-continue" && expectation != "100-Continue")
    return Refuse(OfHttp(417, "wanted no expectation other than 100-continue"));
  stage_ = Stage::kBody;
  Arm(context_.limits.body);
  const size_t most = context_.limits.message_bytes_max + (plan_->streaming ? kEnvelopeHeadBytes : 0);
  parser_->AcceptBody(most);
  if (parser_->state() == RequestParser::State::kBody) {
    if (!Hold(std::min(head.content_length.value_or(0), most)))
      return Fail(absl::UnavailableError("the server holds as much as it may; try again later"));
    if (!expectation.empty() && unread_.empty()) Send(ResponseHead(100, {}));
  }
  Parse();
}

std::optional<Refusal> Session::Admit(const RequestHead& head) {
  const std::string path = head.target.substr(0, head.target.find('?'));
  const std::vector<std::string> uris =
      context_.own_identity.has_value() ? std::vector<std::string>{*context_.own_identity} : peer_uris_;
  auto caller = context_.access->Admit(uris, context_.methods.Find(path) == nullptr ? "_OTHER" : path);
  if (caller.ok()) {
    caller_ = *std::move(caller);
    return std::nullopt;
  }
  Refusal refusal;
  refusal.error = caller.status();
  refusal.streaming = AsksForStream(head);
  return refusal;
}

void Session::OnBody() {
  if (stage_ != Stage::kBody) return;
  Disarm();
  body_unread_ = false;
  if (plan_->request_gzip && !Hold(context_.limits.message_bytes_max))
    return Fail(absl::UnavailableError("the server holds as much as it may; try again later"));
  auto request = RequestOf(*plan_, parser_->body(), context_.limits.message_bytes_max);
  if (!request.ok()) return Fail(request.status());
  StartCall(*std::move(request));
}

// The call.

UpstreamEvents Session::Events() {
  // Each hands over to the strand. The session is there until `ended` was.
  const auto self = shared_from_this();
  UpstreamEvents events;
  events.began = [self](Metadata initial) {
    asio::post(self->strand_,
               [self, initial = std::move(initial)]() mutable { self->OnBegan(std::move(initial)); });
  };
  events.message = [self](std::string bytes) {
    asio::post(self->strand_,
               [self, bytes = std::move(bytes)]() mutable { self->OnMessage(std::move(bytes)); });
  };
  events.ended = [self](grpc::Status status, Metadata trailing) {
    asio::post(self->strand_, [self, status = std::move(status), trailing = std::move(trailing)] {
      self->OnEnded(status, trailing);
    });
  };
  return events;
}

void Session::StartCall(std::string request) {
  const GatewayLimits& limits = context_.limits;
  auto slot = context_.calls.Take();
  if (slot == nullptr)
    return Fail(absl::UnavailableError("the server answers as many calls as it may; try again later"));
  const milliseconds timeout = plan_->timeout.has_value() ? std::min(*plan_->timeout, limits.call_max)
                               : plan_->streaming         ? limits.call_max
                                                          : limits.unary_call;
  stage_ = Stage::kCalling;
  call_running_ = true;
  call_ = UpstreamCall::Start(context_.channel,
                              {.path = plan_->path,
                               .message = std::move(request),
                               .metadata = plan_->metadata,
                               .caller = caller_,
                               .deadline = system_clock::now() + timeout,
                               .slot = std::move(slot)},
                              Events());
  KeepReading();  // to see when the client goes away
}

void Session::OnBegan(Metadata initial) {
  if (stage_ != Stage::kCalling) return;
  initial_ = std::move(initial);
  if (plan_->streaming) BeginStream(plan_->codec, plan_->response_gzip);
}

void Session::OnMessage(std::string bytes) {
  if (stage_ != Stage::kCalling) return;
  if (!plan_->streaming) {
    if (response_.has_value()) return Fail(absl::InternalError("the service answered twice"));
    if (!Hold(bytes.size()))
      return Fail(absl::UnavailableError("the server holds as much as it may; try again later"));
    response_ = std::move(bytes);
    return call_->Next();
  }
  auto body = ResponseBody(*plan_->method->output_type(), plan_->codec, std::move(bytes));
  if (!body.ok()) return Fail(body.status());
  if (!Hold(body->size()))
    return Fail(absl::UnavailableError("the server holds as much as it may; try again later"));
  if (!stream_begun_) BeginStream(plan_->codec, plan_->response_gzip);
  const bool gzip = plan_->response_gzip && !body->empty();
  ask_next_ = true;
  Send(Chunk(gzip ? MakeEnvelope(kCompressedFlag, Gzip(*body)) : MakeEnvelope(0, *body)));
}

// An error of the gateway's own: the answer, when no call runs, otherwise what the call's end is answered
// with.
void Session::Fail(absl::Status failure) {
  if (call_running_) {
    failure_ = std::move(failure);
    return call_->Cancel();
  }
  Refusal refusal;
  refusal.error = std::move(failure);
  refusal.streaming = plan_->streaming;
  refusal.codec = plan_->codec;
  Refuse(refusal);
}

void Session::OnEnded(grpc::Status status, const Metadata& trailing) {
  call_running_ = false;
  call_.reset();
  if (stage_ != Stage::kCalling) return MaybeEnd();
  if (!failure_.ok()) status = ToGrpcStatus(failure_);
  if (!plan_->streaming) return AnswerUnary(status, trailing);
  if (!stream_begun_) BeginStream(plan_->codec, plan_->response_gzip);
  EndStream(status, trailing);
}

// Answers.

void Session::AnswerUnary(const grpc::Status& ended, const Metadata& trailing) {
  grpc::Status status = ended;
  std::string body;
  if (status.ok()) {
    auto made =
        response_.has_value()
            ? ResponseBody(*plan_->method->output_type(), plan_->codec, *std::move(response_))
            : absl::StatusOr<std::string>(absl::InternalError("the service answered without a message"));
    if (made.ok() && !Hold(made->size()))
      made = absl::UnavailableError("the server holds as much as it may; try again later");
    if (made.ok()) {
      body = *std::move(made);
    } else {
      status = ToGrpcStatus(made.status());
    }
  }
  Headers headers = ToHeaders(initial_);
  Append(headers, ToHeaders(trailing, "trailer-"));
  if (!status.ok()) {
    headers.emplace_back("content-type", "application/json");
    return Answer(HttpStatusOf(status.error_code()), std::move(headers), ErrorJson(status));
  }
  headers.emplace_back("content-type", "application/" + std::string(CodecName(plan_->codec)));
  if (plan_->response_gzip && !body.empty()) {
    body = Gzip(body);
    headers.emplace_back("content-encoding", "gzip");
  }
  Answer(200, std::move(headers), std::move(body));
}

void Session::BeginStream(Codec codec, bool gzip) {
  stream_begun_ = true;
  Headers headers = AlwaysThere();
  headers.emplace_back("content-type", "application/connect+" + std::string(CodecName(codec)));
  headers.emplace_back("transfer-encoding", "chunked");
  if (gzip) headers.emplace_back("connect-content-encoding", "gzip");
  headers.emplace_back("x-accel-buffering", "no");  // a proxy that waits for the end would wait for hours
  if (!keep_alive_ || body_unread_) headers.emplace_back("connection", "close");
  Append(headers, ToHeaders(initial_));
  if (page_may_read_) Append(headers, CorsHeaders(parser_->head().headers, headers));
  Send(ResponseHead(200, headers));
}

void Session::EndStream(const grpc::Status& status, const Metadata& trailing) {
  stage_ = Stage::kAnswering;
  response_done_ = true;
  Send(Chunk(MakeEnvelope(kEndStreamFlag, EndStreamJson(status, ToHeaders(trailing)))) + kLastChunk);
}

void Session::Refuse(const Refusal& refusal) {
  if (refusal.http_status != 0) {
    Headers headers = refusal.headers;
    headers.emplace_back("content-type", "text/plain; charset=utf-8");
    return Answer(refusal.http_status, std::move(headers), refusal.text + "\n");
  }
  const grpc::Status status = ToGrpcStatus(refusal.error);
  if (refusal.streaming) {
    Disarm();
    BeginStream(refusal.codec, false);
    return EndStream(status, {});
  }
  Answer(HttpStatusOf(status.error_code()), {{"content-type", "application/json"}}, ErrorJson(status));
}

void Session::Answer(int status, Headers more, std::string body) {
  Disarm();
  stage_ = Stage::kAnswering;
  Headers headers = AlwaysThere();
  Append(headers, std::move(more));
  if (status != 204) headers.emplace_back("content-length", std::to_string(body.size()));
  if (!keep_alive_ || body_unread_ || draining_) headers.emplace_back("connection", "close");
  if (status != 204 && page_may_read_) Append(headers, CorsHeaders(parser_->head().headers, headers));
  response_done_ = true;
  Send(ResponseHead(status, headers) + body);
}

// Sending. At most a head, one message and an end wait in the outbox: the next message is asked for when it
// is empty.

void Session::Send(std::string bytes) {
  if (outbox_.empty()) {
    outbox_ = std::move(bytes);
  } else {
    outbox_ += bytes;
  }
  Flush();
}

void Session::Flush() {
  if (writing_ || outbox_.empty() || stage_ == Stage::kClosed) return;
  writing_ = true;
  sending_ = std::exchange(outbox_, {});
  if (stage_ != Stage::kBody) Arm(context_.limits.write);
  connection_->Write(sending_, [self = shared_from_this()](bool ok) {
    self->writing_ = false;
    if (self->stage_ == Stage::kClosed) return;
    if (!ok) return self->Close();
    self->OnSent();
  });
}

void Session::OnSent() {
  sending_.clear();
  if (!outbox_.empty()) return Flush();
  if (response_done_) return FinishResponse();
  if (stage_ == Stage::kBody) return;  // it was 100 Continue
  Disarm();
  if (!ask_next_) return;
  ask_next_ = false;
  LetGo();
  if (call_running_) call_->Next();
}

void Session::FinishResponse() {
  Disarm();
  LetGo();
  if (body_unread_) return Linger();
  if (!keep_alive_ || draining_ || peer_ended_) return Close();
  NextRequest();
}

// A client that is still sending when the socket is closed would lose the answer that it has not read yet.
void Session::Linger() {
  stage_ = Stage::kLingering;
  unread_.clear();
  if (peer_ended_) return Close();
  Arm(context_.limits.linger);
  KeepReading();
}

}  // namespace retort::services::gateway
