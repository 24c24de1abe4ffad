// The API server of a StandInCluster, over HTTPS on a free port of the loopback interface. It wants the
// bearer token of the moment, allows the verbs that it was told to, and serves lists, watches with bookmarks,
// and logs that follow. It can be stopped and started again, lose answers, drop streams in the middle of an
// object, and say anything else that a broken or hostile server says.
#ifndef TESTS_SERVICES_KUBERNETES_STAND_IN_API_H_
#define TESTS_SERVICES_KUBERNETES_STAND_IN_API_H_

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "services/kubernetes/api_client.h"
#include "tests/services/kubernetes/stand_in_cluster.h"

namespace httplib {
class Server;
struct Request;
struct Response;
}  // namespace httplib

namespace retort::kubernetes {

class StandInApi {
 public:
  // What the server does instead of answering, for the next `times` requests for `what` ("create jobs").
  struct Fault {
    enum class Kind {
      kAnswer,      // this status and body
      kLostAnswer,  // it does what was asked, and the connection breaks before the answer
      kEndless,     // a line without an end
    };
    int times = 1;
    Kind kind = Kind::kAnswer;
    int status = 200;
    std::string body;
    int retry_after = -1;  // seconds; -1: no such header
  };

  // Certificate and token are files in `folder`.
  StandInApi(StandInCluster& cluster, const std::filesystem::path& folder);
  ~StandInApi();

  void Start();  // on the port of the last time, if there was one
  void Stop();   // breaks every connection

  ApiServer server() const;  // how a client reaches it

  void Allow(
      const std::set<std::string>& what);  // "create jobs", "get pods/log", …; all of a launcher at first
  void ReplaceToken(const std::string& token);  // in the file and in the server
  void Inject(const std::string& what, Fault fault);
  void DropStreams();  // watches and logs, each in the middle of what it says next
  int requests(const std::string& what) const;

  static constexpr char kNamespace[] = "training";

 private:
  void Handle(const httplib::Request& request, httplib::Response& response);
  void Serve(const std::string& what, const std::string& name, const httplib::Request& request,
             httplib::Response& response);
  void Watch(const std::string& kind, const httplib::Request& request, httplib::Response& response);
  void Log(const std::string& pod, const httplib::Request& request, httplib::Response& response);

  StandInCluster& cluster_;
  const std::filesystem::path folder_;
  std::unique_ptr<httplib::Server> server_;
  std::thread thread_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> drops_{0};
  mutable std::mutex mutex_;
  std::string token_;
  std::set<std::string> allowed_;
  std::map<std::string, Fault> faults_;
  std::map<std::string, int> requests_;
};

}  // namespace retort::kubernetes

#endif  // TESTS_SERVICES_KUBERNETES_STAND_IN_API_H_
