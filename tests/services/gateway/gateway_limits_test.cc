// What peers can make the gateway hold and wait for.
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "services/gateway/envelope.h"
#include "services/gateway/gzip.h"
#include "tests/services/gateway/gateway_fixture.h"

namespace retort::services::gateway {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr char kJsonType[] = "application/json";
constexpr char kStreamType[] = "application/connect+json";

class GatewayLimitsTest : public GatewayFixture {
 protected:
  // Whether `condition` holds within ten seconds.
  static bool Await(const std::function<bool()>& condition) {
    const auto end = steady_clock::now() + seconds(10);
    while (!condition()) {
      if (steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }
  // A stream that goes on until somebody cancels it.
  void WatchUntilCancelled() {
    jobs_.watch = [this](grpc::ServerContext& context, auto& writer) {
      jobs::v1::WatchJobResponse response;
      response.set_event("began");
      writer.Write(response);
      ++watching_;
      while (!context.IsCancelled()) std::this_thread::yield();
      ++cancelled_;
      return grpc::Status::CANCELLED;
    };
  }
  std::string Watch(const std::string& lines = "") const {
    return Post(port(), kWatchJob, kStreamType, MakeEnvelope(0, kName), lines);
  }

  std::atomic<int> watching_ = 0, cancelled_ = 0;
};

TEST_F(GatewayLimitsTest, AHeadHasItsTime) {
  options_.limits.head = milliseconds(100);
  Serve();
  HttpPeer slow(port());
  slow.Send("POST /a HTTP/1.1\r\nHost: ");
  EXPECT_TRUE(slow.IsClosed());
}

TEST_F(GatewayLimitsTest, ABodyHasItsTime) {
  options_.limits.body = milliseconds(100);
  Serve();
  HttpPeer slow(port());
  const std::string request = Post(port(), kGetJob, kJsonType, kName);
  slow.Send(request.substr(0, request.size() - 1));
  EXPECT_TRUE(slow.IsClosed());
  EXPECT_EQ(jobs_.calls, 0);
}

TEST_F(GatewayLimitsTest, AConnectionMayNotIdleForEver) {
  options_.limits.idle = milliseconds(100);
  Serve();
  HttpPeer idle(port());
  EXPECT_TRUE(idle.IsClosed());
  HttpPeer kept(port());
  kept.Send(Post(port(), kGetJob, kJsonType, kName));
  EXPECT_EQ(kept.Read().status, 200);
  EXPECT_TRUE(kept.IsClosed());
}

TEST_F(GatewayLimitsTest, AHeadIsBounded) {
  Serve();
  HttpPeer peer(port());
  peer.Send(Get(port(), std::string(kGetJob) + "?message=" + std::string(20'000, 'a')));
  EXPECT_EQ(peer.Read().status, 431);
  EXPECT_TRUE(peer.IsClosed());
}

TEST_F(GatewayLimitsTest, AMessageIsBoundedInEveryForm) {
  options_.limits.message_bytes_max = 1000;
  Serve();
  const std::string json = R"({"name":")" + std::string(990, 'x') + R"("})";
  ASSERT_EQ(json.size(), 1001u);
  const auto code = [](const HttpResponse& response) {
    EXPECT_EQ(response.status, 429);
    return nlohmann::json::parse(response.body).value("code", "");
  };
  EXPECT_EQ(code(Ask(Post(port(), kGetJob, kJsonType, json))), "resource_exhausted");
  EXPECT_EQ(code(Ask(Post(port(), kGetJob, kJsonType, Gzip(std::string(1 << 20, ' ')),
                          "Content-Encoding: gzip\r\n"))),
            "resource_exhausted");
  const std::string chunked = "POST " + std::string(kGetJob) +
                              " HTTP/1.1\r\nHost: localhost:" + std::to_string(port()) +
                              "\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(code(Ask(chunked + "3e9\r\n" + json + "\r\n0\r\n\r\n")), "resource_exhausted");
  const HttpResponse stream = Ask(Post(port(), kWatchJob, kStreamType, MakeEnvelope(0, json)));
  EXPECT_EQ(stream.status, 200);
  EXPECT_NE(stream.body.find("resource_exhausted"), std::string::npos);
  EXPECT_EQ(jobs_.calls, 0);
  const std::string fits = kName + std::string(1000 - strlen(kName), ' ');
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJsonType, fits)).status, 200);
}

TEST_F(GatewayLimitsTest, AClientThatStillSendsGetsItsAnswer) {
  options_.limits.message_bytes_max = 1 << 20;
  Serve();
  HttpPeer peer(port());
  peer.Send(Post(port(), kGetJob, kJsonType, std::string((1 << 20) + 1, ' ')));
  EXPECT_EQ(peer.Read().status, 429);
}

TEST_F(GatewayLimitsTest, AChunkMustBegin) {
  Serve();
  HttpPeer peer(port());
  peer.Send("POST " + std::string(kGetJob) + " HTTP/1.1\r\nHost: localhost:" + std::to_string(port()) +
            "\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1;" +
            std::string(40'000, 'x'));
  EXPECT_EQ(peer.Read().status, 400);
}

TEST_F(GatewayLimitsTest, ConnectionsAreCounted) {
  options_.limits.connections_per_peer_max = 2;
  Serve();
  const std::string request = Post(port(), kGetJob, kJsonType, kName);
  std::optional<HttpPeer> first(std::in_place, port());
  HttpPeer second(port());
  for (HttpPeer* peer : {&*first, &second}) {
    peer->Send(request);
    EXPECT_EQ(peer->Read().status, 200);
  }
  HttpPeer third(port());
  EXPECT_TRUE(third.IsClosed());
  first.reset();
  EXPECT_TRUE(Await([&] { return Ask(request).status == 200; }));
}

TEST_F(GatewayLimitsTest, CallsAreCounted) {
  options_.limits.calls_max = 1;
  WatchUntilCancelled();
  Serve();
  HttpPeer watcher(port());
  watcher.Send(Watch());
  ASSERT_TRUE(Await([&] { return watching_ == 1; }));
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJsonType, kName)).status, 503);
  watcher.Close();
  EXPECT_TRUE(Await([&] { return Ask(Post(port(), kGetJob, kJsonType, kName)).status == 200; }));
}

TEST_F(GatewayLimitsTest, WhatIsHeldIsCounted) {
  options_.limits.held_bytes_max = 1000;
  Serve();
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJsonType, std::string(1001, ' '))).status, 503);
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJsonType, kName)).status, 200);
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJsonType, kName)).status, 200);  // and given back
}

TEST_F(GatewayLimitsTest, ATimeoutEndsACall) {
  WatchUntilCancelled();
  jobs_.get = [](grpc::ServerContext& context, const auto&, auto&) {
    while (!context.IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  Serve();
  const HttpResponse unary = Ask(Post(port(), kGetJob, kJsonType, kName, "Connect-Timeout-Ms: 50\r\n"));
  EXPECT_EQ(unary.status, 504);
  EXPECT_EQ(nlohmann::json::parse(unary.body)["code"], "deadline_exceeded");
  const HttpResponse stream = Ask(Watch("Connect-Timeout-Ms: 50\r\n"));
  EXPECT_EQ(stream.status, 200);
  EXPECT_NE(stream.body.find("deadline_exceeded"), std::string::npos);
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJsonType, kName, "Connect-Timeout-Ms: 0\r\n")).status, 504);
}

TEST_F(GatewayLimitsTest, ACallWithoutATimeoutHasOneAllTheSame) {
  options_.limits.unary_call = milliseconds(50);
  jobs_.get = [](grpc::ServerContext& context, const auto&, auto&) {
    while (!context.IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  Serve();
  EXPECT_EQ(Ask(Post(port(), kGetJob, kJsonType, kName)).status, 504);
}

TEST_F(GatewayLimitsTest, ACallEndsWhenItsClientGoes) {
  WatchUntilCancelled();
  Serve();
  HttpPeer peer(port());
  peer.Send(Watch());
  ASSERT_TRUE(Await([&] { return watching_ == 1; }));
  peer.Close();
  EXPECT_TRUE(Await([&] { return cancelled_ == 1; }));
}

TEST_F(GatewayLimitsTest, AClientThatDoesNotReadHoldsTheServiceUp) {
  constexpr int kMessages = 1000;
  options_.limits.write = milliseconds(300);
  std::atomic<int> written = 0;
  std::atomic<bool> ended = false;
  jobs_.watch = [&](grpc::ServerContext&, auto& writer) {
    jobs::v1::WatchJobResponse response;
    response.set_event(std::string(1 << 20, 'x'));
    while (written < kMessages && writer.Write(response)) ++written;
    ended = true;
    return grpc::Status::OK;
  };
  Serve();
  HttpPeer peer(port());
  peer.Send(Watch());
  EXPECT_TRUE(Await([&] { return ended.load(); }));  // it was cancelled: the client did not read in time
  EXPECT_LT(written, 64);                            // what sockets buffer, and no more
}

TEST_F(GatewayLimitsTest, DrainingFinishesWhatRunsAndTakesNothingNew) {
  std::mutex mutex;
  std::condition_variable changed;
  bool began = false, go_on = false;
  jobs_.get = [&](auto&, const auto& request, auto& job) {
    std::unique_lock lock(mutex);
    began = true;
    changed.notify_all();
    changed.wait(lock, [&] { return go_on; });
    job.set_name(request.name());
    return grpc::Status::OK;
  };
  Serve();
  HttpPeer busy(port()), idle(port());
  busy.Send(Post(port(), kGetJob, kJsonType, kName));
  {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, seconds(10), [&] { return began; }));
  }
  gateway_->BeginDrain();
  EXPECT_TRUE(idle.IsClosed());
  EXPECT_TRUE(Await([&] { return HttpPeer(port()).IsClosed(); }));
  {
    const std::lock_guard lock(mutex);
    go_on = true;
  }
  changed.notify_all();
  const HttpResponse response = busy.Read();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.header("connection"), "close");
  EXPECT_TRUE(busy.IsClosed());
  gateway_->Drain(seconds(10));
}

TEST_F(GatewayLimitsTest, DrainingCancelsWhatDoesNotEnd) {
  WatchUntilCancelled();
  Serve();
  HttpPeer peer(port());
  peer.Send(Watch());
  ASSERT_TRUE(Await([&] { return watching_ == 1; }));
  gateway_->Drain(milliseconds(50));
  EXPECT_TRUE(Await([&] { return cancelled_ == 1; }));
}

}  // namespace
}  // namespace retort::services::gateway
