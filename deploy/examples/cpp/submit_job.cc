// Submits a distillation job to a Retort server over gRPC with mutual TLS, follows it to its end, fetches the
// evidence.
//
//   submit_job SERVER CERTIFICATE KEY AUTHORITIES JOB OUT [PROJECT]
//   submit_job retort.example:7443 me.crt me.key ca.crt job.json evidence
//
// JOB is the JSON of a JobSpec (proto/retort/jobs/v1/job_spec.proto); OUT is a folder that is not there yet.
// Exit code: 0 succeeded, 1 failed, 2 wrong usage, 3 refused by policy, 7 the server cannot be reached.
#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "google/longrunning/operations.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "retort/jobs/v1/jobs.grpc.pb.h"
#include "retort/ledger/v1/ledger.grpc.pb.h"

namespace {

using google::longrunning::Operation;
using retort::jobs::v1::Job;

constexpr int kFailed = 1, kUsage = 2, kRefused = 3, kUnreachable = 7;
constexpr int kRetriesMax = 10;  // of a broken watch, in a row

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Every call has a deadline.
void SetDeadline(grpc::ClientContext& context, std::chrono::seconds from_now) {
  context.set_deadline(std::chrono::system_clock::now() + from_now);
}

// The reason that a program acts on: the ErrorInfo of the rich status.
std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status rich;
  google::rpc::ErrorInfo info;
  if (!rich.ParseFromString(status.error_details())) return "";
  for (const auto& detail : rich.details()) {
    if (detail.UnpackTo(&info)) return info.reason();
  }
  return "";
}

int Report(const grpc::Status& status) {
  const std::string reason = ReasonOf(status);
  std::fprintf(stderr, "error: %s (%s)\n", status.error_message().c_str(), reason.c_str());
  if (reason.rfind("POLICY_", 0) == 0) return kRefused;
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ? kUnreachable : kFailed;
}

bool HasEnded(const Job& job) {
  return job.state() == Job::STATE_SUCCEEDED || job.state() == Job::STATE_FAILED ||
         job.state() == Job::STATE_CANCELLED;
}

// Until the job ends. A stream that breaks is taken up where it broke.
grpc::Status Watch(retort::jobs::v1::JobsService::Stub& jobs, Job& job) {
  std::string token, shown;
  for (int failures = 0; !HasEnded(job);) {
    grpc::ClientContext context;
    SetDeadline(context, std::chrono::hours(24));
    retort::jobs::v1::WatchJobRequest request;
    request.set_name(job.name());
    request.set_resume_token(token);
    const auto stream = jobs.WatchJob(&context, request);
    retort::jobs::v1::WatchJobResponse message;
    while (!HasEnded(job) && stream->Read(&message)) {
      failures = 0;
      token = message.resume_token();
      if (!message.has_job()) continue;
      job = message.job();
      const auto& progress = job.progress();
      const std::string line = Job::State_Name(job.state()) + " samples " +
                               std::to_string(progress.samples_done()) + "/" +
                               std::to_string(progress.samples_total());
      if (line != shown) std::printf("%s\n", line.c_str());
      shown = line;
    }
    if (HasEnded(job)) context.TryCancel();
    const grpc::Status status = stream->Finish();
    if (HasEnded(job)) break;
    if (status.error_code() == grpc::StatusCode::OUT_OF_RANGE)
      token.clear();  // too old: begin with a snapshot
    if (!status.ok() && status.error_code() != grpc::StatusCode::UNAVAILABLE &&
        status.error_code() != grpc::StatusCode::OUT_OF_RANGE) {
      return status;
    }
    if (++failures > kRetriesMax) return status;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  return grpc::Status::OK;
}

// True for a path that stays below the folder that it is written under.
bool IsBelow(const std::string& path) {
  const std::filesystem::path parts(path);
  if (path.empty() || parts.is_absolute()) return false;
  for (const auto& part : parts) {
    if (part == ".." || part == "." || part.empty()) return false;
  }
  return true;
}

grpc::Status FetchEvidence(const std::shared_ptr<grpc::Channel>& channel, const std::string& log,
                           const std::filesystem::path& out) {
  const auto ledger = retort::ledger::v1::LedgerService::NewStub(channel);
  const auto operations = google::longrunning::Operations::NewStub(channel);
  Operation operation;
  {
    grpc::ClientContext context;
    SetDeadline(context, std::chrono::seconds(30));
    retort::ledger::v1::ExportEvidenceRequest request;
    request.set_name(log);
    const grpc::Status status = ledger->ExportEvidence(&context, request, &operation);
    if (!status.ok()) return status;
  }
  while (!operation.done()) {
    grpc::ClientContext context;
    SetDeadline(context, std::chrono::seconds(30));
    google::longrunning::WaitOperationRequest request;
    request.set_name(operation.name());
    request.mutable_timeout()->set_seconds(20);
    const grpc::Status status = operations->WaitOperation(&context, request, &operation);
    if (!status.ok()) return status;
  }
  retort::ledger::v1::ExportEvidenceResponse pack;
  if (!operation.response().UnpackTo(&pack)) return {grpc::StatusCode::INTERNAL, operation.error().message()};
  grpc::ClientContext context;
  SetDeadline(context, std::chrono::hours(1));
  retort::ledger::v1::ReadEvidenceRequest request;
  request.set_name(log);
  request.set_tree_size(pack.tree_size());
  const auto stream = ledger->ReadEvidence(&context, request);
  retort::ledger::v1::FileChunk chunk;
  int64_t files = 0;
  while (stream->Read(&chunk)) {
    if (!IsBelow(chunk.path())) {
      context.TryCancel();
      return {grpc::StatusCode::INTERNAL, "the server sent a path that is none"};
    }
    std::filesystem::create_directories((out / chunk.path()).parent_path());
    std::ofstream file(out / chunk.path(), std::ios::binary | std::ios::app);
    if (!file.write(chunk.content().data(), static_cast<std::streamsize>(chunk.content().size())).flush()) {
      context.TryCancel();
      return {grpc::StatusCode::INTERNAL, "cannot write " + (out / chunk.path()).string()};
    }
    files += chunk.last() ? 1 : 0;
  }
  const grpc::Status status = stream->Finish();
  if (!status.ok()) return status;
  if (files != pack.file_count())
    return {grpc::StatusCode::DATA_LOSS, "some files of the evidence did not come"};
  std::printf("evidence: %lld files of %lld entries in %s\n", static_cast<long long>(files),
              static_cast<long long>(pack.tree_size()), out.c_str());
  return grpc::Status::OK;
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  if (argc != 7 && argc != 8) {
    std::fprintf(stderr, "usage: submit_job SERVER CERTIFICATE KEY AUTHORITIES JOB OUT [PROJECT]\n");
    return kUsage;
  }
  const std::string project = argc == 8 ? argv[7] : "demo";
  retort::jobs::v1::CreateJobRequest request;
  const auto parsed = google::protobuf::util::JsonStringToMessage(ReadFile(argv[5]), request.mutable_spec());
  std::error_code exists;
  if (!parsed.ok() || !std::filesystem::create_directory(argv[6], exists)) {
    std::fprintf(stderr, "error: %s: %s\n", parsed.ok() ? argv[6] : argv[5],
                 parsed.ok() ? "wanted a folder that is not there yet" : "no JSON of a JobSpec");
    return kUsage;
  }
  const auto channel = grpc::CreateChannel(
      argv[1], grpc::SslCredentials({ReadFile(argv[4]), ReadFile(argv[3]), ReadFile(argv[2])}));
  const auto jobs = retort::jobs::v1::JobsService::NewStub(channel);
  request.set_parent("projects/" + project);
  // The request id makes this safe to repeat: the same id with the same job creates it once.
  request.set_request_id(ReadFile("/proc/sys/kernel/random/uuid").substr(0, 36));
  Job job;
  {
    grpc::ClientContext context;
    SetDeadline(context, std::chrono::seconds(30));
    const grpc::Status status = jobs->CreateJob(&context, request, &job);
    if (!status.ok()) return Report(status);
  }
  std::printf("created %s\n", job.name().c_str());
  if (const grpc::Status status = Watch(*jobs, job); !status.ok()) return Report(status);
  if (job.state() != Job::STATE_SUCCEEDED) {
    std::fprintf(stderr, "error: %s: %s\n", job.state_reason().c_str(), job.state_message().c_str());
    return job.state_reason().rfind("POLICY_", 0) == 0 ? kRefused : kFailed;
  }
  const grpc::Status status = FetchEvidence(channel, "projects/" + project + "/ledgers/main", argv[6]);
  return status.ok() ? 0 : Report(status);
}
