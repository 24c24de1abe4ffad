#include "services/jobs/jobs_service.h"

#include <atomic>
#include <fstream>
#include <mutex>
#include <set>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/statement.h"
#include "services/edge/call_budget.h"
#include "services/edge/list_query.h"
#include "services/edge/request_hash.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"
#include "services/jobs/ask.h"
#include "services/jobs/job_plan.h"
#include "services/jobs/job_verbs.h"
#include "services/jobs/job_view.h"
#include "services/jobs/process_launcher.h"
#include "services/jobs/release.h"
#include "services/jobs/rendezvous.h"
#include "services/jobs/request_id.h"
#include "services/jobs/runner.h"
#include "services/jobs/sample_reviews.h"
#include "services/jobs/store.h"
#include "services/jobs/student_service.h"
#include "services/jobs/validate.h"

namespace retort::jobs {
namespace {

using services::CallBudget;
using services::RequestHash;
using services::ToGrpcStatus;
using services::WithReason;

constexpr int kReplayBatch = 100;
constexpr std::chrono::milliseconds kLookEvery(500);  // at a watcher's connection and at the server's stop
constexpr size_t kPieceBytes = 1 << 20;

const services::ListRules& JobRules() {
  static const services::ListRules rules{
      services::FilterFields(*v1::Job::descriptor(), {"name", "uid", "state", "state_reason", "create_time",
                                                      "update_time", "display_name", "labels", "student",
                                                      "submitter", "spec.teacher", "spec.student.name"}),
      {"create_time desc", "create_time", "name", "name desc"}};
  return rules;
}

JobOrder OrderOf(const std::string& order) {
  if (order == "create_time") return JobOrder::kOldestFirst;
  if (order == "name") return JobOrder::kByName;
  return order == "name desc" ? JobOrder::kByNameDescending : JobOrder::kNewestFirst;
}

v1::JobRecord NewRecord(const v1::CreateJobRequest& request, std::string submitter) {
  v1::JobRecord record;
  record.set_stage(v1::JobRecord::STAGE_PREFLIGHT);
  v1::Job& job = *record.mutable_job();
  job.set_uid(RandomUuid());
  const std::string id = request.job_id().empty() ? "job-" + job.uid().substr(0, 8) : request.job_id();
  job.set_name(request.parent() + "/jobs/" + id);
  *job.mutable_spec() = request.spec();
  *job.mutable_labels() = request.labels();
  job.set_display_name(request.spec().display_name());
  job.set_submitter(std::move(submitter));
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
  std::unique_ptr<JobVerbs> verbs;
  std::unique_ptr<SampleReviews> reviews;
  std::unique_ptr<StudentService> students;
  std::atomic<int> watchers{0};
  std::atomic<bool> stopping{false};
  std::mutex asking_mutex;
  std::set<StopSignal*> asking;
  Rendezvous rendezvous;

  // The job as clients see it in lists and watches, without its prompts.
  v1::Job Shown(v1::Job job) const {
    ShowState(runner->QueuePosition(job.name()), job);
    return job;
  }

  // The job as clients get it, prompts included.
  absl::Status Fill(v1::Job job, v1::Job* response) const {
    auto prompts = store->ReadPrompts(job.uid());
    if (!prompts.ok()) return prompts.status();
    *job.mutable_spec()->mutable_prompts() = prompts->prompts();
    *response = Shown(std::move(job));
    return absl::OkStatus();
  }

  absl::Status FillOr(absl::StatusOr<v1::Job> job, v1::Job* response) const {
    return job.ok() ? Fill(*std::move(job), response) : job.status();
  }

  absl::Status Create(grpc::ServerContext& context, const v1::CreateJobRequest& request, v1::Job* response) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    v1::JobRecord record = NewRecord(request, options.caller(context));
    if (request.validate_only()) {
      StopSignal stop;
      const CallBudget budget(context);
      auto plan = MakePlan(place, stop, record.job(), [&] { return budget.Downstream(); });
      if (auto late = budget.Check(); !late.ok()) return late;
      if (!plan.ok()) return plan.status();
      *response = record.job();
      *response->mutable_plan() = *std::move(plan);
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

  absl::Status List(grpc::ServerContext& context, const v1::ListJobsRequest& request,
                    v1::ListJobsResponse* response) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    auto query = services::ParseListQuery(
        "jobs",
        {request.parent(), request.page_size(), request.page_token(), request.filter(), request.order_by()},
        JobRules(), *tokens);
    if (!query.ok()) return query.status();
    const CallBudget budget(context);
    auto page = store->List({.project = request.parent(),
                             .order = OrderOf(query->order),
                             .position = query->position,
                             .size = query->size,
                             .fits = [&](const v1::Job& job) { return query->filter.Matches(Shown(job)); },
                             .check = [&] { return budget.Check(); }});
    if (!page.ok()) return page.status();
    for (v1::Job& job : page->jobs) *response->add_jobs() = Shown(std::move(job));
    if (!page->next_position.empty())
      response->set_next_page_token(tokens->Seal(query->scope, page->next_position));
    return absl::OkStatus();
  }

  absl::Status ReadLog(const v1::GetJobLogRequest& request, v1::GetJobLogResponse* response) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    auto record = store->Read(request.name());
    if (!record.ok()) return record.status();
    const std::string scope = "job log/" + record->job().uid();
    int64_t after = 0;
    if (!request.page_token().empty()) {
      auto position = tokens->Open(scope, request.page_token());
      if (!position.ok()) return position.status();
      after = std::stoll(*position);  // sealed here, so it is a number
    }
    const int size = *services::PageSize(request.page_size());
    auto lines = store->LogAfter(record->job().uid(), after, size);
    if (!lines.ok()) return lines.status();
    if (static_cast<int>(lines->size()) == size)
      response->set_next_page_token(tokens->Seal(scope, std::to_string(lines->back().sequence())));
    for (v1::JobLogLine& line : *lines) *response->add_lines() = std::move(line);
    return absl::OkStatus();
  }

  absl::Status WatchLog(grpc::ServerContext& context, const v1::WatchJobLogRequest& request,
                        grpc::ServerWriter<v1::WatchJobLogResponse>& writer) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    const Seat seat(watchers, options.watchers_max);
    if (!seat.granted()) return TooManyWatchers();
    auto record = store->Read(request.name());
    if (!record.ok()) return record.status();
    const std::string uid = record->job().uid();
    const std::string scope = "watch log/" + uid;
    int64_t sent = 0;
    if (!request.resume_token().empty()) {
      auto position = tokens->Open(scope, request.resume_token());
      if (!position.ok()) return position.status();
      sent = std::stoll(*position);  // sealed here, so it is a number
    }
    auto beat = std::chrono::steady_clock::now();
    for (;;) {
      const uint64_t seen = store->changes();
      // The state is read before the lines: what an ended job has logged is then all there.
      auto now = store->Read(request.name());
      if (!now.ok() || now->job().uid() != uid) return absl::OkStatus();  // deleted
      auto lines = store->LogAfter(uid, sent, kReplayBatch);
      if (!lines.ok()) return lines.status();
      const bool idle = std::chrono::steady_clock::now() - beat >= options.heartbeat;
      if (!lines->empty() || idle) {
        v1::WatchJobLogResponse message;
        if (!lines->empty()) sent = lines->back().sequence();
        const bool full = static_cast<int>(lines->size()) == kReplayBatch;
        for (v1::JobLogLine& line : *lines) *message.add_lines() = std::move(line);
        message.set_resume_token(tokens->Seal(scope, std::to_string(sent)));
        if (!writer.Write(message)) return absl::CancelledError("the watcher has gone");
        beat = std::chrono::steady_clock::now();
        if (full) continue;
      }
      if (IsTerminal(now->job().state())) return absl::OkStatus();
      if (context.IsCancelled()) return absl::CancelledError("the watcher has gone");
      if (stopping)
        return absl::UnavailableError("the server is stopping; watch again with the resume token");
      store->WaitForChange(seen, std::min(kLookEvery, options.heartbeat));
    }
  }

  absl::Status ListSamples(grpc::ServerContext& context, const v1::ListSamplesRequest& request,
                           v1::ListSamplesResponse* response) {
    if (auto parent = services::ParseResourceName("parent", request.parent(), "projects/*/jobs/*");
        !parent.ok())
      return parent.status();
    auto record = store->Read(request.parent());
    if (!record.ok()) return record.status();
    // Page, filter and token are the ledger's to check; it seals the job's name and uid into its tokens.
    ledger::v1::ListJobSamplesRequest list;
    list.set_parent(request.parent());
    list.set_job_uid(record->job().uid());
    list.set_page_size(request.page_size());
    list.set_page_token(request.page_token());
    list.set_filter(request.filter());
    StopSignal stop;
    auto page =
        CallOnce(stop, *options.peers.ledger, &ledger::v1::LedgerService::StubInterface::ListJobSamples, list,
                 CallBudget(context).Downstream());
    if (!page.ok()) return page.status();
    *response->mutable_samples() = std::move(*page->mutable_samples());
    response->set_next_page_token(page->next_page_token());
    response->set_tree_size(page->tree_size());
    return absl::OkStatus();
  }

  absl::Status ReadSample(grpc::ServerContext& context, const v1::GetSampleRequest& request,
                          ledger::v1::Sample* response) {
    if (auto name = services::ParseResourceName("name", request.name(), "projects/*/jobs/*/samples/*");
        !name.ok())
      return name.status();
    auto record = store->Read(request.name().substr(0, request.name().find("/samples/")));
    if (!record.ok()) return record.status();
    ledger::v1::GetJobSampleRequest get;
    get.set_name(request.name());
    get.set_job_uid(record->job().uid());
    StopSignal stop;
    auto sample =
        CallOnce(stop, *options.peers.ledger, &ledger::v1::LedgerService::StubInterface::GetJobSample, get,
                 CallBudget(context).Downstream());
    if (!sample.ok()) return sample.status();
    *response = *std::move(sample);
    return absl::OkStatus();
  }

  template <class Request>
  absl::Status Review(grpc::ServerContext& context, const char* verdict, const Request& request,
                      ledger::v1::Sample* response) {
    const CallBudget budget(context);
    auto sample =
        reviews->Review({request.name(), verdict, request.reason(), request.etag(), request.request_id(),
                         options.caller(context), [&] { return budget.Downstream(); }});
    if (!sample.ok()) return sample.status();
    *response = *std::move(sample);
    return absl::OkStatus();
  }

  absl::Status TooManyWatchers() const {
    return services::WithReason(
        absl::ResourceExhaustedError("too many watchers, at most " + std::to_string(options.watchers_max)),
        LIMIT_EXCEEDED, {{"limit", std::to_string(options.watchers_max)}});
  }

  std::string WatchToken(const std::string& uid, int64_t revision) const {
    return tokens->Seal("watch/" + uid, std::to_string(revision));
  }

  absl::Status Watch(grpc::ServerContext& context, const v1::WatchJobRequest& request,
                     grpc::ServerWriter<v1::WatchJobResponse>& writer) {
    if (auto valid = Validate(request); !valid.ok()) return valid;
    const Seat seat(watchers, options.watchers_max);
    if (!seat.granted()) return TooManyWatchers();
    auto record = store->Read(request.name());
    if (!record.ok()) return record.status();
    const std::string uid = record->job().uid();
    int64_t sent = record->revision();
    v1::Job::State state = record->job().state();
    if (request.resume_token().empty()) {
      v1::WatchJobResponse snapshot;
      *snapshot.mutable_job() = Shown(record->job());
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
        ShowState(0, *message.mutable_job());
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
  place.began = impl->options.began;
  place.now = impl->options.now;
  impl->tokens = std::make_unique<services::PageTokens>(impl->store->token_key());
  impl->asker = std::make_unique<Asker>(place);
  impl->runner = std::make_unique<JobRunner>(place, impl->options.active_jobs_max);
  impl->verbs = std::make_unique<JobVerbs>(place, *impl->runner);
  impl->reviews = std::make_unique<SampleReviews>(place);
  impl->students = std::make_unique<StudentService>(*impl->store, *impl->tokens);
  return std::unique_ptr<JobsService>(new JobsService(std::move(impl)));
}

absl::Status JobsService::Start() {
  return impl_->runner->Start();
}

absl::StatusOr<std::map<std::string, int64_t>> JobsService::CountByState() const {
  auto counts = impl_->store->CountByState();
  if (!counts.ok()) return counts.status();
  std::map<std::string, int64_t> named;
  const auto* states = v1::Job::State_descriptor();
  for (int i = 0; i < states->value_count(); ++i) {
    const auto state = static_cast<v1::Job::State>(states->value(i)->number());
    if (state == v1::Job::STATE_UNSPECIFIED) continue;
    named[v1::Job::State_Name(state).substr(std::string_view("STATE_").size())] = (*counts)[state];
  }
  return named;
}

void JobsService::Stop(std::chrono::milliseconds grace) {
  impl_->stopping = true;
  impl_->rendezvous.Stop();
  impl_->store->WakeWatchers();
  impl_->runner->Stop(grace);
  std::lock_guard lock(impl_->asking_mutex);
  for (StopSignal* stop : impl_->asking) stop->Raise(StopSignal::Kind::kAbort);
}

grpc::Service* JobsService::students() {
  return impl_->students.get();
}

grpc::Status JobsService::CreateJob(grpc::ServerContext* context, const v1::CreateJobRequest* request,
                                    v1::Job* response) {
  return ToGrpcStatus(impl_->Create(*context, *request, response));
}

grpc::Status JobsService::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::Job* response) {
  if (auto valid = Validate(*request); !valid.ok()) return ToGrpcStatus(valid);
  auto record = impl_->store->Read(request->name());
  if (!record.ok()) return ToGrpcStatus(record.status());
  return ToGrpcStatus(impl_->Fill(record->job(), response));
}

grpc::Status JobsService::ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                                   v1::ListJobsResponse* response) {
  return ToGrpcStatus(impl_->List(*context, *request, response));
}

grpc::Status JobsService::UpdateJob(grpc::ServerContext*, const v1::UpdateJobRequest* request,
                                    v1::Job* response) {
  return ToGrpcStatus(impl_->FillOr(impl_->verbs->Update(*request), response));
}

grpc::Status JobsService::DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest* request,
                                    google::protobuf::Empty*) {
  return ToGrpcStatus(impl_->verbs->Delete(*request));
}

grpc::Status JobsService::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                                    v1::Job* response) {
  return ToGrpcStatus(impl_->FillOr(impl_->verbs->Cancel(*request), response));
}

grpc::Status JobsService::PauseJob(grpc::ServerContext*, const v1::PauseJobRequest* request,
                                   v1::Job* response) {
  return ToGrpcStatus(impl_->FillOr(impl_->verbs->Pause(*request), response));
}

grpc::Status JobsService::ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request,
                                    v1::Job* response) {
  return ToGrpcStatus(impl_->FillOr(impl_->verbs->Resume(*request), response));
}

grpc::Status JobsService::RetryJob(grpc::ServerContext*, const v1::RetryJobRequest* request,
                                   v1::Job* response) {
  return ToGrpcStatus(impl_->FillOr(impl_->verbs->Retry(*request), response));
}

grpc::Status JobsService::GetJobLog(grpc::ServerContext*, const v1::GetJobLogRequest* request,
                                    v1::GetJobLogResponse* response) {
  return ToGrpcStatus(impl_->ReadLog(*request, response));
}

grpc::Status JobsService::WatchJobLog(grpc::ServerContext* context, const v1::WatchJobLogRequest* request,
                                      grpc::ServerWriter<v1::WatchJobLogResponse>* writer) {
  return ToGrpcStatus(impl_->WatchLog(*context, *request, *writer));
}

grpc::Status JobsService::GetSample(grpc::ServerContext* context, const v1::GetSampleRequest* request,
                                    ledger::v1::Sample* response) {
  return ToGrpcStatus(impl_->ReadSample(*context, *request, response));
}

grpc::Status JobsService::ListSamples(grpc::ServerContext* context, const v1::ListSamplesRequest* request,
                                      v1::ListSamplesResponse* response) {
  return ToGrpcStatus(impl_->ListSamples(*context, *request, response));
}

grpc::Status JobsService::ApproveSample(grpc::ServerContext* context, const v1::ApproveSampleRequest* request,
                                        ledger::v1::Sample* response) {
  return ToGrpcStatus(impl_->Review(*context, "approve", *request, response));
}

grpc::Status JobsService::RejectSample(grpc::ServerContext* context, const v1::RejectSampleRequest* request,
                                       ledger::v1::Sample* response) {
  return ToGrpcStatus(impl_->Review(*context, "reject", *request, response));
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
