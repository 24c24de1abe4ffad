// The packs that decide in each project: those that the operator ships to every project, and in their place
// the revisions that the project has activated.
//
//   auto revisions = PolicyRevisions::Open(data_dir / "policy", packs, clock);
//   std::shared_ptr<const policy::PackSet> active = (*revisions)->ActiveFor("projects/p");
//
// A revision's text never changes. Every change is one synced write with the request id that caused it.
// Thread-safe; a set that was handed out stays as it is.
#ifndef SERVICES_POLICY_POLICY_REVISIONS_H_
#define SERVICES_POLICY_POLICY_REVISIONS_H_

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "policy/pack.h"
#include "retort/policy/v1/policy.pb.h"

namespace retort::services {

inline constexpr int kRevisionsMax = 1000;  // of one policy in one project

// Identifies a mutating request, so that its repeat gives the first answer.
struct PolicyRequestKey {
  std::string method;
  std::string id;      // UUID, or empty
  std::string sha256;  // of the request without its id, 32 bytes
};

class PolicyRevisions {
 public:
  using Clock = std::function<std::chrono::system_clock::time_point()>;

  // Opens or makes the state. `shipped` holds for every project. Errors of RowStore::Open; DataLoss when a
  // stored row cannot be read; FailedPrecondition when the revisions that a project activated no longer fit
  // the shipped packs, which names both: the operator must put back what they need.
  static absl::StatusOr<std::unique_ptr<PolicyRevisions>> Open(const std::filesystem::path& folder,
                                                               policy::PackSet shipped, Clock clock);
  ~PolicyRevisions();

  // Never null.
  std::shared_ptr<const policy::PackSet> ActiveFor(const std::string& project) const;

  // The name of the revision that decides as this policy in the project; empty when it is a shipped pack or
  // none.
  std::string ActiveRevision(const std::string& project, const std::string& policy) const;

  // Keeps a revision of projects/{project}/policies/{policy}. InvalidArgument: POLICY_INVALID for a pack that
  // is wrong or has another id, REQUEST_ID_REUSED. AlreadyExists: the bytes are there, or the version with
  // other bytes. ResourceExhausted: kRevisionsMax. With `validate_only` nothing is kept.
  absl::StatusOr<policy::v1::PolicyRevision> Create(const std::string& parent, const std::string& yaml,
                                                    const std::string& author, const PolicyRequestKey& key,
                                                    bool validate_only);

  // NotFound.
  absl::StatusOr<policy::v1::PolicyRevision> Get(const std::string& name) const;

  // All of a policy, oldest first, without text.
  absl::StatusOr<std::vector<policy::v1::PolicyRevision>> List(const std::string& parent) const;

  // Enters the POLICY_PACK of a revision into the project's log and returns its index; called with the whole
  // revision.
  using Enter = std::function<absl::StatusOr<int64_t>(const policy::v1::PolicyRevision&)>;

  // Makes a revision the one that decides, once `enter` has succeeded. PermissionDenied
  // (SEPARATION_OF_DUTIES) for its author; Aborted (ETAG_MISMATCH); FailedPrecondition: REVISION_STATE when
  // it is active, POLICY_INVALID when the packs of the project would not hold together; InvalidArgument with
  // REQUEST_ID_REUSED; the errors of `enter`.
  absl::StatusOr<policy::v1::PolicyRevision> Activate(const std::string& name, const std::string& etag,
                                                      const std::string& actor, const PolicyRequestKey& key,
                                                      bool validate_only, const Enter& enter);

  // Seals page tokens that survive a restart.
  const std::string& token_key() const;

 private:
  struct Impl;
  explicit PolicyRevisions(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::services

#endif  // SERVICES_POLICY_POLICY_REVISIONS_H_
