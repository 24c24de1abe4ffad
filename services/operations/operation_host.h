// Long-running operations of one service (AIP-151): kept on disk, worked on by a few threads, done again
// after a restart.
//
//   OperationHost::Options options{.folder = data_dir / "operations", .now = std::chrono::system_clock::now};
//   auto host = OperationHost::Open(std::move(options), {{"VerifyLedger", {work, describe}}});
//   auto operation = (*host)->Begin("projects/p", "VerifyLedger", request, {request.request_id(),
//   RequestHash(request)});
//
// An operation and the request id that began it are one synced write; the same id with the same body gives
// the same operation, with another body REQUEST_ID_REUSED. Work must be a pure reading of what is there: a
// process that ends before its operation does begins it anew after its next start. Finished operations live
// 30 days. Thread-safe.
#ifndef SERVICES_OPERATIONS_OPERATION_HOST_H_
#define SERVICES_OPERATIONS_OPERATION_HOST_H_

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "google/longrunning/operations.pb.h"
#include "retort/operations/v1/operation_record.pb.h"
#include "services/edge/list_query.h"

namespace retort::services {

inline constexpr std::chrono::hours kOperationsLive(30 * 24);
inline constexpr int kOperationsUnfinishedMax =
    64;  // of one project; more are refused, so that the queue is bounded

// What work tells while it goes on, and is told.
class OperationProgress {
 public:
  virtual ~OperationProgress() = default;
  // Steps done, of how many. Cheap: shown at once, written now and then.
  virtual void Set(int64_t done, int64_t total) = 0;
  // True once somebody asked to cancel, or the process ends: the work then returns Cancelled soon.
  virtual bool Stopped() const = 0;
};

// A kind of operation.
struct OperationVerb {
  // Does the work of a request. Its error ends the operation; Cancelled after a cancellation ends it as
  // CANCELLED.
  std::function<absl::StatusOr<google::protobuf::Any>(const google::protobuf::Any& request,
                                                      OperationProgress& progress)>
      work;
  // The metadata that clients see.
  std::function<google::protobuf::Any(const operations::v1::OperationRecord& record)> describe;
};

class OperationHost {
 public:
  struct Options {
    std::filesystem::path folder;
    std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
    int threads = 2;
  };
  struct RequestKey {
    std::string id;      // UUID, or empty: then every call begins an operation of its own
    std::string sha256;  // of the request without its id, 32 bytes
  };
  using Verbs = std::map<std::string, OperationVerb>;

  // Opens the state and goes on with what is not done. Errors of RowStore::Open.
  static absl::StatusOr<std::unique_ptr<OperationHost>> Open(Options options, Verbs verbs);

  // Stops the threads; work under way is told so and begun anew by the next process.
  ~OperationHost();

  // Begins an operation of projects/{project}. ResourceExhausted (LIMIT_EXCEEDED) when
  // kOperationsUnfinishedMax of the project are not done; InvalidArgument with REQUEST_ID_REUSED.
  absl::StatusOr<google::longrunning::Operation> Begin(const std::string& project, const std::string& verb,
                                                       const google::protobuf::Message& request,
                                                       const RequestKey& key);

  // NotFound for these four when there is no such operation.
  absl::StatusOr<google::longrunning::Operation> Get(const std::string& name) const;
  // Returns at once when it is done, else when it is, after `span`, or when `given_up` is true, asked every
  // 100 ms.
  absl::StatusOr<google::longrunning::Operation> Wait(const std::string& name, std::chrono::milliseconds span,
                                                      const std::function<bool()>& given_up) const;
  // Asks it to stop; nothing changes when it is done.
  absl::Status Cancel(const std::string& name);
  // Forgets it. FailedPrecondition (OPERATION_RUNNING) when it is not done.
  absl::Status Delete(const std::string& name);

  // Operations of projects/{project}, newest first: InvalidArgument as ParseListQuery.
  absl::StatusOr<google::longrunning::ListOperationsResponse> List(
      const google::longrunning::ListOperationsRequest& request) const;

 private:
  struct Impl;
  explicit OperationHost(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::services

#endif  // SERVICES_OPERATIONS_OPERATION_HOST_H_
