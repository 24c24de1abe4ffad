#include "services/jobs/store.h"

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <utility>

#include "google/protobuf/util/time_util.h"
#include "ledger/no_auto_recovery.h"
#include "ledger/storage_log.h"
#include "proto/utf8.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"
#include "services/edge/disk_room.h"
#include "services/edge/status.h"
#include "services/storage/format.h"

namespace retort::jobs {
namespace {

using services::WithReason;

constexpr std::chrono::seconds kRepeatedLineEvery(10);
// 1: the first that says so; rows are those of before.
constexpr int kFormat = 1;
constexpr int kLookedAtMax = 10'000;  // jobs that one page of a listing may pass over
constexpr int kCheckEvery = 64;
constexpr size_t kProtectionBytes = 8;  // RocksDB checks each key and value of a batch up to the log

// Big-endian numbers sort as bytes.
std::string BigEndian(uint64_t value, int bytes) {
  std::string text(bytes, '\0');
  for (int i = bytes - 1; i >= 0; --i, value >>= 8) text[i] = static_cast<char>(value & 0xff);
  return text;
}

uint64_t FromBigEndian(std::string_view text) {
  uint64_t value = 0;
  for (const char c : text) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

std::string JobKey(const std::string& name) {
  return "job/" + name;
}
std::string PromptsKey(const std::string& uid) {
  return "prompts/" + uid;
}
std::string StudentKey(const std::string& student) {
  return "student/" + student;
}
std::string EventPrefix(const std::string& uid) {
  return "event/" + uid + "/";
}
std::string IntentPrefix(const std::string& uid) {
  return "intent/" + uid + "/";
}
std::string OrderPrefix(const std::string& project) {
  return "order/" + project + "/";
}
std::string RequestRowKey(const RequestKey& request) {
  return "request/" + request.project + "/" + request.method + "/" + request.id;
}
std::string LogPrefix(const std::string& uid) {
  return "log/" + uid + "/";
}
std::string LogKey(const std::string& uid, int64_t sequence) {
  return LogPrefix(uid) + BigEndian(static_cast<uint64_t>(sequence), 8);
}
std::string EventKey(const std::string& uid, int64_t revision) {
  return EventPrefix(uid) + BigEndian(static_cast<uint64_t>(revision), 8);
}

std::string ProjectOf(const std::string& job_name) {
  return job_name.substr(0, job_name.find("/jobs/"));
}

// The one translation of RocksDB's statuses.
absl::Status FromRocks(const rocksdb::Status& status, const std::string& what) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = what + ": " + status.ToString();
  if (status.IsCorruption()) return WithReason(absl::DataLossError(message), INTERNAL);
  const bool held = message.find("While lock file") != std::string::npos ||
                    message.find("lock hold by current process") != std::string::npos;
  if (status.IsIOError() && held) {
    return absl::FailedPreconditionError(message + "; another process has this database open");
  }
  return absl::UnavailableError(message);
}

template <class Message>
absl::StatusOr<Message> Parsed(const std::string& bytes, const std::string& what) {
  Message message;
  if (!message.ParseFromString(bytes)) {
    return WithReason(absl::DataLossError("jobs database: " + what + " does not parse"), INTERNAL);
  }
  return message;
}

bool EndedWithoutStudent(v1::Job::State state) {
  return state == v1::Job::STATE_FAILED || state == v1::Job::STATE_CANCELLED;
}

bool HasWork(v1::Job::State state) {
  return state != v1::Job::STATE_SUCCEEDED && !EndedWithoutStudent(state) &&
         state != v1::Job::STATE_AWAITING_REVIEW && state != v1::Job::STATE_PAUSED;
}

// One line of printable bytes, cut at the limit.
std::string LogText(std::string_view text) {
  std::string line(text.substr(0, kLogLineBytesMax));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  if (IsUtf8(line)) return line;
  for (char& c : line) {  // a cut character, or a program that writes bytes of its own
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return line;
}

std::string WithoutNumbers(std::string_view text) {
  std::string kept;
  for (const char c : text) {
    if ((c < '0' || c > '9') && c != '.') kept += c;
  }
  return kept;
}

}  // namespace

struct JobStore::Impl {
  std::filesystem::path folder;
  Clock now;
  std::unique_ptr<rocksdb::DB> db;
  std::string token_key;
  std::mutex change_mutex;  // one change at a time: read, apply, write
  mutable std::mutex watch_mutex;
  mutable std::condition_variable watch;
  uint64_t changes = 0;  // guarded by watch_mutex

  // The end of a job's log.
  struct LogEnd {
    int64_t sequence = 0;
    std::string shape;  // of the newest line, numbers aside
    std::chrono::system_clock::time_point written;
  };
  std::mutex log_mutex;                    // lines of one job get their numbers one after another
  std::map<std::string, LogEnd> log_ends;  // by uid; of jobs whose log this process has written

  bool HasRoom() const {
    std::error_code error;
    const std::filesystem::space_info space = std::filesystem::space(folder, error);
    return !error && space.available >= services::kDiskRoomBytes;
  }

  absl::Status Write(rocksdb::WriteBatch& batch) {
    rocksdb::WriteOptions options;
    options.sync = true;
    const rocksdb::Status status = db->Write(options, &batch);
    // After a full disk the database stays read-only until it is told to go on; the next write then finds
    // out. It is told so only when there is room: going on writes to the files that have failed.
    if (!status.ok() && !status.IsCorruption() && HasRoom()) db->Resume().PermitUncheckedError();
    return FromRocks(status, "jobs database, write");
  }

  absl::StatusOr<std::optional<std::string>> Get(const std::string& key) const {
    std::string value;
    const rocksdb::Status status = db->Get(rocksdb::ReadOptions(), key, &value);
    if (status.IsNotFound()) return std::optional<std::string>();
    if (!status.ok()) return FromRocks(status, "jobs database, read");
    return std::optional<std::string>(std::move(value));
  }

  absl::StatusOr<v1::JobRecord> Read(const std::string& name) const {
    auto bytes = Get(JobKey(name));
    if (!bytes.ok()) return bytes.status();
    if (!bytes->has_value()) {
      return WithReason(absl::NotFoundError("there is no job " + name), NOT_FOUND, {{"name", name}});
    }
    return Parsed<v1::JobRecord>(**bytes, "job " + name);
  }

  // Sets what every revision has of its own and puts record and event into the batch.
  void PutRevision(v1::JobRecord& record, std::string_view event, rocksdb::WriteBatch& batch) const {
    v1::Job& job = *record.mutable_job();
    record.set_revision(record.revision() + 1);
    job.set_etag("\"" + std::to_string(record.revision()) + "\"");
    *job.mutable_update_time() = Now();
    batch.Put(JobKey(job.name()), record.SerializeAsString());
    v1::JobEvent row;
    row.set_revision(record.revision());
    *row.mutable_job() = job;
    row.set_text(std::string(event));
    batch.Put(EventKey(job.uid(), record.revision()), row.SerializeAsString());
    if (record.revision() > kEventsKept) batch.Delete(EventKey(job.uid(), record.revision() - kEventsKept));
  }

  absl::StatusOr<LogEnd*> EndOfLog(const std::string& uid) {
    const auto [at, fresh] = log_ends.try_emplace(uid);
    if (!fresh) return &at->second;
    std::unique_ptr<rocksdb::Iterator> row(db->NewIterator(rocksdb::ReadOptions()));
    row->SeekForPrev(LogKey(uid, INT64_MAX));
    if (row->Valid() && row->key().starts_with(LogPrefix(uid))) {
      at->second.sequence =
          static_cast<int64_t>(FromBigEndian(row->key().ToString().substr(LogPrefix(uid).size())));
    }
    if (!row->status().ok()) {
      log_ends.erase(at);
      return FromRocks(row->status(), "jobs database, log");
    }
    return &at->second;
  }

  // Puts a line into the batch. Needs log_mutex. A batch that is not written leaves a gap in the numbers, no
  // more.
  absl::Status PutLine(const std::string& uid, v1::JobLogLine line, rocksdb::WriteBatch& batch) {
    auto end = EndOfLog(uid);
    if (!end.ok()) return end.status();
    line.set_sequence(++(*end)->sequence);
    *line.mutable_write_time() = Now();
    line.set_text(LogText(line.text()));
    batch.Put(LogKey(uid, line.sequence()), line.SerializeAsString());
    if (line.sequence() > kLogLinesKept) batch.Delete(LogKey(uid, line.sequence() - kLogLinesKept));
    return absl::OkStatus();
  }

  // The event of a revision as a line, unless it only counts on.
  absl::Status PutEventLine(const v1::Job& job, std::string_view event, rocksdb::WriteBatch& batch) {
    if (event.empty()) return absl::OkStatus();
    std::lock_guard lock(log_mutex);
    auto end = EndOfLog(job.uid());
    if (!end.ok()) return end.status();
    const auto time = now();
    std::string shape = WithoutNumbers(event);
    if (shape == (*end)->shape && time - (*end)->written < kRepeatedLineEvery) return absl::OkStatus();
    (*end)->shape = std::move(shape);
    (*end)->written = time;
    v1::JobLogLine line;
    const bool failed = job.state() == v1::Job::STATE_FAILED;
    // What JobContext::Waiting says: a service is away, or the endpoint behind the teacher service.
    const bool waits = job.state_reason() == "PEER_UNAVAILABLE" || job.state_reason().starts_with("TEACHER_");
    line.set_severity(failed  ? v1::JobLogLine::SEVERITY_ERROR
                      : waits ? v1::JobLogLine::SEVERITY_WARNING
                              : v1::JobLogLine::SEVERITY_INFO);
    line.set_component("jobs");
    line.set_text(failed ? std::string(event) + ": " + job.state_message() : std::string(event));
    return PutLine(job.uid(), std::move(line), batch);
  }

  void PutAnswer(const RequestKey& request, const v1::Job& job, rocksdb::WriteBatch& batch) const {
    if (request.id.empty()) return;
    v1::AnsweredRequest answer;
    answer.set_request_sha256(request.sha256);
    *answer.mutable_job() = job;
    *answer.mutable_answer_time() = Now();
    batch.Put(RequestRowKey(request), answer.SerializeAsString());
  }

  // Forgets answers to request ids that nobody repeats any more.
  absl::Status PruneAnswers() {
    const int64_t oldest =
        std::chrono::duration_cast<std::chrono::microseconds>((now() - kAnswersLive).time_since_epoch())
            .count();
    rocksdb::WriteBatch batch(0, 0, kProtectionBytes, 0);
    std::unique_ptr<rocksdb::Iterator> row(db->NewIterator(rocksdb::ReadOptions()));
    for (row->Seek("request/"); row->Valid() && row->key().starts_with("request/"); row->Next()) {
      v1::AnsweredRequest answer;
      if (!answer.ParseFromString(row->value().ToString()) || !answer.has_answer_time()) continue;
      if (google::protobuf::util::TimeUtil::TimestampToMicroseconds(answer.answer_time()) < oldest)
        batch.Delete(row->key());
    }
    if (!row->status().ok()) return FromRocks(row->status(), "jobs database, answers");
    return batch.Count() == 0 ? absl::OkStatus() : Write(batch);
  }

  google::protobuf::Timestamp Now() const {
    return google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(
        std::chrono::duration_cast<std::chrono::microseconds>(now().time_since_epoch()).count());
  }

  void Notify() {
    {
      std::lock_guard lock(watch_mutex);
      ++changes;
    }
    watch.notify_all();
  }
};

JobStore::JobStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JobStore::~JobStore() = default;

absl::StatusOr<std::unique_ptr<JobStore>> JobStore::Open(const std::filesystem::path& folder, Clock now) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::UnavailableError(folder.string() + ": " + error.message());
  rocksdb::Options options;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  options.track_and_verify_wals_in_manifest = true;
  options.keep_log_file_num = 3;
  options.listeners.push_back(std::make_shared<ledger::NoAutoRecovery>());
  options.info_log = std::make_shared<ledger::StorageLog>();
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, folder.string(), &db);
  if (!status.ok()) return FromRocks(status, "jobs database in " + folder.string());
  auto impl = std::make_unique<Impl>();
  impl->db.reset(db);
  impl->folder = folder;
  impl->now = std::move(now);
  const auto stored = impl->Get(services::kFormatRow);
  if (!stored.ok()) return stored.status();
  const auto format = services::FormatOf(*stored, kFormat, "jobs database in " + folder.string());
  if (!format.ok()) return format.status();
  if (*format < kFormat) {
    rocksdb::WriteBatch batch;
    batch.Put(services::kFormatRow, std::to_string(kFormat));
    if (auto written = impl->Write(batch); !written.ok()) return written;
  }
  auto key = impl->Get("meta/token_key");
  if (!key.ok()) return key.status();
  if (!key->has_value()) {
    std::random_device entropy;
    std::string fresh;
    while (fresh.size() < 32) fresh += BigEndian(entropy(), 4);
    rocksdb::WriteBatch batch;
    batch.Put("meta/token_key", fresh);
    if (auto written = impl->Write(batch); !written.ok()) return written;
    *key = fresh;
  }
  impl->token_key = **key;
  if (auto pruned = impl->PruneAnswers(); !pruned.ok()) return pruned;
  return std::unique_ptr<JobStore>(new JobStore(std::move(impl)));
}

absl::StatusOr<v1::Job> JobStore::Create(v1::JobRecord record, const v1::PromptSet& prompts,
                                         const RequestKey& request) {
  v1::Job& job = *record.mutable_job();
  std::lock_guard lock(impl_->change_mutex);
  if (auto answer = AnswerOf(request); !answer.ok()) {
    return answer.status();
  } else if (answer->has_value()) {
    return **answer;
  }
  auto existing = impl_->Get(JobKey(job.name()));
  if (!existing.ok()) return existing.status();
  if (existing->has_value()) {
    return WithReason(absl::AlreadyExistsError("job_id: " + job.name() + " exists"), ALREADY_EXISTS,
                      {{"name", job.name()}});
  }
  rocksdb::WriteBatch batch(0, 0, kProtectionBytes, 0);
  const std::string project = ProjectOf(job.name());
  if (!job.spec().student().name().empty()) {
    const std::string student = project + "/students/" + job.spec().student().name();
    auto owner = JobOfStudent(student);
    if (!owner.ok() && !absl::IsNotFound(owner.status())) return owner.status();
    if (owner.ok()) {
      auto other = impl_->Read(*owner);
      if (!other.ok()) return other.status();
      if (!EndedWithoutStudent(other->job().state())) {
        return WithReason(absl::AlreadyExistsError("spec.student.name: " + student + " belongs to " + *owner +
                                                   ", wanted a name that no other job has"),
                          ALREADY_EXISTS, {{"name", student}, {"job", *owner}});
      }
    }
    batch.Put(StudentKey(student), job.name());
  }
  *job.mutable_create_time() = impl_->Now();
  job.mutable_spec()->clear_prompts();
  record.set_revision(0);
  impl_->PutRevision(record, "accepted", batch);
  if (auto line = impl_->PutEventLine(job, "accepted", batch); !line.ok()) return line;
  batch.Put(PromptsKey(job.uid()), prompts.SerializeAsString());
  const int64_t micros = google::protobuf::util::TimeUtil::TimestampToMicroseconds(job.create_time());
  batch.Put(OrderPrefix(project) + BigEndian(~static_cast<uint64_t>(micros), 8) + job.uid(), job.name());
  impl_->PutAnswer(request, job, batch);
  if (auto written = impl_->Write(batch); !written.ok()) return written;
  impl_->Notify();
  return job;
}

absl::StatusOr<std::optional<v1::Job>> JobStore::AnswerOf(const RequestKey& request) const {
  if (request.id.empty()) return std::optional<v1::Job>();
  auto bytes = impl_->Get(RequestRowKey(request));
  if (!bytes.ok()) return bytes.status();
  if (!bytes->has_value()) return std::optional<v1::Job>();
  auto answer = Parsed<v1::AnsweredRequest>(**bytes, "request " + request.id);
  if (!answer.ok()) return answer.status();
  if (answer->request_sha256() != request.sha256) {
    return WithReason(
        absl::InvalidArgumentError("request_id: " + request.id + " was used before with another body"),
        REQUEST_ID_REUSED, {{"request_id", request.id}});
  }
  return std::optional<v1::Job>(answer->job());
}

absl::StatusOr<v1::JobRecord> JobStore::Read(const std::string& name) const {
  return impl_->Read(name);
}

absl::StatusOr<v1::PromptSet> JobStore::ReadPrompts(const std::string& uid) const {
  auto bytes = impl_->Get(PromptsKey(uid));
  if (!bytes.ok()) return bytes.status();
  if (!bytes->has_value()) return absl::NotFoundError("there are no prompts of job uid " + uid);
  return Parsed<v1::PromptSet>(**bytes, "prompts of " + uid);
}

absl::StatusOr<v1::JobRecord> JobStore::Change(const std::string& name, std::string_view event,
                                               const std::function<absl::Status(v1::JobRecord&)>& change,
                                               const RequestKey& request) {
  std::lock_guard lock(impl_->change_mutex);
  auto answer = AnswerOf(request);
  if (!answer.ok()) return answer.status();
  auto record = impl_->Read(name);
  if (!record.ok()) return record.status();
  if (answer->has_value()) {
    *record->mutable_job() = **answer;
    return record;
  }
  if (auto changed = change(*record); !changed.ok()) return changed;
  rocksdb::WriteBatch batch(0, 0, kProtectionBytes, 0);
  impl_->PutRevision(*record, event, batch);
  if (auto line = impl_->PutEventLine(record->job(), event, batch); !line.ok()) return line;
  impl_->PutAnswer(request, record->job(), batch);
  if (auto written = impl_->Write(batch); !written.ok()) return written;
  impl_->Notify();
  return record;
}

absl::StatusOr<JobPage> JobStore::List(const JobQuery& query) const {
  JobPage page;
  const bool by_name = query.order == JobOrder::kByName || query.order == JobOrder::kByNameDescending;
  const bool backwards = query.order == JobOrder::kOldestFirst || query.order == JobOrder::kByNameDescending;
  const std::string prefix = by_name ? JobKey(query.project + "/jobs/") : OrderPrefix(query.project);
  std::unique_ptr<rocksdb::Iterator> row(impl_->db->NewIterator(rocksdb::ReadOptions()));
  const auto step = [&] { backwards ? row->Prev() : row->Next(); };
  if (!query.position.empty()) {
    const std::string at = prefix + query.position;
    backwards ? row->SeekForPrev(at) : row->Seek(at);
    if (row->Valid() && row->key() == at) step();
  } else {
    backwards ? row->SeekForPrev(prefix + std::string(16, '\xff')) : row->Seek(prefix);
  }
  std::string last;
  int looked_at = 0;
  for (; row->Valid() && row->key().starts_with(prefix); step(), ++looked_at) {
    if (static_cast<int32_t>(page.jobs.size()) == query.size || looked_at == kLookedAtMax) {
      page.next_position = last;
      break;
    }
    if (looked_at % kCheckEvery == kCheckEvery - 1 && query.check) {
      if (auto s = query.check(); !s.ok()) return s;
    }
    last = row->key().ToString().substr(prefix.size());
    auto record = by_name ? Parsed<v1::JobRecord>(row->value().ToString(), row->key().ToString())
                          : impl_->Read(row->value().ToString());
    if (absl::IsNotFound(record.status())) continue;  // deleted between the two reads
    if (!record.ok()) return record.status();
    if (!query.fits || query.fits(record->job())) page.jobs.push_back(std::move(*record->mutable_job()));
  }
  if (!row->status().ok()) return FromRocks(row->status(), "jobs database, list");
  return page;
}

absl::StatusOr<std::string> JobStore::Delete(const std::string& name,
                                             const std::function<absl::Status(const v1::JobRecord&)>& check,
                                             const RequestKey& request) {
  std::lock_guard lock(impl_->change_mutex);
  if (auto answer = AnswerOf(request); !answer.ok()) {
    return answer.status();
  } else if (answer->has_value()) {
    return std::string();
  }
  auto record = impl_->Read(name);
  if (!record.ok()) return record.status();
  if (auto allowed = check(*record); !allowed.ok()) return allowed;
  const v1::Job& job = record->job();
  rocksdb::WriteBatch batch(0, 0, kProtectionBytes, 0);
  batch.Delete(JobKey(name));
  batch.Delete(PromptsKey(job.uid()));
  const int64_t micros = google::protobuf::util::TimeUtil::TimestampToMicroseconds(job.create_time());
  batch.Delete(OrderPrefix(ProjectOf(name)) + BigEndian(~static_cast<uint64_t>(micros), 8) + job.uid());
  for (const std::string& prefix : {EventPrefix(job.uid()), IntentPrefix(job.uid()), LogPrefix(job.uid())}) {
    std::unique_ptr<rocksdb::Iterator> row(impl_->db->NewIterator(rocksdb::ReadOptions()));
    for (row->Seek(prefix); row->Valid() && row->key().starts_with(prefix); row->Next())
      batch.Delete(row->key());
    if (!row->status().ok()) return FromRocks(row->status(), "jobs database, delete");
  }
  if (!job.spec().student().name().empty()) {
    const std::string student = ProjectOf(name) + "/students/" + job.spec().student().name();
    auto owner = JobOfStudent(student);
    if (owner.ok() && *owner == name) batch.Delete(StudentKey(student));
  }
  impl_->PutAnswer(request, v1::Job(), batch);
  if (auto written = impl_->Write(batch); !written.ok()) return written;
  {
    std::lock_guard log_lock(impl_->log_mutex);
    impl_->log_ends.erase(job.uid());
  }
  impl_->Notify();
  return job.uid();
}

absl::Status JobStore::AppendLog(const std::string& uid, std::vector<v1::JobLogLine> lines) {
  if (lines.empty()) return absl::OkStatus();
  std::lock_guard lock(impl_->log_mutex);
  rocksdb::WriteBatch batch(0, 0, kProtectionBytes, 0);
  for (v1::JobLogLine& line : lines) {
    if (auto put = impl_->PutLine(uid, std::move(line), batch); !put.ok()) return put;
  }
  if (auto written = impl_->Write(batch); !written.ok()) return written;
  impl_->Notify();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::JobLogLine>> JobStore::LogAfter(const std::string& uid, int64_t sequence,
                                                               int limit) const {
  std::vector<v1::JobLogLine> lines;
  const std::string prefix = LogPrefix(uid);
  std::unique_ptr<rocksdb::Iterator> row(impl_->db->NewIterator(rocksdb::ReadOptions()));
  for (row->Seek(LogKey(uid, sequence)); row->Valid() && row->key().starts_with(prefix); row->Next()) {
    auto line = Parsed<v1::JobLogLine>(row->value().ToString(), "log of " + uid);
    if (!line.ok()) return line.status();
    // The line at `sequence` shows that nothing after it was dropped.
    if (lines.empty() && sequence > 0 && line->sequence() > sequence + 1) {
      std::unique_ptr<rocksdb::Iterator> first(impl_->db->NewIterator(rocksdb::ReadOptions()));
      first->Seek(prefix);
      if (first->Valid() && first->key() == row->key()) {
        return WithReason(absl::OutOfRangeError("lines up to " + std::to_string(line->sequence() - 1) +
                                                " of this log are no longer kept"),
                          RESUME_TOKEN_EXPIRED, {{"oldest", std::to_string(line->sequence())}});
      }
    }
    if (line->sequence() == sequence) continue;
    lines.push_back(*std::move(line));
    if (static_cast<int>(lines.size()) == limit) break;
  }
  if (!row->status().ok()) return FromRocks(row->status(), "jobs database, log");
  return lines;
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> JobStore::Students(
    const std::string& project) const {
  std::vector<std::pair<std::string, std::string>> students;
  const std::string prefix = StudentKey(project + "/students/");
  std::unique_ptr<rocksdb::Iterator> row(impl_->db->NewIterator(rocksdb::ReadOptions()));
  for (row->Seek(prefix); row->Valid() && row->key().starts_with(prefix); row->Next()) {
    students.emplace_back(row->key().ToString().substr(StudentKey("").size()), row->value().ToString());
  }
  if (!row->status().ok()) return FromRocks(row->status(), "jobs database, students");
  return students;
}

absl::StatusOr<std::vector<std::string>> JobStore::Unfinished() const {
  std::vector<std::pair<int64_t, std::string>> found;
  std::unique_ptr<rocksdb::Iterator> row(impl_->db->NewIterator(rocksdb::ReadOptions()));
  for (row->Seek("job/"); row->Valid() && row->key().starts_with("job/"); row->Next()) {
    auto record = Parsed<v1::JobRecord>(row->value().ToString(), row->key().ToString());
    if (!record.ok()) return record.status();
    if (!HasWork(record->job().state())) continue;
    found.emplace_back(google::protobuf::util::TimeUtil::TimestampToMicroseconds(record->job().create_time()),
                       record->job().name());
  }
  if (!row->status().ok()) return FromRocks(row->status(), "jobs database, scan");
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (auto& [created, name] : found) names.push_back(std::move(name));
  return names;
}

absl::StatusOr<std::map<v1::Job::State, int64_t>> JobStore::CountByState() const {
  std::map<v1::Job::State, int64_t> counts;
  std::unique_ptr<rocksdb::Iterator> row(impl_->db->NewIterator(rocksdb::ReadOptions()));
  for (row->Seek("job/"); row->Valid() && row->key().starts_with("job/"); row->Next()) {
    auto record = Parsed<v1::JobRecord>(row->value().ToString(), row->key().ToString());
    if (!record.ok()) return record.status();
    ++counts[record->job().state()];
  }
  if (!row->status().ok()) return FromRocks(row->status(), "jobs database, count");
  return counts;
}

absl::StatusOr<std::string> JobStore::JobOfStudent(const std::string& student) const {
  auto bytes = impl_->Get(StudentKey(student));
  if (!bytes.ok()) return bytes.status();
  if (!bytes->has_value()) {
    return WithReason(absl::NotFoundError("there is no student " + student), NOT_FOUND, {{"name", student}});
  }
  return **bytes;
}

absl::Status JobStore::WriteIntents(const std::string& uid,
                                    const std::vector<std::pair<int32_t, v1::SampleIntent>>& intents,
                                    const RequestKey& request) {
  rocksdb::WriteBatch batch(0, 0, kProtectionBytes, 0);
  for (const auto& [index, intent] : intents) {
    batch.Put(IntentPrefix(uid) + BigEndian(static_cast<uint64_t>(index), 4), intent.SerializeAsString());
  }
  impl_->PutAnswer(request, v1::Job(), batch);
  return impl_->Write(batch);
}

absl::StatusOr<std::vector<std::pair<int32_t, v1::SampleIntent>>> JobStore::ReadIntents(
    const std::string& uid) const {
  std::vector<std::pair<int32_t, v1::SampleIntent>> intents;
  const std::string prefix = IntentPrefix(uid);
  std::unique_ptr<rocksdb::Iterator> row(impl_->db->NewIterator(rocksdb::ReadOptions()));
  for (row->Seek(prefix); row->Valid() && row->key().starts_with(prefix); row->Next()) {
    auto intent = Parsed<v1::SampleIntent>(row->value().ToString(), "intent of " + uid);
    if (!intent.ok()) return intent.status();
    const uint64_t index = FromBigEndian(row->key().ToString().substr(prefix.size()));
    intents.emplace_back(static_cast<int32_t>(index), *std::move(intent));
  }
  if (!row->status().ok()) return FromRocks(row->status(), "jobs database, intents");
  return intents;
}

absl::StatusOr<std::vector<v1::JobEvent>> JobStore::EventsAfter(const std::string& uid, int64_t revision,
                                                                int limit) const {
  std::vector<v1::JobEvent> events;
  const std::string prefix = EventPrefix(uid);
  std::unique_ptr<rocksdb::Iterator> row(impl_->db->NewIterator(rocksdb::ReadOptions()));
  // Starting at the revision itself shows whether the caller's place is still, or already, there.
  for (row->Seek(EventKey(uid, revision)); row->Valid() && row->key().starts_with(prefix); row->Next()) {
    auto event = Parsed<v1::JobEvent>(row->value().ToString(), "event of " + uid);
    if (!event.ok()) return event.status();
    if (events.empty() && event->revision() > revision + 1) {
      return WithReason(
          absl::OutOfRangeError("revision " + std::to_string(revision) +
                                " is no longer kept; the oldest is " + std::to_string(event->revision())),
          RESUME_TOKEN_EXPIRED, {{"oldest", std::to_string(event->revision())}});
    }
    if (event->revision() == revision) continue;
    events.push_back(*std::move(event));
    if (static_cast<int>(events.size()) == limit) break;
  }
  if (!row->status().ok()) return FromRocks(row->status(), "jobs database, events");
  if (events.empty()) {
    auto newest = impl_->Get(EventKey(uid, revision));
    if (!newest.ok()) return newest.status();
    if (!newest->has_value()) {
      return WithReason(
          absl::OutOfRangeError("revision " + std::to_string(revision) + " of this job does not exist"),
          RESUME_TOKEN_EXPIRED, {{"revision", std::to_string(revision)}});
    }
  }
  return events;
}

const std::string& JobStore::token_key() const {
  return impl_->token_key;
}

void JobStore::WaitForChange(uint64_t seen, std::chrono::milliseconds timeout) const {
  std::unique_lock lock(impl_->watch_mutex);
  impl_->watch.wait_for(lock, timeout, [&] { return impl_->changes != seen; });
}

uint64_t JobStore::changes() const {
  std::lock_guard lock(impl_->watch_mutex);
  return impl_->changes;
}

void JobStore::WakeWatchers() {
  impl_->Notify();
}

}  // namespace retort::jobs
