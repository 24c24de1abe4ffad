#include "tests/services/kubernetes/stand_in_api.h"

#include <httplib.h>

#include <cassert>
#include <cstdlib>
#include <fstream>
#include <regex>

#include "absl/time/time.h"

namespace retort::kubernetes {
namespace {

using Json = StandInCluster::Json;

constexpr std::chrono::milliseconds kLookEvery(10);
constexpr std::chrono::milliseconds kBookmarkEvery(100);

void Send(httplib::Response& response, const StandInCluster::Answer& answer) {
  response.status = answer.status;
  response.set_content(answer.body.dump(), "application/json");
}

void Refuse(httplib::Response& response, int status, const std::string& reason, const std::string& message) {
  Send(response, {status,
                  {{"kind", "Status"},
                   {"status", "Failure"},
                   {"reason", reason},
                   {"message", message},
                   {"code", status}}});
}

bool Write(httplib::DataSink& sink, const std::string& text) {
  return sink.is_writable() && sink.write(text.data(), text.size());
}

}  // namespace

StandInApi::StandInApi(StandInCluster& cluster, const std::filesystem::path& folder)
    : cluster_(cluster), folder_(folder) {
  const std::string make =
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=api "
      "-addext subjectAltName=IP:127.0.0.1 -keyout " +
      (folder / "api.key").string() + " -out " + (folder / "ca.crt").string() + " 2>/dev/null";
  if (system(make.c_str()) != 0) abort();
  ReplaceToken("first-token");
  allowed_ = {"create jobs", "get jobs",  "list jobs",  "watch jobs",   "delete jobs",
              "get pods",    "list pods", "watch pods", "get pods/log", "list workloads"};
  Start();
}

StandInApi::~StandInApi() {
  Stop();
}

void StandInApi::Start() {
  stopping_ = false;
  server_ = std::make_unique<httplib::SSLServer>((folder_ / "ca.crt").c_str(), (folder_ / "api.key").c_str());
  server_->new_task_queue = [] { return new httplib::ThreadPool(32); };
  server_->set_keep_alive_max_count(1);
  const auto handle = [this](const httplib::Request& request, httplib::Response& response) {
    Handle(request, response);
  };
  server_->Get(".*", handle);
  server_->Post(".*", handle);
  server_->Delete(".*", handle);
  if (port_ == 0) {
    port_ = server_->bind_to_any_port("127.0.0.1");
  } else if (!server_->bind_to_port("127.0.0.1", port_)) {
    abort();
  }
  thread_ = std::thread([this] { server_->listen_after_bind(); });
  while (!server_->is_running()) std::this_thread::yield();
}

void StandInApi::Stop() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  server_->stop();
  thread_.join();
  server_.reset();
}

ApiServer StandInApi::server() const {
  return {"https://127.0.0.1:" + std::to_string(port_), (folder_ / "ca.crt").string(),
          (folder_ / "token").string()};
}

void StandInApi::Allow(const std::set<std::string>& what) {
  std::lock_guard lock(mutex_);
  allowed_ = what;
}

void StandInApi::ReplaceToken(const std::string& token) {
  std::lock_guard lock(mutex_);
  std::ofstream(folder_ / "token.new") << token << "\n";
  std::filesystem::rename(folder_ / "token.new", folder_ / "token");
  token_ = token;
}

void StandInApi::Inject(const std::string& what, Fault fault) {
  std::lock_guard lock(mutex_);
  faults_[what] = std::move(fault);
}

void StandInApi::DropStreams() {
  ++drops_;
}

int StandInApi::requests(const std::string& what) const {
  std::lock_guard lock(mutex_);
  const auto found = requests_.find(what);
  return found == requests_.end() ? 0 : found->second;
}

void StandInApi::Handle(const httplib::Request& request, httplib::Response& response) {
  static const std::regex kPath(
      "/(?:apis/batch/v1|api/v1|apis/kueue.x-k8s.io/v1beta2)/namespaces/([^/]+)/(jobs|pods|workloads)(?:/([^/"
      "]+)(/log)?)?");
  std::smatch parts;
  if (!std::regex_match(request.path, parts, kPath)) return Refuse(response, 404, "NotFound", "no such path");
  const std::string resource = parts[2].str() + parts[4].str(), name = parts[3];
  const std::string verb = request.method == "POST"     ? "create"
                           : request.method == "DELETE" ? "delete"
                           : !name.empty()              ? "get"
                           : request.has_param("watch") ? "watch"
                                                        : "list";
  const std::string what = verb + " " + resource;
  Fault fault;
  fault.times = 0;
  {
    std::lock_guard lock(mutex_);
    ++requests_[what];
    if (request.get_header_value("Authorization") != "Bearer " + token_) {
      return Refuse(response, 401, "Unauthorized", "Unauthorized");
    }
    if (allowed_.count(what) == 0 || parts[1] != kNamespace) {
      return Refuse(response, 403, "Forbidden",
                    resource + " is forbidden: User \"system:serviceaccount:training:launcher\" cannot " +
                        verb + " resource \"" + resource + "\" in the namespace \"" + parts[1].str() + "\"");
    }
    if (const auto found = faults_.find(what); found != faults_.end() && found->second.times > 0) {
      --found->second.times;
      fault = found->second;
      fault.times = 1;
    }
  }
  if (fault.times == 0) return Serve(what, name, request, response);
  switch (fault.kind) {
    case Fault::Kind::kAnswer:
      response.status = fault.status;
      if (fault.retry_after >= 0) response.set_header("Retry-After", std::to_string(fault.retry_after));
      response.set_content(fault.body, "application/json");
      return;
    case Fault::Kind::kLostAnswer: {
      httplib::Response unseen;
      Serve(what, name, request, unseen);
      response.set_chunked_content_provider("application/json",
                                            [](size_t, httplib::DataSink&) { return false; });
      return;
    }
    case Fault::Kind::kEndless:
      response.set_chunked_content_provider("application/json", [this](size_t, httplib::DataSink& sink) {
        return !stopping_ && Write(sink, std::string(64 << 10, 'x'));
      });
  }
}

void StandInApi::Serve(const std::string& what, const std::string& name, const httplib::Request& request,
                       httplib::Response& response) {
  const std::string selector = request.get_param_value("labelSelector");
  if (what == "create jobs") {
    Json job = Json::parse(request.body, nullptr, false);
    if (!job.is_object()) return Refuse(response, 400, "BadRequest", "the body is no object");
    return Send(response, cluster_.Create(std::move(job)));
  }
  if (what == "delete jobs")
    return Send(response, cluster_.Delete(name, Json::parse(request.body, nullptr, false)));
  if (what == "get jobs") return Send(response, cluster_.Get("Job", name));
  if (what == "get pods") return Send(response, cluster_.Get("Pod", name));
  if (what == "list jobs") return Send(response, cluster_.List("Job", selector));
  if (what == "list pods") return Send(response, cluster_.List("Pod", selector));
  if (what == "watch jobs") return Watch("Job", request, response);
  if (what == "watch pods") return Watch("Pod", request, response);
  if (what == "get pods/log") return Log(name, request, response);
  if (what == "list workloads") return Send(response, cluster_.Workloads());
  Refuse(response, 405, "MethodNotAllowed", what);
}

void StandInApi::Watch(const std::string& kind, const httplib::Request& request,
                       httplib::Response& response) {
  struct State {
    int64_t version;
    int drops;
    std::chrono::steady_clock::time_point spoke = std::chrono::steady_clock::now();
  };
  const std::string selector = request.get_param_value("labelSelector");
  auto state = std::make_shared<State>();
  state->version = std::atoll(request.get_param_value("resourceVersion").c_str());
  state->drops = drops_;
  if (!cluster_.After(state->version, kind, selector, std::chrono::milliseconds(0))) {
    return Refuse(response, 410, "Expired", "too old resource version: " + std::to_string(state->version));
  }
  response.set_chunked_content_provider("application/json", [this, state, kind, selector](
                                                                size_t, httplib::DataSink& sink) {
    if (stopping_ || !sink.is_writable()) return false;
    const int64_t until = cluster_.version();  // what came later may not be in `changes`
    auto changes = cluster_.After(state->version, kind, selector, kLookEvery);
    if (!changes) {
      const Json gone = {
          {"type", "ERROR"},
          {"object", {{"kind", "Status"}, {"code", 410}, {"reason", "Expired"}, {"message", "too old"}}}};
      Write(sink, gone.dump() + "\n");
      sink.done();
      return true;
    }
    const bool drop = state->drops != drops_;
    for (const auto& change : *changes) {
      const std::string line = Json{{"type", change.type}, {"object", change.object}}.dump() + "\n";
      if (drop) {
        Write(sink, line.substr(0, line.size() / 2));
        return false;
      }
      if (!Write(sink, line)) return false;
      state->version = change.version;
      state->spoke = std::chrono::steady_clock::now();
    }
    if (std::chrono::steady_clock::now() - state->spoke > kBookmarkEvery) {
      state->version = std::max(state->version, until);
      const Json bookmark = {
          {"type", "BOOKMARK"},
          {"object", {{"kind", kind}, {"metadata", {{"resourceVersion", std::to_string(state->version)}}}}}};
      const std::string line = bookmark.dump() + "\n";
      if (!Write(sink, drop ? line.substr(0, line.size() / 2) : line) || drop) return false;
      state->spoke = std::chrono::steady_clock::now();
    }
    return true;
  });
}

void StandInApi::Log(const std::string& pod, const httplib::Request& request, httplib::Response& response) {
  if (!cluster_.Log(pod, 0))
    return Refuse(response, 400, "BadRequest", "container is waiting to start, or there is no pod");
  if (cluster_.Get("Pod", pod).status != 200) return Refuse(response, 404, "NotFound", "no pod " + pod);
  struct State {
    size_t next = 0;
    int64_t bytes_left = INT64_MAX;
    absl::Time since;
    int drops;
  };
  auto state = std::make_shared<State>();
  state->drops = drops_;
  state->since = absl::InfinitePast();
  std::string problem;
  if (request.has_param("sinceTime") &&
      !absl::ParseTime(absl::RFC3339_full, request.get_param_value("sinceTime"), &state->since, &problem)) {
    return Refuse(response, 400, "BadRequest", "sinceTime: " + problem);
  }
  if (request.has_param("limitBytes"))
    state->bytes_left = std::atoll(request.get_param_value("limitBytes").c_str());
  response.set_chunked_content_provider("text/plain", [this, state, pod](size_t, httplib::DataSink& sink) {
    if (stopping_ || !sink.is_writable()) return false;
    const auto piece = cluster_.Log(pod, state->next, /*open=*/true);
    if (!piece) return false;
    for (const std::string& line : piece->lines) {
      ++state->next;
      absl::Time time;
      std::string problem;
      if (!absl::ParseTime(absl::RFC3339_full, line.substr(0, line.find(' ')), &time, &problem)) return false;
      if (time < state->since) continue;
      if (state->drops != drops_) {
        Write(sink, line.substr(0, line.size() / 2));
        return false;
      }
      const std::string sent = line.substr(
          0, static_cast<size_t>(std::min<int64_t>(state->bytes_left, static_cast<int64_t>(line.size()))));
      if (!Write(sink, sent)) return false;
      state->bytes_left -= static_cast<int64_t>(sent.size());
      if (state->bytes_left <= 0) break;
    }
    if ((piece->ended && piece->lines.empty()) || state->bytes_left <= 0) {
      sink.done();
      return true;
    }
    if (piece->lines.empty()) std::this_thread::sleep_for(kLookEvery);
    return true;
  });
}

}  // namespace retort::kubernetes
