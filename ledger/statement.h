// Statements: what services sign and entries hold.
//
// A statement is one canonical JSON object (proto/canonical_json.h: RFC 8785 without non-integer numbers).
// Its signature covers the DSSE v1 pre-authentication encoding of (PayloadType(type), bytes). Every struct
// here is parsed from, and written as, exactly one such object: unknown, missing or mistyped members are
// refused, and the written form is the only one accepted, so Parse(x).value().ToJson() == x always.
// docs/formats/ledger.md lists every member.
//
// Numbers that are not integers are decimal strings. Digests are lower-case hex SHA-256. Times are RFC 3339
// in UTC with exactly six fractional digits ("2026-01-02T03:04:05.000006Z"). Parse returns InvalidArgument
// naming the member, what was seen and what is wanted; it never echoes more than 64 bytes of the input. Plain
// values; no threads involved.
#ifndef LEDGER_STATEMENT_H_
#define LEDGER_STATEMENT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/usage.h"

namespace retort::ledger {

enum class StatementType : uint8_t {
  kCapture = 1,     // signed by a teacher service
  kDecision = 2,    // signed by a policy service
  kPolicyPack = 3,  // signed by a policy or jobs service
  kReview = 4,      // signed by a reviewer
  kDataset = 5,     // signed by the log
  kTraining = 6,    // signed by a trainer
  kRelease = 7,     // signed by a jobs service
  kKey = 8,         // signed by the log
  kErasure = 9,     // signed by the log
  kAccess = 10,     // signed by the service that let in or refused
};

// "application/vnd.retort.capture.v1+json" and so on.
std::string_view PayloadType(StatementType type);

// What a teacher answered, without its text.
struct CaptureStatement {
  std::string project;     // projects/{project}
  std::string request_id;  // UUID; makes the append idempotent
  std::string job;         // projects/{project}/jobs/{job}
  std::string job_uid;
  std::string prompt_id;
  int64_t index = 0;
  int64_t attempt = 1;  // above 1: an earlier call of this prompt was in flight when a process died
  std::string split;    // train or held_out

  std::string teacher;  // projects/{project}/teachers/{teacher}
  std::string provider, channel, account_class, account_region;
  std::string model_requested, model_answered;
  std::string endpoint;          // local, or scheme://host[:port]
  std::string weights_sha256;    // empty for a remote teacher
  std::string tokenizer_sha256;  // empty when unknown
  std::string acquired_time;     // empty when unknown

  std::string temperature, top_p;  // decimal strings
  uint64_t seed = 0;               // at most 2^53 - 1
  int64_t max_tokens = 0, top_logprobs = 0;

  std::string requested_time, completed_time;
  std::string finish_reason;  // stop, length, content_filter
  int64_t prompt_tokens = 0, completion_tokens = 0;
  int64_t http_status = 0;        // 0 for the local teacher
  int64_t transport_retries = 0;  // HTTP attempts before this answer, within this call
  std::string response_id;        // the provider's id of the answer; may be empty

  std::string payload_digest;  // SHA-256(salt || payload)
  int64_t payload_bytes = 0;

  std::string ToJson() const;
  static absl::StatusOr<CaptureStatement> Parse(std::string_view json);
};

struct MatchedRule {
  std::string pack, rule, effect, clause;  // effect: allow, review, deny
};
struct DecidedObligation {
  std::string pack, rule, kind, trigger, text;
};
struct PackReference {
  std::string id, version, sha256;
};

// What policy decided, why, and everything needed to decide it again.
struct DecisionStatement {
  std::string project;
  std::string request_id;
  std::string subject_kind;    // sample or job
  std::string subject_digest;  // of a sample: SHA-256 of the capture statement; of a job: SHA-256 of its
                               // canonical facts
  std::string job, job_uid;
  std::string effect;                          // allow, review, deny
  std::vector<MatchedRule> rules;              // in pack and rule order
  std::vector<DecidedObligation> obligations;  // in pack and rule order
  std::vector<PackReference> packs;            // all that were active, by id
  std::vector<std::string> missing_inputs;     // paths of facts, sorted
  std::string facts;                           // canonical JSON object; embedded as an object
  std::string facts_digest;                    // SHA-256 of it
  std::string generated_time, decided_time;

  std::string ToJson() const;
  static absl::StatusOr<DecisionStatement> Parse(std::string_view json);
};

struct PolicyPackStatement {
  std::string project, request_id, id, version, sha256, source_url, document_date, confidence;
  std::string ToJson() const;
  static absl::StatusOr<PolicyPackStatement> Parse(std::string_view json);
};

// A frozen dataset. The manifest is an attachment: canonical JSON
// {"samples":[{"index":…,"leaf_hash":"…","prompt_id":"…","split":"…"},…]} in (split train first, prompt
// index) order.
struct DatasetStatement {
  std::string project, request_id, dataset, job, job_uid, manifest_sha256;
  int64_t train_samples = 0, held_out_samples = 0, excluded_samples = 0;
  std::string ToJson() const;
  static absl::StatusOr<DatasetStatement> Parse(std::string_view json);
};

// One milestone of a training run, or what one attempt at it used. Milestones name the digest before them, so
// a run is a chain; usage entries stand beside it.
struct TrainingStatement {
  std::string project, request_id, job, job_uid;
  std::string run;              // logits or text_only
  std::string phase;            // start, checkpoint, finish; or usage
  int64_t dataset_entry = 0;    // index of the DATASET entry
  std::string manifest_sha256;  // of the training manifest, an attachment of the start entry
  // Of a milestone; not members of a usage statement.
  int64_t step = 0;
  std::string checkpoint_digest;  // of the state after `step` (start: the initial state)
  std::string previous_digest;    // empty at the start
  std::string transcript_digest;  // hash chain over the samples of every step so far
  std::string loss;               // decimal string, empty at the start
  // Of phase usage; not a member of a milestone. Parse also checks it with CheckUsage.
  TrainingUsage usage;

  bool is_milestone() const { return phase != "usage"; }
  std::string ToJson() const;
  static absl::StatusOr<TrainingStatement> Parse(std::string_view json);
};

struct ReleasedFile {
  std::string path, sha256;
  int64_t bytes = 0;
};
struct ReleasedQuality {
  std::string student, kl, agreement, perplexity;  // decimal strings
  int64_t tokens = 0;
};

struct ReleaseStatement {
  std::string project, request_id, job, job_uid, student;
  int64_t dataset_entry = 0, training_entry = 0;  // the run's finish
  std::string checkpoint_digest;                  // of the released state
  std::vector<ReleasedFile> files;                // by path
  std::vector<ReleasedQuality> quality;
  std::vector<DecidedObligation> obligations;  // that the release step found met
  std::string ToJson() const;
  static absl::StatusOr<ReleaseStatement> Parse(std::string_view json);
};

// A key that the log accepts from this entry on, or no longer accepts.
struct KeyStatement {
  std::string project, request_id;
  std::string role;    // log, teacher, policy, jobs, trainer, reviewer
  std::string vkey;    // C2SP vkey
  std::string action;  // add or retire
  std::string ToJson() const;
  static absl::StatusOr<KeyStatement> Parse(std::string_view json);
};

// A person's answer to a decision of "review": approved, datasets to come may hold the sample
// (ledger/sample_rules.h).
struct ReviewStatement {
  std::string project, request_id;
  int64_t subject_entry = 0;   // index of the SAMPLE or DECISION entry
  std::string subject_digest;  // SHA-256 of that entry's decision statement
  std::string verdict;         // approve or reject
  std::string reviewer;        // who: the identity under which the reviewer called
  std::string reason;
  std::string reviewed_time;
  std::string ToJson() const;
  static absl::StatusOr<ReviewStatement> Parse(std::string_view json);
};

// The destruction of one sample's payload key and salt. The entry stays, its proofs verify, the text is gone.
struct ErasureStatement {
  std::string project, request_id;
  int64_t sample_entry = 0;      // index of the SAMPLE entry
  std::string sample_leaf_hash;  // its leaf hash
  std::string reason;
  std::string authority;  // who asked for it, or by which right
  std::string ToJson() const;
  static absl::StatusOr<ErasureStatement> Parse(std::string_view json);
};

// Somebody was let into a method of a service before it was carried out, or was refused. Refusals that are
// alike are counted into one statement, so that a flood of them stays small.
struct AccessStatement {
  std::string project, request_id;
  std::string identity;  // SPIFFE id of the caller; empty when the caller's certificate has none that counts
  std::string method;    // /package.Service/Method, or _OTHER
  std::string resource;  // what an allowed call named; empty for refusals
  std::string decision;  // allow or deny
  std::string reason;    // a value of ErrorReason for deny, empty for allow
  int64_t count = 1;     // calls; 1 for allow
  std::string first_time, last_time;
  std::string ToJson() const;
  // InvalidArgument also when an allowance has a reason or counts more than one call, a refusal has no
  // reason, or last_time is before first_time.
  static absl::StatusOr<AccessStatement> Parse(std::string_view json);
};

}  // namespace retort::ledger

#endif  // LEDGER_STATEMENT_H_
