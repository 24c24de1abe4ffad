// Durable state of the jobs of one server, in RocksDB with a synced write for each change.
//
// What a client was told is on disk, and what could not be repeated is on disk before it is done: a job, the
// answer to a request id, the promise to call the teacher. Request ids are recorded in the same atomic write
// as their effect. Every change of a job is a revision; the newest kEventsKept of each job can be replayed to
// a watcher.
//
//   auto store = JobStore::Open(data_dir / "db");
//   auto created = (*store)->Create(record, prompts, {.method = "CreateJob", .id = request.request_id(),
//   ...});
//   (*store)->Change(name, "extraction begins", [](JobRecord& record) { ...; return absl::OkStatus(); });
//
// All functions are safe on any thread. Changes of one store are applied one after another; intents are
// written beside them. Errors of the database: Unavailable when it cannot write (disk full), DataLoss when
// what it holds is corrupt.
#ifndef SERVICES_JOBS_STORE_H_
#define SERVICES_JOBS_STORE_H_

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/jobs/v1/job_record.pb.h"

namespace retort::jobs {

// Revisions of one job that a watcher can go back to.
inline constexpr int64_t kEventsKept = 2000;

// Identifies a mutating request, so that its repeat gives the first answer (AIP-155). Without an id nothing
// is kept.
struct RequestKey {
  std::string project;  // projects/{project}
  std::string method;   // CreateJob, CancelJob, ...
  std::string id;       // UUID, or empty
  std::string sha256;   // of the request without its id, 32 bytes
};

// Answers to request ids live at least this long.
inline constexpr std::chrono::hours kAnswersLive(7 * 24);

// Lines of one job's log that are kept; a line has at most kLogLineBytesMax bytes, the rest is cut.
inline constexpr int64_t kLogLinesKept = 10'000;
inline constexpr size_t kLogLineBytesMax = 1024;

// In what order a listing goes.
enum class JobOrder { kNewestFirst, kOldestFirst, kByName, kByNameDescending };

// What a listing asks for.
struct JobQuery {
  std::string project;  // projects/{project}
  JobOrder order = JobOrder::kNewestFirst;
  std::string position;                      // after which it goes on; empty: at its beginning
  int32_t size = 0;                          // jobs to return at most
  std::function<bool(const v1::Job&)> fits;  // empty: all
  std::function<absl::Status()> check;       // asked now and then; an error ends the listing
};

// One page of a listing.
struct JobPage {
  std::vector<v1::Job> jobs;  // without prompts
  std::string next_position;  // empty on the last page
};

class JobStore {
 public:
  using Clock = std::function<std::chrono::system_clock::time_point()>;

  // Opens or creates the database. FailedPrecondition when another process holds it, or a newer
  // program wrote it; DataLoss when it is corrupt; Unavailable when the folder cannot be written. Messages
  // name the folder.
  static absl::StatusOr<std::unique_ptr<JobStore>> Open(const std::filesystem::path& folder, Clock now);
  ~JobStore();

  // Stores a new job with its prompts: sets create_time, update_time, etag and revision 1. AlreadyExists when
  // the name is taken, or when another job that may still be released has the same student's name. A request
  // that was answered before gives that answer.
  absl::StatusOr<v1::Job> Create(v1::JobRecord record, const v1::PromptSet& prompts,
                                 const RequestKey& request);

  // The answer that a request got before: nullopt for a new request, InvalidArgument with REQUEST_ID_REUSED
  // when the id came with another body.
  absl::StatusOr<std::optional<v1::Job>> AnswerOf(const RequestKey& request) const;

  // The newest revision, without prompts. NotFound.
  absl::StatusOr<v1::JobRecord> Read(const std::string& name) const;

  // The prompts of a job, by its uid. NotFound.
  absl::StatusOr<v1::PromptSet> ReadPrompts(const std::string& uid) const;

  // Applies `change` to the newest revision and stores it as the next, with a new etag and update_time, and
  // `event` for watchers. An error of `change` is returned and nothing is stored. `change` must not call the
  // store. For a request that was answered before, the record holds the job as it was answered, and nothing
  // is changed.
  absl::StatusOr<v1::JobRecord> Change(const std::string& name, std::string_view event,
                                       const std::function<absl::Status(v1::JobRecord&)>& change,
                                       const RequestKey& request = {});

  // The jobs that a query asks for. A page may be short, or empty, when many jobs do not fit.
  absl::StatusOr<JobPage> List(const JobQuery& query) const;

  // Forgets a job with its prompts, intents, events and log, when `check` says OK to its newest revision.
  // Returns its uid; empty for a request that was answered before. NotFound.
  absl::StatusOr<std::string> Delete(const std::string& name,
                                     const std::function<absl::Status(const v1::JobRecord&)>& check,
                                     const RequestKey& request);

  // Adds lines to the log of a job; sequence and time are set here. Texts are cut and made one line of
  // printable bytes. Every event of a job's revisions is a line too, but for one that repeats the line before
  // it, numbers aside, within ten seconds.
  absl::Status AppendLog(const std::string& uid, std::vector<v1::JobLogLine> lines);

  // At most `limit` lines after `sequence`, oldest first. OutOfRange when the next line was dropped and
  // `sequence` is not 0, or when the log is not that long.
  absl::StatusOr<std::vector<v1::JobLogLine>> LogAfter(const std::string& uid, int64_t sequence,
                                                       int limit) const;

  // Students of projects/{project} in name order, with the job that released or will release each.
  absl::StatusOr<std::vector<std::pair<std::string, std::string>>> Students(const std::string& project) const;

  // Names of the jobs that have work to do, oldest first: neither ended nor waiting for a person.
  absl::StatusOr<std::vector<std::string>> Unfinished() const;

  // How many jobs are in each state. Reads every job: for a scrape, not for a call.
  absl::StatusOr<std::map<v1::Job::State, int64_t>> CountByState() const;

  // The name of the job that released, or will release, projects/{project}/students/{student}. NotFound.
  absl::StatusOr<std::string> JobOfStudent(const std::string& student) const;

  // Writes intents, one for each pair of prompt index and intent, in one synced write; with a request id,
  // also that this request has begun, so that the id cannot return with another body.
  absl::Status WriteIntents(const std::string& uid,
                            const std::vector<std::pair<int32_t, v1::SampleIntent>>& intents,
                            const RequestKey& request = {});

  // All intents of a job by prompt index.
  absl::StatusOr<std::vector<std::pair<int32_t, v1::SampleIntent>>> ReadIntents(const std::string& uid) const;

  // At most `limit` revisions after `revision`, in order. OutOfRange when some of them are no longer kept, or
  // when `revision` is newer than the job.
  absl::StatusOr<std::vector<v1::JobEvent>> EventsAfter(const std::string& uid, int64_t revision,
                                                        int limit) const;

  // A secret of this store, 32 bytes, made with it: seals page and resume tokens that survive a restart.
  const std::string& token_key() const;

  // Returns when a job may have changed, when `timeout` has passed, or after WakeWatchers, whichever is
  // first.
  void WaitForChange(uint64_t seen, std::chrono::milliseconds timeout) const;
  // Counts changes; pass what it returned before looking to WaitForChange, so that no change is slept
  // through.
  uint64_t changes() const;
  void WakeWatchers();

 private:
  struct Impl;
  explicit JobStore(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_STORE_H_
