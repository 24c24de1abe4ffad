#include "services/cli/client.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "ledger/digest.h"
#include "services/cli/exit_code.h"

namespace retort::services {
namespace {

using retort::jobs::v1::Job;

constexpr int kWaitSeconds = 10;  // of one call, well below its deadline
constexpr auto kReconnectFor = std::chrono::minutes(2);
constexpr auto kReconnectPause = std::chrono::milliseconds(500);
constexpr auto kTransferDeadline = std::chrono::hours(1);
constexpr auto kWatchDeadline = std::chrono::hours(24);  // then a new stream takes over where it ended

// Ends `context` when Ctrl-C comes, for as long as it exists.
class CancelOnInterrupt {
 public:
  CancelOnInterrupt(Interrupt* interrupt, grpc::ClientContext& context) : interrupt_(interrupt) {
    if (interrupt_ != nullptr) interrupt_->SetCallback([&context] { context.TryCancel(); });
  }
  ~CancelOnInterrupt() {
    if (interrupt_ != nullptr) interrupt_->SetCallback(nullptr);
  }

 private:
  Interrupt* interrupt_;
};

template <class Reader, class Piece>
absl::Status Drain(grpc::ClientContext& context, Reader& reader, Piece& piece, const FileSink& sink) {
  absl::Status sunk = absl::OkStatus();
  while (sunk.ok() && reader.Read(&piece)) sunk = sink(piece.path(), piece.content(), piece.last());
  if (!sunk.ok()) context.TryCancel();
  const grpc::Status finished = reader.Finish();
  if (!sunk.ok()) return sunk;
  return FromGrpcStatus(finished);
}

}  // namespace

Environment ProcessEnvironment() {
  return [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string(name).c_str());
    if (value == nullptr || *value == '\0') return std::nullopt;
    return std::string(value);
  };
}

std::string DefaultDevDir(const Environment& environment) {
  if (auto dir = environment("RETORT_DEV_DIR")) return *dir;
  if (auto state = environment("XDG_STATE_HOME")) return *state + "/retort/dev";
  return environment("HOME").value_or(".") + "/.local/state/retort/dev";
}

absl::StatusOr<ConnectionOptions> ResolveConnection(ConnectionOptions given, const Environment& environment) {
  const auto fill = [&](std::string& value, std::string_view variable) {
    if (value.empty()) value = environment(variable).value_or("");
  };
  fill(given.server, "RETORT_SERVER");
  fill(given.tls.authorities, "RETORT_TLS_CA");
  fill(given.tls.certificate, "RETORT_TLS_CERT");
  fill(given.tls.private_key, "RETORT_TLS_KEY");
  if (given.dev_dir.empty()) given.dev_dir = DefaultDevDir(environment);

  if (given.server.empty()) {
    const std::string endpoint_file = given.dev_dir + "/endpoint";
    auto endpoint = ReadSmallFile(endpoint_file, 256);
    if (!endpoint.ok()) {
      return absl::FailedPreconditionError(
          "no server given and no dev server found at " + given.dev_dir +
          ": add --server HOST:PORT with --tls-ca, --tls-cert and --tls-key, or start "
          "`retortd --dev`");
    }
    while (!endpoint->empty() && (endpoint->back() == '\n' || endpoint->back() == ' ')) endpoint->pop_back();
    given.server = *endpoint;
    if (given.tls.authorities.empty()) given.tls.authorities = given.dev_dir + "/ca.crt";
    if (given.tls.certificate.empty()) given.tls.certificate = given.dev_dir + "/client.crt";
    if (given.tls.private_key.empty()) given.tls.private_key = given.dev_dir + "/client.key";
    return given;
  }
  const std::array<std::pair<const std::string*, const char*>, 3> wanted = {
      {{&given.tls.authorities, "--tls-ca"},
       {&given.tls.certificate, "--tls-cert"},
       {&given.tls.private_key, "--tls-key"}}};
  for (const auto& [value, flag] : wanted) {
    if (value->empty()) {
      return absl::FailedPreconditionError("server " + given.server + " was given without " + flag +
                                           ": add " + flag + " FILE (connections are mutual TLS)");
    }
  }
  return given;
}

std::string NewRequestId() {
  std::array<unsigned char, 16> bytes;
  const ssize_t got = getrandom(bytes.data(), bytes.size(), 0);
  assert(got == static_cast<ssize_t>(bytes.size()));  // never short for 16 bytes (getrandom(2))
  (void)got;
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string id;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) id += '-';
    id += kDigits[bytes[i] >> 4];
    id += kDigits[bytes[i] & 15];
  }
  return id;
}

Client::Client(const std::shared_ptr<grpc::Channel>& channel, std::chrono::milliseconds timeout)
    : jobs_(Jobs::NewStub(channel)),
      ledger_(Ledger::NewStub(channel)),
      policy_(Policy::NewStub(channel)),
      teacher_(Teacher::NewStub(channel)),
      students_(Students::NewStub(channel)),
      operations_(Operations::NewStub(channel)),
      timeout_(timeout) {}

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ConnectionOptions& resolved,
                                                        std::chrono::milliseconds timeout) {
  auto channel = ConnectTo(resolved.server, resolved.tls);
  if (!channel.ok()) return channel.status();
  return std::unique_ptr<Client>(new Client(*channel, timeout));
}

absl::StatusOr<Job> WatchJob(Client& client, const std::string& name, Interrupt* interrupt,
                             const std::function<void(const Job&, const std::string&)>& on_change) {
  retort::jobs::v1::WatchJobRequest request;
  request.set_name(name);
  Job job;
  auto last_heard = std::chrono::steady_clock::now();
  for (;;) {
    grpc::ClientContext context;
    SetDeadline(context, kWatchDeadline);
    CancelOnInterrupt cancel(interrupt, context);
    auto reader = client.jobs().WatchJob(&context, request);
    retort::jobs::v1::WatchJobResponse message;
    while (reader->Read(&message)) {
      last_heard = std::chrono::steady_clock::now();
      request.set_resume_token(message.resume_token());
      if (message.has_job()) job = message.job();
      if (message.has_job() || !message.event().empty()) on_change(job, message.event());
    }
    const grpc::Status finished = reader->Finish();
    if (interrupt != nullptr && interrupt->requested()) return absl::CancelledError("interrupted");
    if (finished.ok() && HasEnded(job)) return job;
    const auto wait = RetryAfterOf(FromGrpcStatus(finished));  // the server has no room for a stream
    if (finished.error_code() == grpc::StatusCode::OUT_OF_RANGE) {
      request.clear_resume_token();  // too old for the server: begin with a new snapshot
    } else if (!finished.ok() && !wait.has_value() &&
               finished.error_code() != grpc::StatusCode::UNAVAILABLE &&
               finished.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED) {
      return FromGrpcStatus(finished);
    }
    if (std::chrono::steady_clock::now() - last_heard > kReconnectFor) {
      return finished.ok() ? absl::UnavailableError("the watch ended before the job did")
                           : FromGrpcStatus(finished);
    }
    std::this_thread::sleep_for(wait.value_or(kReconnectPause));
  }
}

absl::StatusOr<google::longrunning::Operation> AwaitOperation(
    Client& client, google::longrunning::Operation operation, Interrupt* interrupt,
    const std::function<void(const google::longrunning::Operation&)>& on_progress) {
  google::longrunning::WaitOperationRequest wait;
  wait.set_name(operation.name());
  wait.mutable_timeout()->set_seconds(kWaitSeconds);
  while (true) {
    on_progress(operation);
    if (operation.done()) break;
    if (interrupt != nullptr && interrupt->requested()) return absl::CancelledError("interrupted");
    auto now = client.Call(client.operations(), &Client::Operations::Stub::WaitOperation, wait);
    if (!now.ok()) return now.status();
    operation = *std::move(now);
  }
  if (!operation.has_error()) return operation;
  const google::rpc::Status& error = operation.error();
  return FromGrpcStatus(
      grpc::Status(static_cast<grpc::StatusCode>(error.code()), error.message(), error.SerializeAsString()));
}

absl::Status ReceiveEvidence(Client& client, const std::string& ledger, const FileSink& sink) {
  retort::ledger::v1::ExportEvidenceRequest request;
  request.set_name(ledger);
  request.set_request_id(NewRequestId());
  auto begun = client.Call(client.ledger(), &Client::Ledger::Stub::ExportEvidence, request);
  if (!begun.ok()) return begun.status();
  auto prepared = AwaitOperation(client, *std::move(begun), nullptr, [](const auto&) {});
  if (!prepared.ok()) return prepared.status();
  retort::ledger::v1::ExportEvidenceResponse pack;
  if (!prepared->response().UnpackTo(&pack))
    return absl::DataLossError("the server's answer is no evidence pack");

  grpc::ClientContext context;
  SetDeadline(context, kTransferDeadline);
  retort::ledger::v1::ReadEvidenceRequest read;
  read.set_name(ledger);
  read.set_tree_size(pack.tree_size());
  auto reader = client.ledger().ReadEvidence(&context, read);
  retort::ledger::v1::FileChunk chunk;
  retort::ledger::Sha256Hasher pack_hash, file_hash;
  const auto received =
      Drain(context, *reader, chunk, [&](const std::string& path, const std::string& content, bool last) {
        file_hash.Update(content);
        if (last) {
          pack_hash.Update(path);
          pack_hash.Update(std::string_view("\0", 1));
          pack_hash.Update(retort::ledger::AsView(file_hash.Finish()));
        }
        return sink(path, content, last);
      });
  if (!received.ok()) return received;
  if (std::string(retort::ledger::AsView(pack_hash.Finish())) != pack.content_sha256())
    return absl::DataLossError("the evidence that came is not the one that was prepared");
  return absl::OkStatus();
}

absl::Status ReceiveStudent(Client& client, const std::string& student, const FileSink& sink) {
  grpc::ClientContext context;
  SetDeadline(context, kTransferDeadline);
  retort::jobs::v1::DownloadStudentRequest request;
  request.set_name(student);
  auto reader = client.jobs().DownloadStudent(&context, request);
  retort::jobs::v1::StudentFile piece;
  return Drain(context, *reader, piece, sink);
}

}  // namespace retort::services
