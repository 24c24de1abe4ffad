#include "services/operations/operation_host.h"

#include <google/protobuf/util/time_util.h>
#include <openssl/rand.h>

#include <atomic>
#include <cassert>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "ledger/hex.h"
#include "services/edge/status.h"
#include "services/storage/row_store.h"

namespace retort::services {

using google::longrunning::Operation;
using google::protobuf::util::TimeUtil;
using operations::v1::AnsweredRequest;
using operations::v1::OperationRecord;

namespace {

constexpr std::chrono::milliseconds kAskEvery(100);
constexpr std::chrono::hours kPruneEvery(1);

std::string RowOf(const std::string& name) {
  return "op/" + name;
}
std::string RequestRow(const std::string& project, const std::string& verb, const std::string& id) {
  return "request/" + project + "/" + verb + "/" + id;
}
std::string OrderPrefix(const std::string& project) {
  return "order/" + project + "/";
}
std::string ProjectOf(const std::string& name) {
  return name.substr(0, name.find("/operations/"));
}

// Newest first: the time inverted, then the id.
std::string OrderRow(const OperationRecord& record) {
  const int64_t micros = TimeUtil::TimestampToMicroseconds(record.create_time());
  return OrderPrefix(ProjectOf(record.name())) + SortableNumber(~static_cast<uint64_t>(micros)) +
         record.name().substr(record.name().rfind('/') + 1);
}

bool IsDone(const OperationRecord& record) {
  return record.has_error() || record.has_response();
}

absl::Status NoSuch(const std::string& name) {
  return WithReason(absl::NotFoundError("there is no operation " + name), NOT_FOUND, {{"name", name}});
}

std::string FreshId() {
  std::string bytes(12, '\0');
  const int done = RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  assert(done == 1 && "the system has entropy");
  (void)done;
  return "op-" + ledger::HexEncode(bytes);
}

const ListRules& Rules() {
  static const ListRules rules{FilterFields(*Operation::descriptor(), {"name", "done"}), {}};
  return rules;
}

}  // namespace

struct OperationHost::Impl {
  // An operation that is not done.
  struct Live final : OperationProgress {
    std::atomic<int64_t> done{0}, total{0};
    std::atomic<bool> cancelled{false};
    const std::atomic<bool>* stopping = nullptr;

    void Set(int64_t now_done, int64_t now_total) override {
      done = now_done;
      total = now_total;
    }
    bool Stopped() const override { return cancelled || *stopping; }
  };

  Options options;
  Verbs verbs;
  std::unique_ptr<RowStore> rows;
  std::unique_ptr<PageTokens> tokens;
  std::atomic<bool> stopping{false};
  mutable std::mutex mutex;  // guards what follows, and that a row is changed by one thread at a time
  mutable std::condition_variable changed;
  std::map<std::string, std::unique_ptr<Live>> live;  // by name
  std::deque<std::string> queue;
  std::chrono::system_clock::time_point pruned;
  std::vector<std::thread> threads;

  google::protobuf::Timestamp Now() const {
    return TimeUtil::MicrosecondsToTimestamp(
        std::chrono::duration_cast<std::chrono::microseconds>(options.now().time_since_epoch()).count());
  }

  absl::StatusOr<OperationRecord> Read(const std::string& name) const {
    auto bytes = rows->Get(RowOf(name));
    if (!bytes.ok()) return bytes.status();
    if (!bytes->has_value()) return NoSuch(name);
    OperationRecord record;
    if (!record.ParseFromString(**bytes)) return absl::DataLossError("operation " + name + " does not parse");
    return record;
  }

  // With what a running operation says now. Needs the mutex.
  Operation Shown(OperationRecord record) const {
    if (const auto running = live.find(record.name()); running != live.end()) {
      record.set_done_count(running->second->done);
      record.set_total_count(running->second->total);
      record.set_cancel_requested(running->second->cancelled);
    }
    Operation operation;
    operation.set_name(record.name());
    operation.set_done(IsDone(record));
    if (const auto verb = verbs.find(record.verb()); verb != verbs.end())
      *operation.mutable_metadata() = verb->second.describe(record);
    if (record.has_error()) *operation.mutable_error() = record.error();
    if (record.has_response()) *operation.mutable_response() = record.response();
    return operation;
  }

  // Puts an operation into the queue. Needs the mutex.
  void Enqueue(const OperationRecord& record) {
    auto entry = std::make_unique<Live>();
    entry->stopping = &stopping;
    entry->cancelled = record.cancel_requested();
    live[record.name()] = std::move(entry);
    queue.push_back(record.name());
    changed.notify_all();
  }

  int UnfinishedOf(const std::string& project) const {
    int count = 0;
    for (const auto& [name, entry] : live) count += ProjectOf(name) == project;
    return count;
  }

  void Work() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stopping || !queue.empty(); });
      if (stopping) return;
      const std::string name = queue.front();
      queue.pop_front();
      Live& entry = *live.at(name);
      lock.unlock();
      Run(name, entry);
      lock.lock();
      if (!stopping) live.erase(name);
      changed.notify_all();
    }
  }

  void Run(const std::string& name, Live& entry) {
    auto record = Read(name);
    if (!record.ok()) return;  // only a damaged database gets here; the next start meets it again
    const auto verb = verbs.find(record->verb());
    absl::StatusOr<google::protobuf::Any> result = absl::InternalError("no such verb: " + record->verb());
    if (entry.cancelled) {
      result = absl::CancelledError("cancelled before it began");
    } else if (verb != verbs.end()) {
      result = verb->second.work(record->request(), entry);
    }
    if (stopping) return;  // not done: the next process begins it anew
    record->set_done_count(entry.done);
    record->set_total_count(entry.total);
    record->set_cancel_requested(entry.cancelled);
    *record->mutable_end_time() = Now();
    if (result.ok()) {
      *record->mutable_response() = *std::move(result);
    } else {
      *record->mutable_error() = ToRpcStatus(result.status());
    }
    // A result that cannot be stored is not one: the work is cheap to repeat, and its client waits.
    for (std::chrono::milliseconds pause = kAskEvery; !stopping;
         pause = std::min(2 * pause, std::chrono::milliseconds(10'000))) {
      RowStore::Batch batch;
      batch.Put(RowOf(name), record->SerializeAsString());
      std::unique_lock lock(mutex);
      if (rows->Write(batch).ok()) return;
      changed.wait_for(lock, pause, [&] { return stopping.load(); });
    }
  }

  // Forgets what ended more than 30 days ago. Needs the mutex.
  absl::Status Prune() {
    const auto now = options.now();
    if (now - pruned < kPruneEvery) return absl::OkStatus();
    pruned = now;
    const int64_t oldest =
        std::chrono::duration_cast<std::chrono::microseconds>((now - kOperationsLive).time_since_epoch())
            .count();
    RowStore::Batch batch;
    auto status = rows->Scan("op/", "", [&](std::string_view, std::string_view value) {
      OperationRecord record;
      if (record.ParseFromArray(value.data(), static_cast<int>(value.size())) && IsDone(record) &&
          TimeUtil::TimestampToMicroseconds(record.end_time()) < oldest) {
        Forget(record, batch);
      }
      return true;
    });
    if (!status.ok()) return status;
    status = rows->Scan("request/", "", [&](std::string_view key, std::string_view value) {
      AnsweredRequest answer;
      if (!answer.ParseFromArray(value.data(), static_cast<int>(value.size()))) return true;
      auto record = Read(answer.operation());
      if (absl::IsNotFound(record.status()))
        batch.Delete(std::string(key));  // its operation went a pruning ago
      return true;
    });
    if (!status.ok()) return status;
    return rows->Write(batch);
  }

  static void Forget(const OperationRecord& record, RowStore::Batch& batch) {
    batch.Delete(RowOf(record.name()));
    batch.Delete(OrderRow(record));
  }
};

OperationHost::OperationHost(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

OperationHost::~OperationHost() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  for (std::thread& thread : impl_->threads) thread.join();
}

absl::StatusOr<std::unique_ptr<OperationHost>> OperationHost::Open(Options options, Verbs verbs) {
  auto rows = RowStore::Open(options.folder, "operations database");
  if (!rows.ok()) return rows.status();
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  impl->verbs = std::move(verbs);
  impl->rows = *std::move(rows);
  impl->tokens = std::make_unique<PageTokens>(impl->rows->token_key());
  bool parses = true;
  auto status = impl->rows->Scan("op/", "", [&](std::string_view, std::string_view value) {
    OperationRecord record;
    parses = record.ParseFromArray(value.data(), static_cast<int>(value.size()));
    if (parses && !IsDone(record)) impl->Enqueue(record);
    return parses;
  });
  if (!status.ok()) return status;
  if (!parses) return absl::DataLossError("operations database: a row does not parse");
  if (auto pruned = impl->Prune(); !pruned.ok()) return pruned;
  for (int i = 0; i < impl->options.threads; ++i)
    impl->threads.emplace_back([raw = impl.get()] { raw->Work(); });
  return std::unique_ptr<OperationHost>(new OperationHost(std::move(impl)));
}

absl::StatusOr<Operation> OperationHost::Begin(const std::string& project, const std::string& verb,
                                               const google::protobuf::Message& request,
                                               const RequestKey& key) {
  assert(impl_->verbs.count(verb) == 1);
  std::lock_guard lock(impl_->mutex);
  const std::string request_row = RequestRow(project, verb, key.id);
  if (!key.id.empty()) {
    auto bytes = impl_->rows->Get(request_row);
    if (!bytes.ok()) return bytes.status();
    AnsweredRequest answer;
    if (bytes->has_value() && answer.ParseFromString(**bytes)) {
      if (answer.request_sha256() != key.sha256) {
        return WithReason(
            absl::InvalidArgumentError("request_id: " + key.id + " was used before with another body"),
            REQUEST_ID_REUSED, {{"request_id", key.id}});
      }
      // A first answer that was deleted since is not given again: the operation is begun anew.
      if (auto first = impl_->Read(answer.operation()); first.ok()) return impl_->Shown(*std::move(first));
    }
  }
  if (impl_->UnfinishedOf(project) >= kOperationsUnfinishedMax) {
    return WithReason(
        absl::ResourceExhaustedError("projects have at most " + std::to_string(kOperationsUnfinishedMax) +
                                     " operations that are not done; wait for one, or cancel one"),
        LIMIT_EXCEEDED, {{"limit", std::to_string(kOperationsUnfinishedMax)}});
  }
  if (auto pruned = impl_->Prune(); !pruned.ok()) return pruned;
  OperationRecord record;
  record.set_name(project + "/operations/" + FreshId());
  record.set_verb(verb);
  record.mutable_request()->PackFrom(request);
  *record.mutable_create_time() = impl_->Now();
  RowStore::Batch batch;
  batch.Put(RowOf(record.name()), record.SerializeAsString());
  batch.Put(OrderRow(record), record.name());
  if (!key.id.empty()) {
    AnsweredRequest answer;
    answer.set_request_sha256(key.sha256);
    answer.set_operation(record.name());
    batch.Put(request_row, answer.SerializeAsString());
  }
  if (auto written = impl_->rows->Write(batch); !written.ok()) return written;
  impl_->Enqueue(record);
  return impl_->Shown(std::move(record));
}

absl::StatusOr<Operation> OperationHost::Get(const std::string& name) const {
  std::lock_guard lock(impl_->mutex);
  auto record = impl_->Read(name);
  if (!record.ok()) return record.status();
  return impl_->Shown(*std::move(record));
}

absl::StatusOr<Operation> OperationHost::Wait(const std::string& name, std::chrono::milliseconds span,
                                              const std::function<bool()>& given_up) const {
  const auto end = std::chrono::steady_clock::now() + span;
  while (true) {
    auto now = Get(name);
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (!now.ok() || now->done() || left.count() <= 0 || given_up()) return now;
    std::unique_lock lock(impl_->mutex);
    impl_->changed.wait_for(lock, std::min(left, kAskEvery), [&] { return impl_->live.count(name) == 0; });
  }
}

absl::Status OperationHost::Cancel(const std::string& name) {
  std::lock_guard lock(impl_->mutex);
  auto record = impl_->Read(name);
  if (!record.ok()) return record.status();
  if (IsDone(*record)) return absl::OkStatus();
  record->set_cancel_requested(true);
  RowStore::Batch batch;
  batch.Put(RowOf(name), record->SerializeAsString());
  if (auto written = impl_->rows->Write(batch); !written.ok()) return written;
  if (const auto running = impl_->live.find(name); running != impl_->live.end())
    running->second->cancelled = true;
  return absl::OkStatus();
}

absl::Status OperationHost::Delete(const std::string& name) {
  std::lock_guard lock(impl_->mutex);
  auto record = impl_->Read(name);
  if (!record.ok()) return record.status();
  if (!IsDone(*record)) {
    return WithReason(absl::FailedPreconditionError(name + " is not done; cancel it first"),
                      OPERATION_RUNNING, {{"name", name}});
  }
  RowStore::Batch batch;
  Impl::Forget(*record, batch);
  return impl_->rows->Write(batch);
}

absl::StatusOr<google::longrunning::ListOperationsResponse> OperationHost::List(
    const google::longrunning::ListOperationsRequest& request) const {
  auto query = ParseListQuery(
      "operations", {request.name(), request.page_size(), request.page_token(), request.filter(), ""},
      Rules(), *impl_->tokens);
  if (!query.ok()) return query.status();
  google::longrunning::ListOperationsResponse response;
  const std::string prefix = OrderPrefix(request.name());
  const std::string from = query->position.empty() ? "" : prefix + query->position;
  std::string last;
  absl::Status failed;
  bool more = false;
  auto status = impl_->rows->Scan(prefix, from, [&](std::string_view key, std::string_view name) {
    if (key == from) return true;
    if (response.operations_size() == query->size) {
      more = true;
      return false;
    }
    auto operation = Get(std::string(name));
    last = key.substr(prefix.size());
    if (absl::IsNotFound(operation.status())) return true;  // deleted meanwhile
    if (!operation.ok()) {
      failed = operation.status();
      return false;
    }
    if (query->filter.Matches(*operation)) *response.add_operations() = *std::move(operation);
    return true;
  });
  if (!status.ok()) return status;
  if (!failed.ok()) return failed;
  if (more) response.set_next_page_token(impl_->tokens->Seal(query->scope, last));
  return response;
}

}  // namespace retort::services
