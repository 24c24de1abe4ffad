#include "services/policy/policy_revisions.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "ledger/digest.h"
#include "ledger/uuid.h"
#include "services/edge/status.h"
#include "services/identity/separation.h"
#include "services/storage/row_store.h"

namespace retort::services {

using policy::LoadedPack;
using policy::PackSet;
using policy::v1::PolicyRevision;

namespace {

constexpr size_t kIdDigits = 16;  // of a SHA-256: enough for the revisions of one policy
constexpr size_t kSha256Bytes = 32;

std::string RevisionRow(const std::string& name) {
  return "revision/" + name;
}
std::string ActiveRow(const std::string& project, const std::string& policy) {
  return "active/" + project + "/" + policy;
}
std::string RequestRow(const std::string& project, const PolicyRequestKey& key) {
  return "request/" + project + "/" + key.method + "/" + key.id;
}
std::string ProjectOf(const std::string& name) {
  return name.substr(0, name.find("/policies/"));
}
// projects/p/policies/y[/revisions/r] -> y
std::string PolicyOf(const std::string& name) {
  const std::string rest = name.substr(name.find("/policies/") + 10);
  return rest.substr(0, rest.find('/'));
}

absl::Status Invalid(absl::StatusCode code, const absl::Status& why) {
  return WithReason(absl::Status(code, std::string(why.message())), POLICY_INVALID);
}

void Bump(PolicyRevision& revision) {
  const std::string& etag = revision.etag();
  const int number = etag.size() > 2 ? std::stoi(etag.substr(1, etag.size() - 2)) : 0;
  revision.set_etag("\"" + std::to_string(number + 1) + "\"");
}

}  // namespace

struct PolicyRevisions::Impl {
  Clock clock;
  PackSet shipped;
  std::shared_ptr<const PackSet> shipped_set;
  std::unique_ptr<RowStore> rows;
  mutable std::mutex mutex;  // one change at a time; guards the maps
  std::map<std::string, std::shared_ptr<const PackSet>>
      sets;  // by project; only those that activated something
  std::map<std::string, std::map<std::string, std::string>> active;  // project, policy: name of the revision

  google::protobuf::Timestamp Now() const {
    return google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(
        std::chrono::duration_cast<std::chrono::microseconds>(clock().time_since_epoch()).count());
  }

  absl::StatusOr<PolicyRevision> Read(const std::string& name) const {
    auto bytes = rows->Get(RevisionRow(name));
    if (!bytes.ok()) return bytes.status();
    if (!bytes->has_value())
      return WithReason(absl::NotFoundError("there is no revision " + name), NOT_FOUND, {{"name", name}});
    PolicyRevision revision;
    if (!revision.ParseFromString(**bytes))
      return absl::DataLossError("revision " + name + " does not parse");
    return revision;
  }

  // The shipped packs, with the given revisions in their place.
  absl::StatusOr<std::shared_ptr<const PackSet>> Compose(
      const std::map<std::string, std::string>& revisions) const {
    std::vector<std::pair<std::string, std::string>> packs;
    for (const LoadedPack& pack : shipped.packs()) {
      if (revisions.count(pack.pack().id()) == 0) packs.emplace_back(pack.pack().id(), pack.bytes());
    }
    for (const auto& [policy, name] : revisions) {
      auto revision = Read(name);
      if (!revision.ok()) return revision.status();
      packs.emplace_back(name, revision->yaml());
    }
    auto set = PackSet::FromPacks(std::move(packs));
    if (!set.ok()) return set.status();
    return std::make_shared<const PackSet>(*std::move(set));
  }

  // The first answer to a request id: the revision's name; empty for a new request.
  absl::StatusOr<std::string> AnswerOf(const std::string& project, const PolicyRequestKey& key) const {
    if (key.id.empty()) return std::string();
    auto bytes = rows->Get(RequestRow(project, key));
    if (!bytes.ok()) return bytes.status();
    if (!bytes->has_value()) return std::string();
    if ((*bytes)->substr(0, kSha256Bytes) != key.sha256) {
      return WithReason(
          absl::InvalidArgumentError("request_id: " + key.id + " was used before with another body"),
          REQUEST_ID_REUSED, {{"request_id", key.id}});
    }
    return (*bytes)->substr(kSha256Bytes);
  }

  void PutAnswer(const std::string& project, const PolicyRequestKey& key, const std::string& name,
                 RowStore::Batch& batch) const {
    if (!key.id.empty()) batch.Put(RequestRow(project, key), key.sha256 + name);
  }
};

PolicyRevisions::PolicyRevisions(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PolicyRevisions::~PolicyRevisions() = default;

absl::StatusOr<std::unique_ptr<PolicyRevisions>> PolicyRevisions::Open(const std::filesystem::path& folder,
                                                                       PackSet shipped, Clock clock) {
  auto rows = RowStore::Open(folder, "policy database");
  if (!rows.ok()) return rows.status();
  auto impl = std::make_unique<Impl>();
  impl->clock = std::move(clock);
  impl->shipped_set = std::make_shared<const PackSet>(shipped);
  impl->shipped = std::move(shipped);
  impl->rows = *std::move(rows);
  auto status = impl->rows->Scan("active/", "", [&](std::string_view, std::string_view value) {
    const std::string name(value);
    impl->active[ProjectOf(name)][PolicyOf(name)] = name;
    return true;
  });
  if (!status.ok()) return status;
  for (const auto& [project, revisions] : impl->active) {
    auto set = impl->Compose(revisions);
    if (absl::IsInvalidArgument(set.status())) {
      return absl::FailedPreconditionError(
          "the revisions that " + project +
          " activated do not fit the shipped packs: " + std::string(set.status().message()));
    }
    if (!set.ok()) return set.status();
    impl->sets[project] = *std::move(set);
  }
  return std::unique_ptr<PolicyRevisions>(new PolicyRevisions(std::move(impl)));
}

std::shared_ptr<const PackSet> PolicyRevisions::ActiveFor(const std::string& project) const {
  std::lock_guard lock(impl_->mutex);
  const auto own = impl_->sets.find(project);
  return own == impl_->sets.end() ? impl_->shipped_set : own->second;
}

std::string PolicyRevisions::ActiveRevision(const std::string& project, const std::string& policy) const {
  std::lock_guard lock(impl_->mutex);
  const auto own = impl_->active.find(project);
  if (own == impl_->active.end()) return "";
  const auto revision = own->second.find(policy);
  return revision == own->second.end() ? "" : revision->second;
}

absl::StatusOr<PolicyRevision> PolicyRevisions::Create(const std::string& parent, const std::string& yaml,
                                                       const std::string& author, const PolicyRequestKey& key,
                                                       bool validate_only) {
  const std::string project = ProjectOf(parent), policy = PolicyOf(parent);
  auto pack = LoadedPack::Parse("policy_revision.yaml", yaml);
  if (!pack.ok()) return Invalid(absl::StatusCode::kInvalidArgument, pack.status());
  if (pack->pack().id() != policy)
    return WithReason(
        InvalidField("policy_revision.yaml", "id " + pack->pack().id(), "the id of the parent, " + policy),
        POLICY_INVALID);
  std::lock_guard lock(impl_->mutex);
  auto answered = impl_->AnswerOf(project, key);
  if (!answered.ok()) return answered.status();
  if (!answered->empty()) return impl_->Read(*answered);
  auto others = List(parent);
  if (!others.ok()) return others.status();
  if (others->size() >= kRevisionsMax)
    return WithReason(
        absl::ResourceExhaustedError(parent + " has " + std::to_string(kRevisionsMax) + " revisions"),
        LIMIT_EXCEEDED);
  for (const PolicyRevision& other : *others) {
    if (other.version() != pack->pack().version()) continue;
    const bool same = other.sha256() == pack->sha256();
    return WithReason(
        absl::AlreadyExistsError(other.name() + (same ? " has these bytes"
                                                      : " has version " + other.version() +
                                                            " with other bytes; raise the version")),
        ALREADY_EXISTS, {{"name", other.name()}});
  }
  PolicyRevision revision;
  revision.set_name(parent + "/revisions/r" + pack->sha256().substr(0, kIdDigits));
  revision.set_uid(ledger::UuidFromDigest(ledger::Sha256("retort/revision/v1\n" + revision.name())));
  *revision.mutable_create_time() = impl_->Now();
  *revision.mutable_update_time() = revision.create_time();
  revision.set_state(PolicyRevision::STATE_DRAFT);
  revision.set_yaml(yaml);
  revision.set_sha256(pack->sha256());
  revision.set_version(pack->pack().version());
  revision.set_title(pack->pack().title());
  revision.set_author(author);
  revision.set_entry(-1);
  Bump(revision);
  if (validate_only) return revision;
  RowStore::Batch batch;
  batch.Put(RevisionRow(revision.name()), revision.SerializeAsString());
  impl_->PutAnswer(project, key, revision.name(), batch);
  if (auto written = impl_->rows->Write(batch); !written.ok()) return written;
  return revision;
}

absl::StatusOr<PolicyRevision> PolicyRevisions::Get(const std::string& name) const {
  return impl_->Read(name);
}

absl::StatusOr<std::vector<PolicyRevision>> PolicyRevisions::List(const std::string& parent) const {
  std::vector<PolicyRevision> revisions;
  bool parses = true;
  auto status = impl_->rows->Scan(
      RevisionRow(parent + "/revisions/"), "", [&](std::string_view, std::string_view value) {
        PolicyRevision revision;
        parses = revision.ParseFromArray(value.data(), static_cast<int>(value.size()));
        revision.clear_yaml();
        revisions.push_back(std::move(revision));
        return parses;
      });
  if (!status.ok()) return status;
  if (!parses) return absl::DataLossError("a revision of " + parent + " does not parse");
  std::sort(revisions.begin(), revisions.end(), [](const PolicyRevision& a, const PolicyRevision& b) {
    const auto key = [](const PolicyRevision& r) {
      return std::make_pair(google::protobuf::util::TimeUtil::TimestampToMicroseconds(r.create_time()),
                            r.name());
    };
    return key(a) < key(b);
  });
  return revisions;
}

absl::StatusOr<PolicyRevision> PolicyRevisions::Activate(const std::string& name, const std::string& etag,
                                                         const std::string& actor,
                                                         const PolicyRequestKey& key, bool validate_only,
                                                         const Enter& enter) {
  const std::string project = ProjectOf(name), policy = PolicyOf(name);
  std::lock_guard lock(impl_->mutex);
  auto answered = impl_->AnswerOf(project, key);
  if (!answered.ok()) return answered.status();
  auto revision = impl_->Read(name);
  if (!revision.ok() || !answered->empty()) return revision;
  if (auto apart = CheckMayActivate(actor, revision->author(), name); !apart.ok()) return apart;
  if (!etag.empty() && etag != revision->etag()) {
    return WithReason(
        absl::AbortedError("etag: saw " + etag.substr(0, 64) + ", the newest is " + revision->etag()),
        ETAG_MISMATCH, {{"etag", revision->etag()}});
  }
  if (revision->state() == PolicyRevision::STATE_ACTIVE) {
    return WithReason(absl::FailedPreconditionError(name + " is STATE_ACTIVE already"), REVISION_STATE,
                      {{"name", name}});
  }
  auto revisions = impl_->active[project];
  const std::string before = revisions.count(policy) ? revisions[policy] : "";
  revisions[policy] = name;
  auto set = impl_->Compose(revisions);
  if (absl::IsInvalidArgument(set.status()))
    return Invalid(absl::StatusCode::kFailedPrecondition, set.status());
  if (!set.ok()) return set.status();
  if (validate_only) return revision;

  auto entry = enter(*revision);
  if (!entry.ok()) return entry.status();
  revision->set_state(PolicyRevision::STATE_ACTIVE);
  revision->set_activator(actor);
  *revision->mutable_activate_time() = impl_->Now();
  *revision->mutable_update_time() = revision->activate_time();
  revision->set_entry(*entry);
  Bump(*revision);
  RowStore::Batch batch;
  batch.Put(RevisionRow(name), revision->SerializeAsString());
  if (!before.empty()) {
    auto former = impl_->Read(before);
    if (!former.ok()) return former.status();
    former->set_state(PolicyRevision::STATE_SUPERSEDED);
    *former->mutable_update_time() = revision->update_time();
    Bump(*former);
    batch.Put(RevisionRow(before), former->SerializeAsString());
  }
  batch.Put(ActiveRow(project, policy), name);
  impl_->PutAnswer(project, key, name, batch);
  if (auto written = impl_->rows->Write(batch); !written.ok()) return written;
  impl_->active[project] = std::move(revisions);
  impl_->sets[project] = *std::move(set);
  return revision;
}

const std::string& PolicyRevisions::token_key() const {
  return impl_->rows->token_key();
}

}  // namespace retort::services
