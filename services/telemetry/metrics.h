// Every metric of a server, by name, unit and label, in one place; docs/operations.md explains them to
// operators.
//
// Labels are few and bounded: methods of the protos, codes of gRPC, states of a job, ids of rules and of
// teachers that an operator wrote down. Nothing that names a project, a job, a sample, a person or a text is
// a label, and whatever goes beyond a bound is counted as _OTHER.
//
//   Metrics metrics({.version = "0.1.0", .commit = "1dfa5ab"});
//   metrics.CallBegan();
//   metrics.CallEnded("/retort.jobs.v1.JobsService/GetJob", "OK", 0.002);
//   auto server = MetricsServer::Start("127.0.0.1:9464", &metrics);  // metrics_server.h
#ifndef SERVICES_TELEMETRY_METRICS_H_
#define SERVICES_TELEMETRY_METRICS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace prometheus {
class Collectable;
}

namespace retort::services {

// The value of a label that is beyond its bound, or of a method that is not served.
inline constexpr std::string_view kOtherLabel = "_OTHER";

struct BuildInfo {
  std::string version, commit;
};

// What the logs of a process hold together.
struct LedgerFigures {
  uint64_t entries = 0;    // in all logs
  uint64_t appended = 0;   // of them since the process began
  int64_t newest_us = 0;   // when the newest entry was accepted, which its checkpoint covers; 0 without any
  bool appendable = true;  // false while an append would be refused
};

// Thread-safe.
class Metrics {
 public:
  // Values that a label may have before further ones become kOtherLabel.
  static constexpr size_t kTeachersMax = 50;
  static constexpr size_t kRulesMax = 200;
  static constexpr size_t kMethodsMax = 200;

  explicit Metrics(const BuildInfo& build);
  ~Metrics();

  // retort_rpc_in_flight, retort_rpc_server_call_duration_seconds{grpc_method,grpc_code}. `method` is
  // /package.Service/Method or kOtherLabel, `code` as "OK", "NOT_FOUND".
  void CallBegan();
  void CallEnded(const std::string& method, const std::string& code, double seconds);

  // retort_policy_evaluation_seconds: a decision, signed.
  void PolicyEvaluated(double seconds);
  // retort_ledger_append_seconds: from the request to durable under a checkpoint.
  void LedgerAppended(double seconds);
  // retort_ledger_verify_failures_total: stored bytes that did not match their hash or signature.
  void LedgerVerifyFailed();
  // retort_samples_total{teacher,verdict,rule}: `verdict` is allow, review or deny, `rule` <pack>/<rule>, or
  // "none".
  void SampleRecorded(const std::string& teacher, const std::string& verdict, const std::string& rule);
  // retort_teacher_request_seconds: a call of a teacher, retries included, whatever its end.
  void TeacherAsked(double seconds);
  // retort_teacher_tokens_total{direction}.
  void TeacherTokens(int64_t input, int64_t output);
  // retort_job_queue_wait_seconds: from CreateJob to the job's first step.
  void JobBegan(double queued_seconds);

  // What is read when somebody scrapes, set by the functions that OnScrape was given. A process without the
  // role has no such line.
  void SetLedger(const LedgerFigures&
                     figures);  // retort_ledger_tree_size, _entries_total, _last_checkpoint_…, _appendable
  void SetJobs(
      const std::map<std::string, int64_t>& by_state);  // retort_jobs{state}; a state that is not named is 0
  void SetCertificateExpiry(double unix_seconds);       // retort_tls_cert_expiry_timestamp_seconds
  void SetReady(bool ready);                            // retort_ready
  // Calls `update` before each scrape, on the scraper's thread, one scrape after another. Before the first
  // scrape.
  void OnScrape(std::function<void()> update);

  // The text that a scrape gets (Prometheus exposition format 0.0.4).
  std::string Text();

  // For MetricsServer.
  std::shared_ptr<prometheus::Collectable> collectable() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // shared with the server of a scrape that may be under way
};

}  // namespace retort::services

#endif  // SERVICES_TELEMETRY_METRICS_H_
