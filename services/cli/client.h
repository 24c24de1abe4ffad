// The connection of a command to a server, and the calls that several commands share.
#ifndef SERVICES_CLI_CLIENT_H_
#define SERVICES_CLI_CLIENT_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "absl/status/statusor.h"
#include "google/longrunning/operations.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "retort/jobs/v1/jobs.grpc.pb.h"
#include "retort/ledger/v1/ledger.grpc.pb.h"
#include "retort/policy/v1/policy.grpc.pb.h"
#include "retort/student/v1/student.grpc.pb.h"
#include "retort/teacher/v1/teacher.grpc.pb.h"
#include "services/cli/interrupt.h"
#include "services/edge/channel.h"
#include "services/edge/status.h"

namespace retort::services {

// What flags and variables said; empty where they said nothing.
struct ConnectionOptions {
  std::string server;  // host:port
  TlsPaths tls;
  std::string dev_dir;  // where `retortd --dev` left its files; empty means DefaultDevDir()
};

// Reads an environment variable; injected for tests.
using Environment = std::function<std::optional<std::string>(std::string_view)>;
Environment ProcessEnvironment();

// ${RETORT_DEV_DIR}, else ${XDG_STATE_HOME:-${HOME}/.local/state}/retort/dev.
std::string DefaultDevDir(const Environment& environment);

// Fills what is empty: without a server, its address and TLS files are those in the dev folder.
// FailedPrecondition: no server given and no dev server has left its address; or a server given without TLS
// files. The message says which flag to add.
absl::StatusOr<ConnectionOptions> ResolveConnection(ConnectionOptions given, const Environment& environment);

// A random UUID (version 4).
std::string NewRequestId();

// Stubs on one channel. Thread-safe, like the stubs.
class Client {
 public:
  // Connects in the background. Errors of ConnectTo.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ConnectionOptions& resolved,
                                                         std::chrono::milliseconds timeout);

  using Jobs = retort::jobs::v1::JobsService;
  using Ledger = retort::ledger::v1::LedgerService;
  using Policy = retort::policy::v1::PolicyService;
  using Teacher = retort::teacher::v1::TeacherService;
  using Students = retort::student::v1::StudentService;
  using Operations = google::longrunning::Operations;

  Jobs::Stub& jobs() { return *jobs_; }
  Ledger::Stub& ledger() { return *ledger_; }
  Policy::Stub& policy() { return *policy_; }
  Teacher::Stub& teacher() { return *teacher_; }
  Students::Stub& students() { return *students_; }
  Operations::Stub& operations() { return *operations_; }
  std::chrono::milliseconds timeout() const { return timeout_; }

  // One call with the deadline `timeout()`: client.Call(client.jobs(), &Client::Jobs::Stub::GetJob, request).
  // Errors carry the server's reason. A call that the server had no room for was not begun: it is made again
  // when the server said, as long as that is before the deadline.
  template <class Stub, class Request, class Response>
  absl::StatusOr<Response> Call(Stub& stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request) {
    const auto end = std::chrono::steady_clock::now() + timeout_;
    while (true) {
      grpc::ClientContext context;
      SetDeadline(context,
                  std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()));
      Response response;
      const grpc::Status status = (stub.*method)(&context, request, &response);
      if (status.ok()) return response;
      const absl::Status error = FromGrpcStatus(status);
      const auto wait = RetryAfterOf(error);
      if (ReasonOf(error) != LIMIT_EXCEEDED || !wait.has_value() ||
          std::chrono::steady_clock::now() + *wait >= end)
        return error;
      std::this_thread::sleep_for(*wait);
    }
  }

 private:
  Client(const std::shared_ptr<grpc::Channel>& channel, std::chrono::milliseconds timeout);

  std::unique_ptr<Jobs::Stub> jobs_;
  std::unique_ptr<Ledger::Stub> ledger_;
  std::unique_ptr<Policy::Stub> policy_;
  std::unique_ptr<Teacher::Stub> teacher_;
  std::unique_ptr<Students::Stub> students_;
  std::unique_ptr<Operations::Stub> operations_;
  std::chrono::milliseconds timeout_;
};

// Follows a job until it ends and returns it as it then is. `on_change` gets every state and event line. A
// lost connection is taken up again where it broke, for at most two minutes. Cancelled: `interrupt` (may be
// null) was requested; the job goes on. Otherwise the error of the call.
absl::StatusOr<retort::jobs::v1::Job> WatchJob(
    Client& client, const std::string& name, Interrupt* interrupt,
    const std::function<void(const retort::jobs::v1::Job& job, const std::string& event)>& on_change);

// Waits until an operation is done, calling `on_progress` with each state; the operation, or its error as a
// status with its reason. Cancelled: `interrupt` (may be null) was requested; the operation goes on.
absl::StatusOr<google::longrunning::Operation> AwaitOperation(
    Client& client, google::longrunning::Operation operation, Interrupt* interrupt,
    const std::function<void(const google::longrunning::Operation&)>& on_progress);

// Receives the files of a stream: `path`, then each piece of content in order, `last` with the last piece.
using FileSink = std::function<absl::Status(const std::string& path, const std::string& content, bool last)>;

// Has the evidence of projects/{project}/ledgers/main prepared and streams it, or streams the files of a
// student, into `sink`. DataLoss when what came is not what was prepared. Errors of the call and of the sink,
// whose first error ends the stream.
absl::Status ReceiveEvidence(Client& client, const std::string& ledger, const FileSink& sink);
absl::Status ReceiveStudent(Client& client, const std::string& student, const FileSink& sink);

}  // namespace retort::services

#endif  // SERVICES_CLI_CLIENT_H_
