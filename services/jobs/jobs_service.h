// The jobs service: takes distillation jobs and carries each through preflight, extraction, dataset,
// training, evaluation and release, durable at every step.
//
//   auto service = JobsService::Open({.data_dir = data_dir / "jobs", .peers = std::move(peers), ...});
//   ... register service->get() with an EdgeServer; then:
//   (*service)->Start();                                  // goes on with every job that has not ended
//   ... on SIGTERM: drain the server, then:
//   (*service)->Stop(std::chrono::seconds(10));
//
// A thin adapter: validate.h checks, store.h keeps, runner.h works. Every method may be called on any thread.
#ifndef SERVICES_JOBS_JOBS_SERVICE_H_
#define SERVICES_JOBS_JOBS_SERVICE_H_

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "ledger/signing.h"
#include "retort/jobs/v1/jobs.grpc.pb.h"
#include "services/identity/peer.h"
#include "services/jobs/job_context.h"
#include "services/jobs/peers.h"
#include "services/jobs/training.h"

namespace retort::jobs {

struct JobsServiceOptions {
  // Directory of this role alone: db/ holds the database, runs/ the training runs, students/ what was
  // released.
  std::filesystem::path data_dir;
  Peers peers;
  // Signs POLICY_PACK and RELEASE statements. Must outlive the service.
  const ledger::SigningKey* signing_key = nullptr;
  // Files LICENSE.<name> that the operator supplies for releases whose terms ask for a copy of a licence;
  // empty means data_dir/licences.
  std::filesystem::path licences_dir;
  // How retort-train is started; unused by jobs that only extract.
  TrainerProgram trainer;
  // What starts training runs, and what retort-train is given there (files and addresses as its processes see
  // them). Without it they are children of this process, given `trainer`.
  std::unique_ptr<TrainerLauncher> launcher;
  TrainerProgram launched;
  // Jobs that are worked on at the same time; further ones wait in QUEUED. One of them trains at a time.
  int active_jobs_max = 8;
  // How often things are tried before a job fails.
  Patience patience;
  // Gets how long a job has waited between its creation and its first step; from any thread. May be empty.
  std::function<void(std::chrono::milliseconds)> began;
  // Streams of WatchJob at the same time; each holds a thread.
  int watchers_max = 64;
  std::chrono::milliseconds heartbeat = std::chrono::seconds(15);
  std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
  // Who calls: recorded as a job's submitter and a sample's reviewer, which must not be the same.
  std::function<std::string(const grpc::ServerContext&)> caller = services::CallerOf;
};

class JobsService final : public v1::JobsService::Service {
 public:
  // Opens the state. FailedPrecondition when another process holds it, DataLoss when it is corrupt,
  // Unavailable when the directory cannot be written, InvalidArgument when a required option is missing. Also
  // the errors of TrainerLauncher::Check.
  static absl::StatusOr<std::unique_ptr<JobsService>> Open(JobsServiceOptions options);
  ~JobsService() override;

  // Begins to work on the jobs that have not ended. Peers need not be up yet: jobs wait for them. DataLoss or
  // Unavailable when the stored jobs cannot be read.
  absl::Status Start();

  // How many jobs are in each state, "QUEUED" and so on; every state is there. The errors of
  // JobStore::CountByState.
  absl::StatusOr<std::map<std::string, int64_t>> CountByState() const;

  // Ends all work within about `grace`: calls in flight may finish, then they are cancelled; a trainer is
  // asked to stop at its next checkpoint and killed after that. Nothing is lost: the next Start goes on. Ends
  // watches. Called by the destructor with no grace.
  void Stop(std::chrono::milliseconds grace);

  // The student service over the same state, to be registered beside this one. Owned by this service.
  grpc::Service* students();

  grpc::Status CreateJob(grpc::ServerContext* context, const v1::CreateJobRequest* request,
                         v1::Job* response) override;
  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                      v1::Job* response) override;
  grpc::Status ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override;
  grpc::Status UpdateJob(grpc::ServerContext* context, const v1::UpdateJobRequest* request,
                         v1::Job* response) override;
  grpc::Status DeleteJob(grpc::ServerContext* context, const v1::DeleteJobRequest* request,
                         google::protobuf::Empty* response) override;
  grpc::Status CancelJob(grpc::ServerContext* context, const v1::CancelJobRequest* request,
                         v1::Job* response) override;
  grpc::Status PauseJob(grpc::ServerContext* context, const v1::PauseJobRequest* request,
                        v1::Job* response) override;
  grpc::Status ResumeJob(grpc::ServerContext* context, const v1::ResumeJobRequest* request,
                         v1::Job* response) override;
  grpc::Status RetryJob(grpc::ServerContext* context, const v1::RetryJobRequest* request,
                        v1::Job* response) override;
  grpc::Status GetJobLog(grpc::ServerContext* context, const v1::GetJobLogRequest* request,
                         v1::GetJobLogResponse* response) override;
  grpc::Status GetSample(grpc::ServerContext* context, const v1::GetSampleRequest* request,
                         ledger::v1::Sample* response) override;
  grpc::Status ListSamples(grpc::ServerContext* context, const v1::ListSamplesRequest* request,
                           v1::ListSamplesResponse* response) override;
  grpc::Status ApproveSample(grpc::ServerContext* context, const v1::ApproveSampleRequest* request,
                             ledger::v1::Sample* response) override;
  grpc::Status RejectSample(grpc::ServerContext* context, const v1::RejectSampleRequest* request,
                            ledger::v1::Sample* response) override;
  grpc::Status WatchJobLog(grpc::ServerContext* context, const v1::WatchJobLogRequest* request,
                           grpc::ServerWriter<v1::WatchJobLogResponse>* writer) override;
  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::WatchJobResponse>* writer) override;
  grpc::Status AskTeacher(grpc::ServerContext* context, const v1::AskTeacherRequest* request,
                          v1::AskTeacherResponse* response) override;
  grpc::Status DownloadStudent(grpc::ServerContext* context, const v1::DownloadStudentRequest* request,
                               grpc::ServerWriter<v1::StudentFile>* writer) override;
  grpc::Status ExchangeRendezvous(grpc::ServerContext* context, const v1::ExchangeRendezvousRequest* request,
                                  v1::ExchangeRendezvousResponse* response) override;

 private:
  struct Impl;
  explicit JobsService(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_JOBS_SERVICE_H_
