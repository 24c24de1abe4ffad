// One append-only log on disk: entries, Merkle tree, payload vault, indexes and checkpoints, in RocksDB.
//
// Append checks signatures on the caller's thread, then queues. One writer thread takes everything that
// waits, writes it as one synced batch, signs the new checkpoint, and only then answers: what was
// acknowledged is durable and under the checkpoint that CheckpointNote returns from then on. A request id is
// appended at most once, across restarts.
//
//   absl::StatusOr<std::unique_ptr<Log>> log = Log::Open(std::move(options));
//   absl::StatusOr<AppendedEntry> entry = (*log)->Append(std::move(request));
//
// All methods may be called from any number of threads. Destruction waits for queued appends; nobody may be
// inside a method then. Reads see every append that was acknowledged before they began.
#ifndef LEDGER_LOG_H_
#define LEDGER_LOG_H_

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/checkpoint.h"
#include "ledger/digest.h"
#include "ledger/entry.h"
#include "ledger/key_registry.h"
#include "ledger/sample_rules.h"
#include "ledger/signing.h"

namespace rocksdb {
class Env;
}

namespace retort::ledger {

struct TrustedKey {
  std::string role;  // teacher, policy, jobs, trainer or reviewer
  std::string vkey;
};

struct LogOptions {
  std::string path;                     // folder of the database; made when missing
  std::string origin;                   // "<deployment>/<project>"
  std::string project;                  // "projects/{project}"; every statement must name it
  const SigningKey* log_key = nullptr;  // not owned, outlives the log; its name is the origin
  std::array<uint8_t, 32> vault_key{};  // wraps the payload keys
  std::vector<TrustedKey>
      trusted_keys;  // whose statements are accepted; the log registers them as KEY entries
  std::function<int64_t()>
      now_us;               // microseconds since 1970; entry times never run backwards even if it does
  size_t queue_max = 4096;  // appends that may wait; more are answered Unavailable
  rocksdb::Env* storage = nullptr;  // the storage seam for tests; null is the operating system
};

inline constexpr size_t kPayloadBytesMax = 3 << 20;
inline constexpr size_t kAttachmentBytesMax = 2 << 20;
inline constexpr size_t kAttachmentsMax = 16;
// A larger dataset manifest is refused (ResourceExhausted): it travels in one message. About 20,000 samples.
inline constexpr size_t kDatasetManifestBytesMax = 3 << 20;

struct AppendRequest {
  EntryKind kind = EntryKind::kSample;
  std::vector<SignedStatement> statements;  // as StatementTypesOf(kind)
  std::string payload;                      // a SAMPLE's private bytes; empty for other kinds
  std::string salt;                         // 32 bytes for a SAMPLE; empty for other kinds
  std::vector<std::string> attachments;     // public bytes that the statements name by SHA-256
};

struct AppendedEntry {
  uint64_t index = 0;
  int64_t time_us = 0;
  Digest leaf_hash{};
  std::string leaf;
  bool repeated = false;  // the log had it already; this is the first answer again
};

struct StoredEntry {
  uint64_t index = 0;
  Digest leaf_hash{};
  std::string leaf;
  Entry entry;  // the leaf, taken apart
};

struct SignedCheckpoint {
  Checkpoint checkpoint;
  std::string note;
};

struct Payload {
  std::string payload;
  std::string salt;
};

struct DatasetRequest {
  std::string dataset;  // projects/{project}/datasets/{dataset}
  std::string job;      // projects/{project}/jobs/{job}
  std::string job_uid;
  std::string request_id;  // UUID
};

struct ErasureRequest {
  uint64_t sample_entry = 0;
  std::string request_id;  // UUID
  std::string reason;
  std::string authority;
};

// What stands about one sample at one size of the log.
struct SampleStanding {
  uint64_t entry = 0;                    // its SAMPLE entry
  std::string own_effect;                // of the decision in that entry: allow, review or deny
  std::string effect;                    // of the newest decision about it
  uint64_t decision_entry = 0;           // that holds the newest decision
  std::optional<uint64_t> review_entry;  // the newest review of that decision
  std::string verdict;                   // approve or reject; empty without a review
  std::optional<uint64_t> erasure_entry;
  Standing standing = Standing::kInReview;
};

struct SampleCounts {
  uint64_t asked = 0;    // SAMPLE entries, repeats included
  uint64_t allowed = 0;  // admitted
  uint64_t review = 0;   // waiting for a person
  uint64_t denied = 0;   // denied, rejected or erased
  uint64_t repeats = 0;  // attempt above 1
};

// True for an AlreadyExists that means: this request id is in the log with other statements. The message has
// the index.
bool IsRequestIdReused(const absl::Status& status);

// IsSignatureInvalid (ledger/key_registry.h) tells errors about signatures and keys apart.

class Log {
 public:
  // Opens the log, or makes one whose first entries are KEY entries for the log key and the trusted keys.
  // Trusted keys that are new since are added by KEY entries, those no longer named are retired by KEY
  // entries.
  //
  // Before it opens, the newest hashes are rebuilt from stored entry bytes and compared with the stored head
  // and with the newest signed checkpoint. DataLoss when they differ, or the database is corrupt: it stays
  // closed and untouched. FailedPrecondition when another process holds it, or origin, project, log key or
  // vault key are not those that it was made with. InvalidArgument for bad options. Unavailable when the disk
  // refuses.
  static absl::StatusOr<std::unique_ptr<Log>> Open(LogOptions options);

  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // Appends one entry and returns when it is durable. The request id is that of the first statement. The same
  // id with the same statements returns the first answer (repeated = true).
  //
  // InvalidArgument  a statement, the payload, the salt or an attachment is malformed, does not fit the
  // others or names
  //                  another project; a kind that only the log makes (DATASET, KEY, ERASURE);
  //                  IsSignatureInvalid for a key without the role or a signature that does not verify.
  // FailedPrecondition  an entry that a statement refers to is not there or holds another decision, or an
  // attachment that it names is neither in
  //                  the request nor in the log.
  // AlreadyExists    IsRequestIdReused: the id is in the log with other statements.
  // Unavailable      the queue is full, or the log is read-only because a write failed. After a failed write
  // nobody knows
  //                  how much of it is on disk, so the log stays read-only until it is opened again, which
  //                  finds out.
  absl::StatusOr<AppendedEntry> Append(AppendRequest request);

  // Index of the entry of each request id that is in the log.
  absl::StatusOr<std::map<std::string, uint64_t>> LookupRequests(
      const std::vector<std::string>& request_ids) const;

  // NotFound beyond the end; DataLoss when the stored bytes do not match the tree.
  absl::StatusOr<StoredEntry> ReadEntry(uint64_t index) const;

  // Calls `visit` for the entries of [first, last) in order, of `kind` or all, until it returns an error,
  // which is returned. `last` beyond the end means the end.
  absl::Status ForEachEntry(uint64_t first, uint64_t last, std::optional<EntryKind> kind,
                            const std::function<absl::Status(const StoredEntry&)>& visit) const;

  // Newest checkpoint: everything acknowledged is under it.
  SignedCheckpoint CheckpointNote() const;

  // The checkpoint of an older tree, signed anew on demand. OutOfRange when size is beyond the newest.
  absl::StatusOr<SignedCheckpoint> CheckpointNoteAt(uint64_t size) const;

  // OutOfRange unless index < size <= newest size.
  absl::StatusOr<std::vector<Digest>> InclusionProof(uint64_t index, uint64_t size) const;

  // OutOfRange unless first <= second <= newest size.
  absl::StatusOr<std::vector<Digest>> ConsistencyProof(uint64_t first, uint64_t second) const;

  // Freezes the samples of a job: for each prompt index the entry of the lowest attempt that stands as
  // admitted (ledger/sample_rules.h). Writes the manifest (see DatasetStatement) and a DATASET entry that the
  // log signs. The same request id for the same dataset and job returns the first answer, whatever came
  // since. FailedPrecondition when no train sample is allowed; AlreadyExists (IsRequestIdReused) as in
  // Append; ResourceExhausted when the manifest exceeds kDatasetManifestBytesMax.
  absl::StatusOr<AppendedEntry> CreateDataset(const DatasetRequest& request);

  // Destroys the payload key and salt of a sample and appends an ERASURE entry, in one batch. The ciphertext
  // can be read by nobody afterwards; proofs still verify. InvalidArgument when the entry is no SAMPLE;
  // NotFound beyond the end; FailedPrecondition when it was erased already.
  absl::StatusOr<AppendedEntry> Erase(const ErasureRequest& request);

  // Decrypted payload and salt of a SAMPLE. NotFound when the entry is none or was erased; DataLoss when it
  // does not decrypt or does not match the digest in the capture.
  absl::StatusOr<Payload> ReadPayload(uint64_t index) const;

  // Content of an attachment. NotFound; DataLoss when its bytes do not match the digest.
  absl::StatusOr<std::string> ReadAttachment(const Digest& sha256) const;

  // Calls `visit` for every attachment in digest order until it returns an error, which is returned.
  absl::Status ForEachAttachment(
      const std::function<absl::Status(const Digest& sha256, std::string_view content)>& visit) const;

  absl::StatusOr<SampleCounts> CountSamples(std::string_view job_uid) const;

  // What stands about a sample of a job as of a tree of `size`. NotFound when the entry is no sample of this
  // job, or not under that tree.
  absl::StatusOr<SampleStanding> StandingOf(uint64_t sample_entry, std::string_view job_uid,
                                            uint64_t size) const;

  // Calls `visit` for the samples of a job from entry `first` on, in order, as of a tree of `size`, until it
  // returns an error, which is returned.
  absl::Status ForEachSample(std::string_view job_uid, uint64_t first, uint64_t size,
                             const std::function<absl::Status(const SampleStanding&)>& visit) const;

  // True after a failed write: appends are Unavailable, reads go on.
  bool read_only() const;

  const std::string& origin() const;
  const std::string& project() const;
  std::string vkey() const;

 private:
  class Impl;
  explicit Log(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::ledger

#endif  // LEDGER_LOG_H_
