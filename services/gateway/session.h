// One connection of the gateway: requests one after another, each answered before the next is looked at.
#ifndef SERVICES_GATEWAY_SESSION_H_
#define SERVICES_GATEWAY_SESSION_H_

#include <grpcpp/support/status.h>

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "services/gateway/connect_call.h"
#include "services/gateway/connection.h"
#include "services/gateway/gateway.h"
#include "services/gateway/request_parser.h"
#include "services/gateway/upstream_call.h"

namespace retort::services::gateway {

// Calls under way, up to a bound. Thread-safe.
class CallSlots {
 public:
  explicit CallSlots(int most) : most_(most) {}

  // To be held for as long as anything of the call is there; null when there are as many as may be.
  std::shared_ptr<void> Take();
  // Returns when none is held.
  void AwaitNone();

 private:
  const int most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int taken_ = 0;  // guarded by mutex_
};

// Counts up to a bound. Thread-safe.
class Quota {
 public:
  explicit Quota(size_t most) : most_(most) {}

  // False, and nothing taken, beyond the bound.
  bool Take(size_t amount) {
    size_t taken = taken_.load();
    do {
      if (amount > most_ - taken) return false;
    } while (!taken_.compare_exchange_weak(taken, taken + amount));
    return true;
  }
  void GiveBack(size_t amount) { taken_ -= amount; }

 private:
  const size_t most_;
  std::atomic<size_t> taken_ = 0;
};

// What the sessions of a gateway have together; it outlives them.
struct SessionContext {
  GatewayLimits limits;
  MethodTable methods;
  const AccessGuard* access = nullptr;
  std::shared_ptr<grpc::Channel> channel;
  std::set<std::string> origins;
  // Of a gateway without TLS: who calls, and the port that Host must name.
  std::optional<std::string> own_identity;
  int port = 0;
  Quota held_bytes;
  CallSlots calls;

  explicit SessionContext(const GatewayLimits& chosen)
      : limits(chosen), held_bytes(chosen.held_bytes_max), calls(chosen.calls_max) {}
};

// All functions run on the strand of the connection, but for the constructor.
class Session final : public std::enable_shared_from_this<Session> {
 public:
  // `ended` runs once, on the strand, when the connection is closed and no call is left.
  Session(SessionContext& context, boost::asio::any_io_executor strand,
          std::unique_ptr<Connection> connection, std::function<void()> ended);
  ~Session();

  void Begin();
  // Ends after the response that is owed, at once when none is.
  void BeginDrain();
  // Ends now; a call under way is cancelled.
  void Abort();

 private:
  enum class Stage { kBeginning, kHead, kBody, kCalling, kAnswering, kLingering, kClosed };

  void Arm(std::chrono::milliseconds patience);
  void Disarm();
  void OnPatienceOver();
  void KeepReading();
  void OnRead(bool ok, size_t bytes);
  void NextRequest();
  void Parse();
  void OnHead();
  std::optional<Refusal> Admit(const RequestHead& head);
  void OnBody();
  void StartCall(std::string request);
  void OnBegan(Metadata initial);
  void OnMessage(std::string bytes);
  void OnEnded(grpc::Status status, const Metadata& trailing);
  void AnswerUnary(const grpc::Status& status, const Metadata& trailing);
  void BeginStream(Codec codec, bool gzip);
  void EndStream(const grpc::Status& status, const Metadata& trailing);
  void Refuse(const Refusal& refusal);
  void Answer(int status, Headers headers, std::string body);
  void Send(std::string bytes);
  void Flush();
  void OnSent();
  void FinishResponse();
  void Linger();
  void Close();
  void MaybeEnd();
  bool Hold(size_t bytes);
  void LetGo();
  void Fail(absl::Status failure);
  UpstreamEvents Events();

  SessionContext& context_;
  boost::asio::any_io_executor strand_;
  std::unique_ptr<Connection> connection_;
  std::function<void()> ended_;
  boost::asio::steady_timer timer_;
  uint64_t timer_number_ = 0;  // a timer that was set anew has another
  std::vector<std::string> peer_uris_;

  Stage stage_ = Stage::kBeginning;
  bool draining_ = false;
  bool reading_ = false;
  bool writing_ = false;
  std::string chunk_;   // what a read fills
  std::string unread_;  // bytes that no request has used yet
  std::string sending_, outbox_;
  size_t held_bytes_ = 0;

  std::unique_ptr<RequestParser> parser_;
  bool body_unread_ = false;    // a response goes out before the request has come in
  bool page_may_read_ = false;  // its origin is listed, or it has none
  std::optional<SpiffeId> caller_;
  std::optional<CallPlan> plan_;
  std::shared_ptr<UpstreamCall> call_;  // shared with gRPC
  bool call_running_ = false;
  Metadata initial_;
  std::optional<std::string> response_;
  absl::Status failure_;  // of ours, while the service was answering
  bool stream_begun_ = false;
  bool ask_next_ = false;       // once what was sent is gone
  bool response_done_ = false;  // all of it is in the outbox
  bool keep_alive_ = true;
  bool peer_ended_ = false;  // it sends nothing more
  size_t lingered_bytes_ = 0;
};

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_SESSION_H_
