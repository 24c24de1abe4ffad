// Many clients of one server, each with a connection of its own and calls that come at random times (open
// loop): what a crowd does, not what one program in a loop does. Prints one JSON line.
//
//   bin/load_clients issue FOLDER NAME...          an authority, and a certificate for 127.0.0.1 for each
//   name bin/load_clients run FOLDER --address HOST:PORT --identities N --clients N --rate CALLS_PER_SECOND
//       --seconds S [--watchers N --job NAME] [--honour-retry 0]
//
// A client has one call under way. Told when to come back, it keeps to that and makes the same call again;
// what would have come meanwhile is not sent. The mix is what people and dashboards ask: GetJob, ListJobs,
// ListEntries and GetInclusionProof.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <queue>
#include <random>
#include <thread>
#include <vector>

#include "retort/jobs/v1/jobs.grpc.pb.h"
#include "retort/ledger/v1/ledger.grpc.pb.h"
#include "services/edge/status.h"
#include "services/identity/tls_credentials.h"
#include "tests/services/identity/test_authority.h"

namespace {

using namespace retort;
using Clock = std::chrono::steady_clock;

grpc::ByteBuffer Bytes(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

struct Kind {
  std::string method;
  grpc::ByteBuffer request;
  double share;
};

std::vector<Kind> Mix(const std::string& job) {
  const std::string project = job.substr(0, job.find("/jobs/"));
  const std::string log = project + "/ledgers/main";
  jobs::v1::GetJobRequest get;
  get.set_name(job);
  jobs::v1::ListJobsRequest list;
  list.set_parent(project);
  list.set_page_size(10);
  ledger::v1::ListEntriesRequest entries;
  entries.set_parent(log);
  entries.set_page_size(20);
  ledger::v1::GetInclusionProofRequest proof;
  proof.set_name(log + "/entries/0");
  return {{"/retort.jobs.v1.JobsService/GetJob", Bytes(get), 0.6},
          {"/retort.jobs.v1.JobsService/ListJobs", Bytes(list), 0.2},
          {"/retort.ledger.v1.LedgerService/ListEntries", Bytes(entries), 0.1},
          {"/retort.ledger.v1.LedgerService/GetInclusionProof", Bytes(proof), 0.1}};
}

struct Figures {
  int64_t due = 0, sent = 0, ok = 0, refused_with_time = 0, refused_without_time = 0;
  std::map<std::string, int64_t> others;
  std::vector<float> ok_ms;  // of calls that were let in, from sending to the answer
};

struct Client {
  std::unique_ptr<grpc::GenericStub> stub;
  const Kind* kind = nullptr;
  bool busy = false, again = false;
  Clock::time_point sent;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> call;
  grpc::ByteBuffer response;
  grpc::Status status;
};

struct Options {
  std::string folder, address, job;
  int identities = 1, clients = 1, watchers = 0;
  double rate = 1, seconds = 1;
  bool honour_retry = true;
};

std::shared_ptr<grpc::Channel> Connect(const Options& options, int number) {
  const std::string name = options.folder + "/client" + std::to_string(number % options.identities);
  static std::mutex mutex;  // watchers connect from threads of their own
  static std::map<std::string, std::shared_ptr<grpc::ChannelCredentials>> known;
  const std::lock_guard lock(mutex);
  auto& credentials = known[name];
  if (credentials == nullptr) {
    auto made = services::ClientTls({name + ".crt", name + ".key", options.folder + "/ca.crt"});
    if (!made.ok()) {
      std::fprintf(stderr, "%s\n", made.status().ToString().c_str());
      std::exit(1);
    }
    credentials = *made;
  }
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  arguments.SetInt("test.client", number);
  return grpc::CreateCustomChannel(options.address, credentials, arguments);
}

class Crowd {
 public:
  explicit Crowd(const Options& options)
      : options_(options), mix_(Mix(options.job)), clients_(static_cast<size_t>(options.clients)) {
    for (int i = 0; i < options.clients; ++i) {
      channels_.push_back(Connect(options, i));
      clients_[static_cast<size_t>(i)].stub = std::make_unique<grpc::GenericStub>(channels_.back());
    }
  }

  bool AllConnected(std::chrono::seconds patience) {
    for (const auto& channel : channels_) {
      channel->GetState(true);
    }
    const auto end = std::chrono::system_clock::now() + patience;
    return std::all_of(channels_.begin(), channels_.end(),
                       [&](const auto& channel) { return channel->WaitForConnected(end); });
  }

  Figures Run() {
    const auto begin = Clock::now();
    const auto end =
        begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.seconds));
    for (size_t i = 0; i < clients_.size(); ++i) due_.push({begin + Gap(), i});
    int open = 0;
    while (Clock::now() < end || open > 0) {
      const auto now = Clock::now();
      while (now < end && !due_.empty() && due_.top().first <= now) {
        const size_t i = due_.top().second;
        due_.pop();
        Client& client = clients_[i];
        if (!client.again) ++figures_.due;
        Send(client, i);
        ++open;
      }
      const auto next = now < end && !due_.empty() ? due_.top().first : now + std::chrono::milliseconds(100);
      void* tag = nullptr;
      bool ok = false;
      const auto wait =
          std::chrono::system_clock::now() +
          std::clamp<Clock::duration>(next - now, Clock::duration(0), std::chrono::milliseconds(100));
      if (queue_.AsyncNext(&tag, &ok, wait) != grpc::CompletionQueue::GOT_EVENT) continue;
      --open;
      Ended(reinterpret_cast<size_t>(tag));
    }
    queue_.Shutdown();
    return std::move(figures_);
  }

 private:
  Clock::duration Gap() {
    std::exponential_distribution<double> gap(options_.rate / options_.clients);
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap(random_)));
  }

  const Kind* Pick() {
    double at = std::uniform_real_distribution<double>(0, 1)(random_);
    for (const Kind& kind : mix_) {
      if ((at -= kind.share) < 0) return &kind;
    }
    return &mix_.front();
  }

  void Send(Client& client, size_t i) {
    if (!client.again) client.kind = Pick();
    client.again = false;
    client.context = std::make_unique<grpc::ClientContext>();
    client.context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    client.call = client.stub->PrepareUnaryCall(client.context.get(), client.kind->method,
                                                client.kind->request, &queue_);
    client.sent = Clock::now();
    client.call->StartCall();
    client.call->Finish(&client.response, &client.status, reinterpret_cast<void*>(i));
    ++figures_.sent;
  }

  void Ended(size_t i) {
    Client& client = clients_[i];
    const auto now = Clock::now();
    Clock::duration pause = Gap();
    if (client.status.ok()) {
      ++figures_.ok;
      figures_.ok_ms.push_back(std::chrono::duration<float, std::milli>(now - client.sent).count());
    } else if (client.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
      const auto back = services::RetryAfterOf(services::FromGrpcStatus(client.status));
      ++(back.has_value() ? figures_.refused_with_time : figures_.refused_without_time);
      if (back.has_value() && options_.honour_retry) {
        pause = *back;
        client.again = true;
      }
    } else {
      ++figures_.others["code " + std::to_string(client.status.error_code())];
    }
    due_.push({now + pause, i});
  }

  const Options options_;
  const std::vector<Kind> mix_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::vector<Client> clients_;
  grpc::CompletionQueue queue_;
  std::mt19937_64 random_{1};
  using Due = std::pair<Clock::time_point, size_t>;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  Figures figures_;
};

// Holds streams open and counts what comes.
class Watchers {
 public:
  Watchers(const Options& options, int number) {
    for (int i = 0; i < number; ++i) {
      threads_.emplace_back([this, &options, i] {
        const auto stub = jobs::v1::JobsService::NewStub(Connect(options, i));
        while (Watch(*stub, options.job)) {
        }
      });
    }
  }
  void Stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      for (grpc::ClientContext* context : contexts_) context->TryCancel();
    }
    for (auto& thread : threads_) thread.join();
  }
  // One stream. True when the server said when to come back.
  bool Watch(jobs::v1::JobsService::Stub& stub, const std::string& job) {
    grpc::ClientContext context;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return false;
      contexts_.push_back(&context);
    }
    jobs::v1::WatchJobRequest request;
    request.set_name(job);
    const auto reader = stub.WatchJob(&context, request);
    jobs::v1::WatchJobResponse message;
    if (reader->Read(&message)) ++opened_;
    while (reader->Read(&message)) {
    }
    const grpc::Status status = reader->Finish();
    const auto back = services::RetryAfterOf(services::FromGrpcStatus(status));
    {
      const std::lock_guard lock(mutex_);
      std::erase(contexts_, &context);
      if (!stopping_ && !status.ok() && !back.has_value()) ++broken_;
    }
    if (back.has_value()) std::this_thread::sleep_for(*back);
    return back.has_value();
  }
  int opened() const { return opened_; }
  int broken() const { return broken_; }

 private:
  std::mutex mutex_;
  std::vector<grpc::ClientContext*> contexts_;
  bool stopping_ = false;
  std::atomic<int> opened_{0}, broken_{0};
  std::vector<std::thread> threads_;
};

int Issue(int argc, char** argv) {
  std::filesystem::create_directories(argv[2]);
  const services::TestAuthority authority(argv[2]);
  for (int i = 3; i < argc; ++i) {
    const std::string wanted = argv[i];
    const size_t at = std::min(wanted.rfind('@'), wanted.size());
    const size_t equals = std::min(wanted.find('='), at);
    const std::string name = wanted.substr(0, equals);
    const std::string id =
        equals < at ? wanted.substr(equals + 1, at - equals - 1) : "spiffe://load.retort.invalid/" + name;
    const auto ends = at < wanted.size() ? std::chrono::seconds(std::atoi(wanted.c_str() + at + 1))
                                         : std::chrono::seconds(std::chrono::hours(24 * 30));
    authority.Issue(name, {.uris = {id}, .ends = ends});
  }
  return 0;
}

double Quantile(const std::vector<float>& sorted, double q) {
  return sorted.empty() ? 0 : sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1))];
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 2 ? argv[1] : "";
  if (verb == "issue") return Issue(argc, argv);
  Options options;
  if (verb == "run") options.folder = argv[2];
  for (int i = 3; verb == "run" && i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    if (flag == "--address") options.address = value;
    if (flag == "--job") options.job = value;
    if (flag == "--identities") options.identities = std::atoi(value.c_str());
    if (flag == "--clients") options.clients = std::atoi(value.c_str());
    if (flag == "--watchers") options.watchers = std::atoi(value.c_str());
    if (flag == "--rate") options.rate = std::atof(value.c_str());
    if (flag == "--seconds") options.seconds = std::atof(value.c_str());
    if (flag == "--honour-retry") options.honour_retry = value != "0";
  }
  if (options.address.empty() || options.job.empty() || options.identities < 1 || options.clients < 1) {
    std::fprintf(stderr, "wanted: issue FOLDER NAME... | run FOLDER --address HOST:PORT --job NAME ...\n");
    return 2;
  }
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  Watchers watchers(options, options.watchers);
  Crowd crowd(options);
  if (!crowd.AllConnected(std::chrono::seconds(120))) {
    std::fprintf(stderr, "not all clients could connect within 120 s\n");
    return 1;
  }
  const auto begin = Clock::now();
  Figures figures = crowd.Run();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  watchers.Stop();
  std::sort(figures.ok_ms.begin(), figures.ok_ms.end());
  std::string others;
  for (const auto& [what, count] : figures.others)
    others += (others.empty() ? "" : ", ") + ("\"" + what + "\": " + std::to_string(count));
  std::printf(
      "{\"clients\": %d, \"offered_per_second\": %.0f, \"seconds\": %.1f, \"sent\": %ld, \"ok\": %ld, "
      "\"goodput_per_second\": %.0f, \"refused_with_time\": %ld, \"refused_without_time\": %ld, "
      "\"p50_ms\": %.1f, \"p99_ms\": %.1f, \"max_ms\": %.1f, \"watchers\": %d, \"watchers_broken\": %d, "
      "\"others\": {%s}}\n",
      options.clients, options.rate, seconds, figures.sent, figures.ok,
      static_cast<double>(figures.ok) / seconds, figures.refused_with_time, figures.refused_without_time,
      Quantile(figures.ok_ms, 0.5), Quantile(figures.ok_ms, 0.99), Quantile(figures.ok_ms, 1),
      watchers.opened(), watchers.broken(), others.c_str());
  return 0;
}
