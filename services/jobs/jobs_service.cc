#include "services/jobs/jobs_service.h"

#include <atomic>
#include <fstream>
#include <mutex>
#include <set>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/statement.h"
#include "services/edge/page_token.h"
#include "services/edge/status.h"
#include "services/identity/peer.h"
#include "services/jobs/ask.h"
#include "services/jobs/preflight.h"
#include "services/jobs/process_launcher.h"
#include "services/jobs/release.h"
#include "services/jobs/rendezvous.h"
#include "services/jobs/request_hash.h"
#include "services/jobs/request_id.h"
#include "services/jobs/runner.h"
#include "services/jobs/store.h"
#include "services/jobs/validate.h"

namespace retort::jobs {
namespace {

using services::ToGrpcStatus;
using services::WithReason;

constexpr int kReplayBatch = 100;
constexpr std::chrono::milliseconds kLookEvery(500);  // at a watcher's connection and at the server's stop
constexpr size_t kPieceBytes = 1 << 20;

bool IsTerminal(v1::Job::State state) {
  return state == v1::Job::STATE_SUCCEEDED || state == v1::Job::STATE_FAILED ||
         state == v1::Job::STATE_CANCELLED;
}

absl::Status WrongState(const v1::Job& job, const std::string& wanted) {
  const std::string state = v1::Job::State_Name(job.state());
  return WithReason(absl::FailedPreconditionError(job.name() + " is " + state + ", wanted " + wanted),
                    JOB_STATE, {{"name", job.name()}, {"state", state}});
}

absl::Status CheckEtag(const v1::Job& job, const std::string& etag) {
  if (etag.empty() || etag == job.etag()) return absl::OkStatus();
  return WithReason(absl::AbortedError("etag: saw " + etag.substr(0, 64) + ", the newest is " + job.etag()),
                    ETAG_MISMATCH, {{"etag", job.etag()}});
}

// A refusal stands; every other failure can pass. An unmet duty of a release can be met by the operator.
bool CanGoOn(const v1::JobRecord& record) {
  if (record.job().state() == v1::Job::STATE_AWAITING_REVIEW) return true;
  if (record.job().state() != v1::Job::STATE_FAILED) return false;
  if (record.stage() == v1::JobRecord::STAGE_RELEASE) return true;
  const std::string& reason = record.job().state_reason();
  return reason != "POLICY_DENIED" && reason != "POLICY_REVIEW" && reason != "DATASET_EMPTY";
}

v1::JobRecord NewRecord(const v1::CreateJobRequest& request, const std::string& submitter) {
  v1::JobRecord record;
  record.set_submitter(submitter);
  record.set_stage(v1::JobRecord::STAGE_PREFLIGHT);
  v1::Job& job = *record.mutable_job();
  job.set_uid(RandomUuid());
  const std::string id = request.job_id().empty() ? "job-" + job.uid().substr(0, 8) : request.job_id();
  job.set_name(request.parent() + "/jobs/" + id);
  *job.mutable_spec() = request.spec();
  job.set_state(v1::Job::STATE_QUEUED);
  job.mutable_progress()->set_samples_total(request.spec().prompts_size());
  for (auto set : {&v1::JobEntries::set_preflight, &v1::JobEntries::set_dataset,
                   &v1::JobEntries::set_training_finish, &v1::JobEntries::set_release}) {
    (job.mutable_entries()->*set)(-1);
  }
  return record;
}

// Counts a caller in for as long as it lives, up to a limit.
class Seat {
 public:
  Seat(std::atomic<int>& taken, int max) : taken_(taken), granted_(++taken <= max) {}
  ~Seat() { --taken_; }
  bool granted() const { return granted_; }

 private:
  std::atomic<int>& taken_;
  const bool granted_;
};

}  // namespace

struct JobsService::Impl {
  JobsServiceOptions options;
  std::unique_ptr<JobStore> store;
  std::unique_ptr<PackRegister> packs;
  Workplace place;
  std::unique_ptr<services::PageTokens> tokens;
  std::unique_ptr<Asker> asker;
  std::unique_ptr<JobRunner> runner;
  std::atomic<int> watchers{0};
  std::atomic<bool> stopping{false};
  std::mutex asking_mutex;
  std::set<StopSignal*> asking;
  Rendezvous rendezvous;

  // The job as clients get it, prompts included.
  absl::Status Fill(v1::Job job, v1::Job* response) const {
    auto prompts = store->ReadPrompts(job.uid());
    if (!prompts.ok()) return prompts.status();
    *job.mutable_spec()->mutable_prompts() = prompts->prompts();
    *response = std::move(job);
    return absl::OkStatus();
  }

  absl::Status Create(const v1::CreateJobRequest& request, const std::string& submitter, v1::Job* response) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    v1::JobRecord record = NewRecord(request, submitter);
    if (request.validate_only()) {
      StopSignal stop;
      const v1::Job& job = record.job();
      if (auto allowed = CheckJob(options.peers, stop, job.name(), job.uid(), job.spec(), options.now());
          !allowed.ok()) {
        return allowed;
      }
      *response = job;
      return absl::OkStatus();
    }
    v1::PromptSet prompts;
    *prompts.mutable_prompts() = request.spec().prompts();
    const RequestKey key{request.parent(), "CreateJob", request.request_id(), RequestHash(request)};
    auto job = store->Create(std::move(record), prompts, key);
    if (!job.ok()) return job.status();
    runner->Add(job->name());
    return Fill(*std::move(job), response);
  }

  absl::Status Cancel(const v1::CancelJobRequest& request, v1::Job* response) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    const std::string project = request.name().substr(0, request.name().find("/jobs/"));
    const RequestKey key{project, "CancelJob", request.request_id(), RequestHash(request)};
    auto record = store->Change(
        request.name(), "asked to cancel",
        [&](v1::JobRecord& stored) {
          if (auto newest = CheckEtag(stored.job(), request.etag()); !newest.ok()) return newest;
          if (IsTerminal(stored.job().state())) return WrongState(stored.job(), "a job that has not ended");
          stored.mutable_job()->set_state(v1::Job::STATE_CANCELLING);
          stored.mutable_job()->set_state_message("calls in flight are finished, then the job stops");
          return absl::OkStatus();
        },
        key);
    if (!record.ok()) return record.status();
    runner->Cancel(request.name());
    return Fill(record->job(), response);
  }

  absl::Status Resume(const v1::ResumeJobRequest& request, v1::Job* response) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    auto before = store->Read(request.name());
    if (!before.ok()) return before.status();
    const std::string project = request.name().substr(0, request.name().find("/jobs/"));
    const RequestKey key{project, "ResumeJob", request.request_id(), RequestHash(request)};
    if (auto owned = CheckOwnsStudent(before->job()); !owned.ok()) return owned;
    if (CanGoOn(*before)) {
      // Prompts that were given up are asked again. Harmless when the change below is refused.
      if (auto forgiven = ForgetFailures(before->job().uid()); !forgiven.ok()) return forgiven;
    }
    auto record = store->Change(
        request.name(), "asked to go on",
        [&](v1::JobRecord& stored) {
          if (auto newest = CheckEtag(stored.job(), request.etag()); !newest.ok()) return newest;
          if (!CanGoOn(stored)) {
            return WrongState(stored.job(),
                              "STATE_AWAITING_REVIEW, or STATE_FAILED for a reason that can pass");
          }
          stored.set_failed_launches(0);
          Advance(stored, stored.stage(), StateOf(stored.stage()));
          return absl::OkStatus();
        },
        key);
    if (!record.ok()) return record.status();
    runner->Add(request.name());
    return Fill(record->job(), response);
  }

  // While a job was failed, another may have been given its student's name.
  absl::Status CheckOwnsStudent(const v1::Job& job) const {
    if (job.spec().student().name().empty()) return absl::OkStatus();
    const std::string student =
        job.name().substr(0, job.name().find("/jobs/")) + "/students/" + job.spec().student().name();
    auto owner = store->JobOfStudent(student);
    if (!owner.ok()) return owner.status();
    if (*owner == job.name()) return absl::OkStatus();
    return WithReason(absl::AlreadyExistsError(student + " now belongs to " + *owner +
                                               "; create the job anew with another name for its student"),
                      ALREADY_EXISTS, {{"name", student}, {"job", *owner}});
  }

  absl::Status ForgetFailures(const std::string& uid) {
    auto intents = store->ReadIntents(uid);
    if (!intents.ok()) return intents.status();
    std::vector<std::pair<int32_t, v1::SampleIntent>> again;
    for (auto& [index, intent] : *intents) {
      if (intent.failure_reason().empty()) continue;
      intent.clear_failure_reason();
      again.emplace_back(index, intent);
    }
    return again.empty() ? absl::OkStatus() : store->WriteIntents(uid, again);
  }

  absl::Status List(const v1::ListJobsRequest& request, v1::ListJobsResponse* response) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    const std::string scope = "jobs/" + request.parent();
    std::string position;
    if (!request.page_token().empty()) {
      auto opened = tokens->Open(scope, request.page_token());
      if (!opened.ok()) return opened.status();
      position = *std::move(opened);
    }
    auto page = store->List(request.parent(), *services::PageSize(request.page_size()), position);
    if (!page.ok()) return page.status();
    for (v1::Job& job : page->jobs) *response->add_jobs() = std::move(job);
    if (!page->next_position.empty()) response->set_next_page_token(tokens->Seal(scope, page->next_position));
    return absl::OkStatus();
  }

  std::string WatchToken(const std::string& uid, int64_t revision) const {
    return tokens->Seal("watch/" + uid, std::to_string(revision));
  }

  absl::Status Watch(grpc::ServerContext& context, const v1::WatchJobRequest& request,
                     grpc::ServerWriter<v1::WatchJobResponse>& writer) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    const Seat seat(watchers, options.watchers_max);
    if (!seat.granted())
      return absl::ResourceExhaustedError("too many watchers, at most " +
                                          std::to_string(options.watchers_max));
    auto record = store->Read(request.name());
    if (!record.ok()) return record.status();
    const std::string uid = record->job().uid();
    int64_t sent = record->revision();
    v1::Job::State state = record->job().state();
    if (request.resume_token().empty()) {
      v1::WatchJobResponse snapshot;
      *snapshot.mutable_job() = record->job();
      snapshot.set_resume_token(WatchToken(uid, sent));
      if (!writer.Write(snapshot)) return absl::CancelledError("the watcher has gone");
    } else {
      auto revision = tokens->Open("watch/" + uid, request.resume_token());
      if (!revision.ok()) return revision.status();
      sent = std::stoll(*revision);  // sealed here, so it is a number
    }
    auto beat = std::chrono::steady_clock::now();
    for (;;) {
      const uint64_t seen = store->changes();
      auto events = store->EventsAfter(uid, sent, kReplayBatch);
      if (!events.ok()) return events.status();
      for (const v1::JobEvent& event : *events) {
        v1::WatchJobResponse message;
        *message.mutable_job() = event.job();
        message.set_resume_token(WatchToken(uid, event.revision()));
        message.set_event(event.text());
        if (!writer.Write(message)) return absl::CancelledError("the watcher has gone");
        sent = event.revision();
        state = event.job().state();
        beat = std::chrono::steady_clock::now();
      }
      if (!events->empty()) continue;
      if (IsTerminal(state)) return absl::OkStatus();
      if (context.IsCancelled()) return absl::CancelledError("the watcher has gone");
      if (stopping)
        return absl::UnavailableError("the server is stopping; watch again with the resume token");
      if (std::chrono::steady_clock::now() - beat >= options.heartbeat) {
        v1::WatchJobResponse heartbeat;
        heartbeat.set_resume_token(WatchToken(uid, sent));
        if (!writer.Write(heartbeat)) return absl::CancelledError("the watcher has gone");
        beat = std::chrono::steady_clock::now();
      }
      store->WaitForChange(seen, std::min(kLookEvery, options.heartbeat));
    }
  }

  absl::Status Ask(grpc::ServerContext& context, const v1::AskTeacherRequest& request,
                   v1::AskTeacherResponse* response) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    StopSignal stop;
    {
      std::lock_guard lock(asking_mutex);
      if (stopping) return absl::UnavailableError("the server is stopping");
      asking.insert(&stop);
    }
    auto answer = asker->Ask(request, stop, [&context] { return context.IsCancelled(); });
    {
      std::lock_guard lock(asking_mutex);
      asking.erase(&stop);
    }
    if (!answer.ok()) return answer.status();
    *response = *std::move(answer);
    return absl::OkStatus();
  }

  absl::Status Download(const v1::DownloadStudentRequest& request,
                        grpc::ServerWriter<v1::StudentFile>& writer) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    auto owner = store->JobOfStudent(request.name());
    if (!owner.ok()) return owner.status();
    auto record = store->Read(*owner);
    if (!record.ok()) return record.status();
    if (record->job().student() != request.name()) {
      return WithReason(absl::NotFoundError(request.name() + " is not released yet; " + *owner + " makes it"),
                        NOT_FOUND);
    }
    auto release = ledger::ReleaseStatement::Parse(record->release().statement());
    if (!release.ok()) return absl::DataLossError("the stored release statement cannot be read");
    const std::filesystem::path folder = StudentFolder(place.students_dir, request.name());
    for (const ledger::ReleasedFile& file : release->files) {
      if (auto sent = SendFile(folder, file, writer); !sent.ok()) return sent;
    }
    return absl::OkStatus();
  }

  absl::Status Meet(grpc::ServerContext& context, const v1::ExchangeRendezvousRequest& request,
                    v1::ExchangeRendezvousResponse* response) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    auto record = store->Read(request.job());
    if (!record.ok()) return record.status();
    if (record->job().uid() != request.job_uid()) {
      return WithReason(absl::NotFoundError(request.job() + " has uid " + record->job().uid() + ", not " +
                                            request.job_uid()),
                        NOT_FOUND);
    }
    if (record->stage() != v1::JobRecord::STAGE_TRAINING || IsTerminal(record->job().state())) {
      return WrongState(record->job(), "a job that is training");
    }
    auto payload = rendezvous.Exchange(request, [&context] { return context.IsCancelled(); });
    if (!payload.ok()) return payload.status();
    response->set_payload(*std::move(payload));
    return absl::OkStatus();
  }

  // The last piece is sent only when the whole file is what was released.
  absl::Status SendFile(const std::filesystem::path& folder, const ledger::ReleasedFile& file,
                        grpc::ServerWriter<v1::StudentFile>& writer) const {
    std::ifstream in(folder / file.path, std::ios::binary);
    ledger::Sha256Hasher hasher;
    for (int64_t left = file.bytes;;) {
      v1::StudentFile piece;
      piece.set_path(file.path);
      std::string& content = *piece.mutable_content();
      content.resize(static_cast<size_t>(std::min<int64_t>(left, kPieceBytes)));
      in.read(content.data(), static_cast<std::streamsize>(content.size()));
      if (!in)
        return absl::DataLossError("released file " + file.path + " is missing or shorter than it was");
      hasher.Update(content);
      left -= static_cast<int64_t>(content.size());
      piece.set_last(left == 0);
      if (left == 0 && ledger::HexEncode(hasher.Finish()) != file.sha256) {
        return absl::DataLossError("released file " + file.path +
                                   " is not what was released; wanted sha256 " + file.sha256);
      }
      if (!writer.Write(piece)) return absl::CancelledError("the reader has gone");
      if (left == 0) return absl::OkStatus();
    }
  }
};

JobsService::JobsService(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

JobsService::~JobsService() {
  Stop(std::chrono::milliseconds(0));
}

absl::StatusOr<std::unique_ptr<JobsService>> JobsService::Open(JobsServiceOptions options) {
  if (options.data_dir.empty()) return absl::InvalidArgumentError("data_dir: wanted a directory");
  if (options.signing_key == nullptr)
    return absl::InvalidArgumentError("signing_key: wanted the key of the jobs role");
  if (!options.peers.teacher || !options.peers.policy || !options.peers.ledger) {
    return absl::InvalidArgumentError("peers: wanted stubs of teacher, policy and ledger");
  }
  if (options.active_jobs_max < 1) return absl::InvalidArgumentError("active_jobs_max: wanted at least 1");
  auto store = JobStore::Open(options.data_dir / "db", options.now);
  if (!store.ok()) return store.status();
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  impl->store = *std::move(store);
  impl->packs = std::make_unique<PackRegister>(impl->options.peers, *impl->options.signing_key);
  Workplace& place = impl->place;
  place.store = impl->store.get();
  place.peers = &impl->options.peers;
  place.packs = impl->packs.get();
  place.key = impl->options.signing_key;
  place.trainer = impl->options.trainer;
  if (impl->options.launcher == nullptr) {
    impl->options.launcher = std::make_unique<ProcessLauncher>(place.trainer.program);
    impl->options.launched = place.trainer;
  }
  place.launcher = impl->options.launcher.get();
  place.launched = impl->options.launched;
  place.runs_dir = impl->options.data_dir / "runs";
  if (auto usable = place.launcher->Check(place.runs_dir); !usable.ok()) {
    return absl::Status(usable.code(), "training: " + std::string(usable.message()));
  }
  place.students_dir = impl->options.data_dir / "students";
  place.licences_dir =
      impl->options.licences_dir.empty() ? impl->options.data_dir / "licences" : impl->options.licences_dir;
  place.patience = impl->options.patience;
  place.now = impl->options.now;
  impl->tokens = std::make_unique<services::PageTokens>(impl->store->token_key());
  impl->asker = std::make_unique<Asker>(place);
  impl->runner = std::make_unique<JobRunner>(place, impl->options.active_jobs_max);
  return std::unique_ptr<JobsService>(new JobsService(std::move(impl)));
}

absl::Status JobsService::Start() {
  return impl_->runner->Start();
}

void JobsService::Stop(std::chrono::milliseconds grace) {
  impl_->stopping = true;
  impl_->rendezvous.Stop();
  impl_->store->WakeWatchers();
  impl_->runner->Stop(grace);
  std::lock_guard lock(impl_->asking_mutex);
  for (StopSignal* stop : impl_->asking) stop->Raise(StopSignal::Kind::kAbort);
}

grpc::Status JobsService::CreateJob(grpc::ServerContext* context, const v1::CreateJobRequest* request,
                                    v1::Job* response) {
  return ToGrpcStatus(impl_->Create(*request, services::CallerOf(*context), response));
}

grpc::Status JobsService::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::Job* response) {
  if (auto valid = Validate(*request); !valid.ok()) return ToGrpcStatus(valid);
  auto record = impl_->store->Read(request->name());
  if (!record.ok()) return ToGrpcStatus(record.status());
  return ToGrpcStatus(impl_->Fill(record->job(), response));
}

grpc::Status JobsService::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                                   v1::ListJobsResponse* response) {
  return ToGrpcStatus(impl_->List(*request, response));
}

grpc::Status JobsService::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                                    v1::Job* response) {
  return ToGrpcStatus(impl_->Cancel(*request, response));
}

grpc::Status JobsService::ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request,
                                    v1::Job* response) {
  return ToGrpcStatus(impl_->Resume(*request, response));
}

grpc::Status JobsService::WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                                   grpc::ServerWriter<v1::WatchJobResponse>* writer) {
  return ToGrpcStatus(impl_->Watch(*context, *request, *writer));
}

grpc::Status JobsService::AskTeacher(grpc::ServerContext* context, const v1::AskTeacherRequest* request,
                                     v1::AskTeacherResponse* response) {
  return ToGrpcStatus(impl_->Ask(*context, *request, response));
}

grpc::Status JobsService::ExchangeRendezvous(grpc::ServerContext* context,
                                             const v1::ExchangeRendezvousRequest* request,
                                             v1::ExchangeRendezvousResponse* response) {
  return ToGrpcStatus(impl_->Meet(*context, *request, response));
}

grpc::Status JobsService::DownloadStudent(grpc::ServerContext*, const v1::DownloadStudentRequest* request,
                                          grpc::ServerWriter<v1::StudentFile>* writer) {
  return ToGrpcStatus(impl_->Download(*request, *writer));
}

}  // namespace retort::jobs
