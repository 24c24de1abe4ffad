// Facts as canonical JSON, the form in which decisions carry them, and as typed values, the form in which
// rules read them.
//
// Canonical form: an object with the members of facts.proto by name. What is unset is absent; plain members
// of a present message (declared_by, refusal, finish_reason) are always there; lists and maps are absent when
// empty; times are RFC 3339 in UTC with six fractional digits. Functions are pure; any thread may call them.
#ifndef POLICY_FACTS_H_
#define POLICY_FACTS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/timestamp.pb.h"
#include "retort/policy/v1/facts.pb.h"

namespace retort::policy {

inline constexpr size_t kFactsJsonSizeMax = 32 * 1024;
inline constexpr size_t kFactTextMax = 256;  // bytes; ids, names and globs are far shorter
inline constexpr int kLineageMax = 16;

// Facts may come from a caller, so they are bounded. InvalidArgument naming the path: a text above 256 bytes
// or not UTF-8, a list above 64 elements (lineage: 16), a time outside 0001..9999 or with a fraction finer
// than microseconds, an owned_percent outside 0..100, a negative count, a finding that is unknown or below 1,
// a competition nobody declared.
absl::Status ValidateFacts(const v1::Facts& facts);

// Canonical JSON of valid facts. FactsFromCanonicalJson is its exact inverse:
// FactsToCanonicalJson(FactsFromCanonicalJson(x)) == x for every x that it accepts.
std::string FactsToCanonicalJson(const v1::Facts& facts);

// InvalidArgument: not canonical JSON, above 32 KiB, an unknown or mistyped member (named), or facts that are
// not valid.
absl::StatusOr<v1::Facts> FactsFromCanonicalJson(std::string_view json);

// "2026-01-02T03:04:05.000006Z". `time` must be within years 1 to 9999; digits below microseconds are
// dropped.
std::string FormatTime(const google::protobuf::Timestamp& time);

// The inverse; only that exact form. InvalidArgument otherwise.
absl::StatusOr<google::protobuf::Timestamp> ParseTime(std::string_view text);

// What a fact path names, for conditions.
enum class FactType { kText, kBool, kInteger, kTime, kTextList };

// Null when `path` is no fact; otherwise its type. Paths: teacher.{provider, channel, model, model_answered,
// account_class, account_region, acquired_time, owner_region, owned_percent, modality, extraction_mode},
// student.{kind, distributed, hosted, sold, competition.providers, competition.declared_by,
// monthly_active_users, name, base_model, use}, screening.{refusal, finish_reason, findings.<kind>,
// personal_data, secrets}, generated_time, decided_time, prompt_licence, authorisations.
// screening.personal_data is the sum over email, phone, payment_card and iban; screening.secrets over
// private_key and api_key.
const FactType* FindFactType(std::string_view path);

// The value of one fact; unset is unknown.
struct FactValue {
  bool known = false;
  std::string_view text;  // points into the facts
  bool boolean = false;
  int64_t integer = 0;
  const google::protobuf::Timestamp* time = nullptr;
  const google::protobuf::RepeatedPtrField<std::string>* list = nullptr;
};

// Reads a fact by a path that FindFactType knows; `teacher` stands for teacher.*, so that a teacher of the
// lineage can be read in its place. The result points into both messages.
FactValue ReadFact(const v1::Facts& facts, const v1::TeacherFacts& teacher, std::string_view path);

}  // namespace retort::policy

#endif  // POLICY_FACTS_H_
