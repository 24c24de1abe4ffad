// A teacher, a policy and a ledger service in this process, good enough to carry a job through, and able to
// fail, to wait, and to lose a connection at any call.
#ifndef TESTS_SERVICES_JOBS_FAKE_PEERS_H_
#define TESTS_SERVICES_JOBS_FAKE_PEERS_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "services/jobs/peers.h"

namespace retort::jobs {

// Where a call is when the hook is asked: before its effect, or after it and before the answer leaves.
enum class Moment { kBefore, kAfter };

class FakePeers {
 public:
  FakePeers();
  ~FakePeers();

  Peers Stubs();

  // Asked at both moments of every call. An error is answered instead.
  using Hook =
      std::function<grpc::Status(const std::string& method, Moment moment, grpc::ServerContext& context)>;
  void SetHook(Hook hook);

  // Asked before each Extract; an error is answered instead of a completion.
  std::function<grpc::Status(const teacher::v1::ExtractRequest&)> on_extract;
  // What policy says about a job.
  std::string job_effect = "allow";
  std::vector<std::string> job_missing;
  // Obligation of every allowed sample: kind and text; none when empty.
  std::pair<std::string, std::string> obligation;
  // True for a teacher that reports token ids.
  bool local_teacher = true;

  struct Entry {
    ledger::v1::EntryKind kind;
    std::string request_id;
    std::vector<std::string> statements;
    std::string attachment;
    std::string effect;  // of a sample
    int32_t prompt = -1, attempt = 0;
    bool held_out = false;
  };
  std::vector<Entry> entries() const;
  std::vector<Entry> entries(ledger::v1::EntryKind kind) const;
  // Prompt index and attempt of every Extract that was answered or not, in order.
  std::vector<std::pair<int32_t, int32_t>> extracts() const;
  int most_in_flight() const { return most_in_flight_; }

 private:
  class Teacher;
  class Policy;
  class Ledger;
  friend class Teacher;
  friend class Policy;
  friend class Ledger;

  grpc::Status Ask(const std::string& method, Moment moment, grpc::ServerContext& context);

  mutable std::mutex mutex_;
  Hook hook_;
  std::vector<Entry> entries_;
  std::map<std::string, int64_t> by_request_;
  std::vector<std::pair<int32_t, int32_t>> extracts_;
  int in_flight_ = 0, most_in_flight_ = 0;
  std::unique_ptr<Teacher> teacher_;
  std::unique_ptr<Policy> policy_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<grpc::Server> server_;
};

// An error as a service answers it.
grpc::Status PeerError(grpc::StatusCode code, int reason, const std::string& message = "told to fail");

}  // namespace retort::jobs

#endif  // TESTS_SERVICES_JOBS_FAKE_PEERS_H_
