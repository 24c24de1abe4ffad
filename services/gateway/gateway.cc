#include "services/gateway/gateway.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "services/edge/address.h"
#include "services/gateway/browser_rules.h"
#include "services/gateway/connection.h"
#include "services/gateway/session.h"
#include "services/gateway/socket_owner.h"
#include "services/gateway/tls_context.h"
#include "services/identity/periodic.h"

namespace retort::services::gateway {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kThreads = 4;  // they parse and print messages; waiting costs none
constexpr auto kAcceptPause = std::chrono::milliseconds(100);
constexpr int kBacklog = 128;
constexpr int kUnacknowledgedMsMax = 60'000;

// Where to listen: the first address of the host, of IPv4 when only this machine is served.
absl::StatusOr<tcp::endpoint> Resolve(asio::io_context& io, const std::string& listen, bool own_only) {
  if (!IsAddress(listen)) return absl::InvalidArgumentError("saw '" + listen + "', wanted host:port");
  const size_t colon = listen.rfind(':');
  std::string host = listen.substr(0, colon);
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(host, listen.substr(colon + 1), tcp::resolver::passive, error);
  if (error) return absl::FailedPreconditionError("cannot listen on " + listen + ": " + error.message());
  for (const auto& entry : found) {
    if (!own_only) return entry.endpoint();
    if (entry.endpoint().address().is_v4() && entry.endpoint().address().is_loopback())
      return entry.endpoint();
  }
  return absl::InvalidArgumentError("saw '" + listen +
                                    "', wanted 127.0.0.1:port: without TLS only this machine is served");
}

absl::Status Bind(tcp::acceptor& acceptor, const tcp::endpoint& endpoint, const std::string& listen) {
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error)
    acceptor.set_option(tcp::acceptor::reuse_address(true), error);  // of connections that are ending
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(kBacklog, error);
  if (!error) return absl::OkStatus();
  return absl::FailedPreconditionError("cannot listen on " + listen + ": " + error.message());
}

void SetSocketOptions(tcp::socket& socket) {
  error_code ignored;  // a connection without them works; a peer that vanished is found out later
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  const int longest = kUnacknowledgedMsMax;
  setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &longest, sizeof(longest));
}

absl::Status CheckOptions(const GatewayOptions& options) {
  if (options.access == nullptr || options.channel == nullptr)
    return absl::FailedPreconditionError("no access guard or no channel: nobody could be let in");
  for (const std::string& origin : options.origins) {
    if (IsOrigin(origin)) continue;
    return absl::InvalidArgumentError("saw the origin '" + origin +
                                      "', wanted https://host, as browsers send it");
  }
  if (options.tls.has_value()) return absl::OkStatus();
  return SpiffeId::Parse(options.own_identity).status();
}

}  // namespace

struct Gateway::Impl {
  explicit Impl(GatewayOptions chosen)
      : options(std::move(chosen)),
        context(options.limits),
        strand(asio::make_strand(io)),
        acceptor(strand),
        pause(strand) {}

  absl::Status Start();
  void Accept();
  void OnAccepted(tcp::socket socket);
  bool IsOwn(const tcp::socket& socket);
  void Ended(uint64_t number);
  void BeginDrain();
  void Drain(std::chrono::milliseconds grace);
  void Say(const std::string& line) const {
    if (options.say != nullptr) options.say(line);
  }

  const GatewayOptions options;
  SessionContext context;
  asio::io_context io;
  asio::strand<asio::io_context::executor_type> strand;  // of accepting
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  std::unique_ptr<TlsFiles> tls;
  int port = 0;

  struct Entry {
    std::weak_ptr<Session> session;
    asio::any_io_executor strand;
    std::string peer;  // its address
  };
  std::mutex mutex;
  std::condition_variable changed;
  std::map<uint64_t, Entry> sessions;  // guarded by mutex, as what follows
  std::map<std::string, int> of_peer;
  uint64_t next_number = 0;
  bool draining = false;

  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
  std::vector<std::thread> threads;
  std::unique_ptr<Periodic> refresh;
};

absl::Status Gateway::Impl::Start() {
  auto methods = MethodTable::Make(options.services);
  if (!methods.ok()) return methods.status();
  context.methods = *std::move(methods);
  context.access = options.access;
  context.channel = options.channel;
  context.origins = {options.origins.begin(), options.origins.end()};
  if (options.tls.has_value()) {
    auto opened = TlsFiles::Open(*options.tls);
    if (!opened.ok()) return opened.status();
    tls = *std::move(opened);
  } else {
    context.own_identity = options.own_identity;
  }
  const auto endpoint = Resolve(io, options.listen, !options.tls.has_value());
  if (!endpoint.ok()) return endpoint.status();
  if (auto s = Bind(acceptor, *endpoint, options.listen); !s.ok()) return s;
  error_code error;
  port = acceptor.local_endpoint(error).port();
  context.port = port;
  work.emplace(io.get_executor());
  asio::post(strand, [this] { Accept(); });
  for (int i = 0; i < kThreads; ++i) threads.emplace_back([this] { io.run(); });
  if (tls != nullptr) {
    refresh = std::make_unique<Periodic>(options.certificate_refresh, [this] {
      if (auto s = tls->Refresh(); !s.ok())
        Say("gateway: new certificates are not used: " + std::string(s.message()));
    });
  }
  return absl::OkStatus();
}

void Gateway::Impl::Accept() {
  acceptor.async_accept(asio::make_strand(io), [this](const error_code& error, tcp::socket socket) {
    // This handler runs on the new connection's strand; accepting goes on on its own.
    if (!error) OnAccepted(std::move(socket));
    asio::post(strand, [this, failed = bool(error)] {
      if (!acceptor.is_open()) return;
      if (!failed) return Accept();
      pause.expires_after(kAcceptPause);  // no descriptor is free: one may be soon
      pause.async_wait([this](const error_code& cancelled) {
        if (!cancelled && acceptor.is_open()) Accept();
      });
    });
  });
}

// Whether the connection is of a process of the user that this one runs as.
bool Gateway::Impl::IsOwn(const tcp::socket& socket) {
  error_code error;
  const auto client = socket.remote_endpoint(error);
  const auto server = error ? client : socket.local_endpoint(error);
  if (error || !client.address().is_v4() || !server.address().is_v4()) return false;
  const auto owner = OwnerOf({client.address().to_v4().to_uint(), client.port()},
                             {server.address().to_v4().to_uint(), server.port()});
  if (owner.ok() && *owner == geteuid()) return true;
  Say("gateway: a connection was refused: " +
      (owner.ok() ? "it is of the user " + std::to_string(*owner) : std::string(owner.status().message())));
  return false;
}

void Gateway::Impl::OnAccepted(tcp::socket socket) {
  error_code error;
  const auto remote = socket.remote_endpoint(error);
  if (error) return;
  const std::string peer = remote.address().to_string();
  if (tls == nullptr && !IsOwn(socket)) return;  // the socket closes
  SetSocketOptions(socket);
  const auto executor = socket.get_executor();
  uint64_t number = 0;
  {
    const std::lock_guard lock(mutex);
    const bool full = sessions.size() >= static_cast<size_t>(options.limits.connections_max);
    if (draining || full || of_peer[peer] >= options.limits.connections_per_peer_max) {
      if (of_peer[peer] == 0) of_peer.erase(peer);
      return;
    }
    ++of_peer[peer];
    number = next_number++;
    sessions[number] = {{}, executor, peer};
  }
  auto connection =
      tls == nullptr ? PlainConnection(std::move(socket)) : TlsConnection(std::move(socket), tls->context());
  const auto session =
      std::make_shared<Session>(context, executor, std::move(connection), [this, number] { Ended(number); });
  {
    const std::lock_guard lock(mutex);
    sessions[number].session = session;
  }
  asio::post(executor, [session] { session->Begin(); });
  const std::lock_guard lock(mutex);
  if (draining) asio::post(executor, [session] { session->BeginDrain(); });  // it began meanwhile
}

void Gateway::Impl::Ended(uint64_t number) {
  const std::lock_guard lock(mutex);
  const auto found = sessions.find(number);
  if (--of_peer[found->second.peer] == 0) of_peer.erase(found->second.peer);
  sessions.erase(found);
  if (sessions.empty()) changed.notify_all();
}

void Gateway::Impl::BeginDrain() {
  {
    const std::lock_guard lock(mutex);
    if (draining) return;
    draining = true;
    for (const auto& [number, entry] : sessions) {
      asio::post(entry.strand, [held = entry.session] {
        if (const auto session = held.lock()) session->BeginDrain();
      });
    }
  }
  asio::post(strand, [this] {
    error_code ignored;  // closing is all that is left to do
    acceptor.close(ignored);
    pause.cancel();
  });
}

void Gateway::Impl::Drain(std::chrono::milliseconds grace) {
  BeginDrain();
  {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, grace, [this] { return sessions.empty(); });
    for (const auto& [number, entry] : sessions) {
      asio::post(entry.strand, [held = entry.session] {
        if (const auto session = held.lock()) session->Abort();
      });
    }
    changed.wait(lock, [this] { return sessions.empty(); });
  }
  context.calls.AwaitNone();
  refresh.reset();
  work.reset();  // the threads end when nothing is left to do
  for (std::thread& thread : threads) thread.join();
  threads.clear();
}

Gateway::Gateway(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Gateway::~Gateway() {
  Drain(std::chrono::milliseconds(0));
}

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(GatewayOptions options) {
  if (auto s = CheckOptions(options); !s.ok()) return s;
  auto impl = std::make_unique<Impl>(std::move(options));
  if (auto s = impl->Start(); !s.ok()) return absl::Status(s.code(), "gateway: " + std::string(s.message()));
  return std::unique_ptr<Gateway>(new Gateway(std::move(impl)));
}

int Gateway::port() const {
  return impl_->port;
}

void Gateway::BeginDrain() {
  impl_->BeginDrain();
}

void Gateway::Drain(std::chrono::milliseconds grace) {
  impl_->Drain(grace);
}

}  // namespace retort::services::gateway
