#include "ledger/verify/internal/entry_auditor.h"

#include <utility>

#include "ledger/dataset_manifest.h"
#include "ledger/hex.h"
#include "ledger/internal/statement_fields.h"
#include "ledger/sample_rules.h"

namespace retort::ledger::internal {
namespace {

absl::Status Wrong(std::string message) {
  return absl::DataLossError(std::move(message));
}

std::string Where(uint64_t index, EntryKind kind) {
  return "entry " + std::to_string(index) + " (" + EntryKindName(kind) + ")";
}

}  // namespace

EntryAuditor::EntryAuditor(VerifyingKey log_key, AttachmentSource attachments, const EvidenceVisitor& visitor,
                           Findings& findings)
    : keys_(std::move(log_key)),
      attachments_(std::move(attachments)),
      visitor_(visitor),
      findings_(findings) {}

void EntryAuditor::Take(uint64_t index, std::string_view leaf, const Digest& leaf_hash) {
  const absl::StatusOr<Entry> entry = ParseEntry(leaf);
  if (!entry.ok()) {
    findings_.Check("entry " + std::to_string(index), entry.status());
    return;
  }
  const std::string where = Where(index, entry->kind);
  if (entry->time_us < last_time_us_) findings_.Add(where, "is older than the entry before it");
  last_time_us_ = entry->time_us;
  if (!findings_.Check(where, CheckStatements(index, *entry))) return;
  absl::Status status;
  switch (entry->kind) {
    case EntryKind::kSample:
      status = TakeSample(index, *entry, leaf_hash);
      break;
    case EntryKind::kPolicyPack:
      status = TakePolicyPack(index, *entry);
      break;
    case EntryKind::kDecision:
      status = TakeDecision(index, *entry);
      break;
    case EntryKind::kReview:
      status = TakeReview(index, *entry);
      break;
    case EntryKind::kDataset:
      status = TakeDataset(index, *entry);
      break;
    case EntryKind::kTraining:
      status = TakeTraining(index, *entry);
      break;
    case EntryKind::kRelease:
      status = TakeRelease(index, *entry);
      break;
    case EntryKind::kKey:
      status = TakeKey(index, *entry);
      break;
    case EntryKind::kErasure:
      status = TakeErasure(index, *entry);
      break;
    case EntryKind::kAccess:
      status = TakeAccess(index, *entry);
      break;
  }
  findings_.Check(where, status);
}

absl::Status EntryAuditor::CheckStatements(uint64_t index, const Entry& entry) {
  const std::vector<StatementType>& types = StatementTypesOf(entry.kind);
  for (size_t i = 0; i < types.size(); ++i) {
    if (absl::Status status = keys_.Check(index, types[i], entry.statements[i]); !status.ok()) return status;
    ++counts_.signatures;
  }
  return absl::OkStatus();
}

absl::Status EntryAuditor::CheckCommon(uint64_t index, const std::string& project,
                                       const std::string& request_id) {
  if (index == 0) project_ = project;
  if (project != project_)
    return Wrong("belongs to project " + Shown(project) + "; the log to " + Shown(project_));
  if (!request_ids_.insert(request_id).second)
    return Wrong("request id " + request_id + " is in an earlier entry too");
  return absl::OkStatus();
}

std::optional<std::string> EntryAuditor::TakeAttachment(const std::string& where, std::string_view what,
                                                        const std::string& sha256) {
  named_attachments_.insert(sha256);
  std::optional<std::string> content = attachments_(sha256);
  if (!content.has_value()) {
    findings_.Add(
        where, "names " + std::string(what) + " " + sha256 + ", which attachments/ does not hold unchanged");
  }
  return content;
}

absl::Status EntryAuditor::TakeSample(uint64_t index, const Entry& entry, const Digest& leaf_hash) {
  const absl::StatusOr<CaptureStatement> capture = CaptureStatement::Parse(entry.statements[0].statement);
  if (!capture.ok()) return capture.status();
  const absl::StatusOr<DecisionStatement> decision = DecisionStatement::Parse(entry.statements[1].statement);
  if (!decision.ok()) return decision.status();
  if (absl::Status s = CheckCommon(index, capture->project, capture->request_id); !s.ok()) return s;
  if (absl::Status s = CheckDecisionIsAbout(entry.statements[0], *capture, *decision); !s.ok()) return s;
  samples_[index] = Sample{.leaf_hash = leaf_hash,
                           .subject = Sha256(entry.statements[0].statement),
                           .prompt_id = capture->prompt_id,
                           .job_uid = capture->job_uid,
                           .effect = decision->effect,
                           .held_out = capture->split == "held_out"};
  ++samples_of_job_[capture->job_uid];
  decision_digests_[index] = Sha256(entry.statements[1].statement);
  ++counts_.decisions;
  return visitor_.decision ? visitor_.decision(index, *decision, &*capture) : absl::OkStatus();
}

absl::Status EntryAuditor::TakePolicyPack(uint64_t index, const Entry& entry) {
  const absl::StatusOr<PolicyPackStatement> pack = PolicyPackStatement::Parse(entry.statements[0].statement);
  if (!pack.ok()) return pack.status();
  if (absl::Status s = CheckCommon(index, pack->project, pack->request_id); !s.ok()) return s;
  const std::optional<std::string> content = TakeAttachment(Where(index, entry.kind), "pack", pack->sha256);
  ++counts_.packs;
  if (!content.has_value() || !visitor_.policy_pack) return absl::OkStatus();
  return visitor_.policy_pack(index, *pack, *content);
}

absl::Status EntryAuditor::TakeDecision(uint64_t index, const Entry& entry) {
  const absl::StatusOr<DecisionStatement> decision = DecisionStatement::Parse(entry.statements[0].statement);
  if (!decision.ok()) return decision.status();
  if (absl::Status s = CheckCommon(index, decision->project, decision->request_id); !s.ok()) return s;
  if (decision->subject_kind == "sample")
    later_decisions_[*DigestFromHex(decision->subject_digest)] = {index, decision->effect};
  decision_digests_[index] = Sha256(entry.statements[0].statement);
  ++counts_.decisions;
  return visitor_.decision ? visitor_.decision(index, *decision, nullptr) : absl::OkStatus();
}

absl::Status EntryAuditor::TakeReview(uint64_t index, const Entry& entry) {
  const absl::StatusOr<ReviewStatement> review = ReviewStatement::Parse(entry.statements[0].statement);
  if (!review.ok()) return review.status();
  if (absl::Status s = CheckCommon(index, review->project, review->request_id); !s.ok()) return s;
  const auto subject = decision_digests_.find(static_cast<uint64_t>(review->subject_entry));
  if (subject == decision_digests_.end() || HexEncode(subject->second) != review->subject_digest) {
    return Wrong("reviews entry " + std::to_string(review->subject_entry) + ", which holds no such decision");
  }
  verdicts_[subject->first] = review->verdict;
  ++counts_.reviews;
  return absl::OkStatus();
}

Standing EntryAuditor::StandingNow(uint64_t index, const Sample& sample) const {
  const auto later = later_decisions_.find(sample.subject);
  const bool own = later == later_decisions_.end();
  const auto verdict = verdicts_.find(own ? index : later->second.first);
  return StandingOf({.own_effect = sample.effect,
                     .newest_effect = own ? sample.effect : later->second.second,
                     .verdict = verdict == verdicts_.end() ? std::string_view() : verdict->second,
                     .erased = sample.erased});
}

absl::Status EntryAuditor::TakeDataset(uint64_t index, const Entry& entry) {
  const std::string where = Where(index, entry.kind);
  const absl::StatusOr<DatasetStatement> dataset = DatasetStatement::Parse(entry.statements[0].statement);
  if (!dataset.ok()) return dataset.status();
  if (absl::Status s = CheckCommon(index, dataset->project, dataset->request_id); !s.ok()) return s;
  datasets_[index] = *dataset;
  const std::optional<std::string> content =
      TakeAttachment(where, "dataset manifest", dataset->manifest_sha256);
  if (!content.has_value()) return absl::OkStatus();
  const absl::StatusOr<DatasetManifest> manifest = DatasetManifest::Parse(*content);
  if (!manifest.ok()) return manifest.status();
  int64_t train = 0;
  for (const ListedSample& listed : manifest->samples) {
    ++counts_.dataset_samples;
    if (!listed.held_out) ++train;
    const std::string subject = "lists entry " + std::to_string(listed.index);
    const auto found = samples_.find(listed.index);
    if (found == samples_.end()) {
      findings_.Add(where, subject + ", which is no verified SAMPLE before it");
      continue;
    }
    const Sample& sample = found->second;
    if (sample.leaf_hash != listed.leaf_hash) findings_.Add(where, subject + " with another leaf hash");
    switch (StandingNow(listed.index, sample)) {
      case Standing::kAdmitted:
        break;
      case Standing::kInReview:
        findings_.Add(where, subject + ", which waits for a review that nobody has given");
        break;
      case Standing::kDenied:
        findings_.Add(where, sample.effect == "deny" ? subject + ", whose decision does not allow it"
                                                     : subject + ", which a later decision revoked");
        break;
      case Standing::kRejected:
        findings_.Add(where, subject + ", which a review rejected");
        break;
      case Standing::kErased:
        findings_.Add(where, subject + ", which was erased");
        break;
    }
    if (sample.job_uid != dataset->job_uid) findings_.Add(where, subject + " of another job");
    if (sample.prompt_id != listed.prompt_id || sample.held_out != listed.held_out) {
      findings_.Add(where, subject + " with another prompt or split");
    }
  }
  const int64_t held_out = static_cast<int64_t>(manifest->samples.size()) - train;
  if (train != dataset->train_samples || held_out != dataset->held_out_samples) {
    return Wrong("says " + std::to_string(dataset->train_samples) + " + " +
                 std::to_string(dataset->held_out_samples) + " samples; its manifest lists " +
                 std::to_string(train) + " + " + std::to_string(held_out));
  }
  const int64_t excluded = samples_of_job_[dataset->job_uid] - static_cast<int64_t>(manifest->samples.size());
  if (excluded != dataset->excluded_samples) {
    return Wrong("says that " + std::to_string(dataset->excluded_samples) +
                 " samples of the job are left out; those before it and not listed are " +
                 std::to_string(excluded));
  }
  return visitor_.dataset ? visitor_.dataset(index, *dataset) : absl::OkStatus();
}

absl::Status EntryAuditor::TakeTraining(uint64_t index, const Entry& entry) {
  const absl::StatusOr<TrainingStatement> training = TrainingStatement::Parse(entry.statements[0].statement);
  if (!training.ok()) return training.status();
  if (absl::Status s = CheckCommon(index, training->project, training->request_id); !s.ok()) return s;
  TakeAttachment(Where(index, entry.kind), "training manifest", training->manifest_sha256);
  const auto dataset = datasets_.find(static_cast<uint64_t>(training->dataset_entry));
  if (dataset == datasets_.end() || dataset->second.job_uid != training->job_uid) {
    return Wrong("trains on entry " + std::to_string(training->dataset_entry) +
                 ", which is no DATASET of its job");
  }
  if (!training->is_milestone()) {
    if (absl::Status s = TakeUsage(*training); !s.ok()) return s;
    return visitor_.training ? visitor_.training(index, *training) : absl::OkStatus();
  }
  ++counts_.milestones;
  const auto [at, fresh] = runs_.try_emplace({training->job_uid, training->run});
  Run& run = at->second;
  if (training->phase == "start") {
    if (!fresh) return Wrong("starts a run that has started before");
    if (!training->previous_digest.empty()) return Wrong("is a start that names a previous state");
    run.manifest_sha256 = training->manifest_sha256;
    run.dataset_entry = training->dataset_entry;
  } else {
    if (fresh) return Wrong("is a " + training->phase + " of a run that has not started");
    if (run.finished) return Wrong("continues a run that has finished");
    if (training->previous_digest != run.last_digest) {
      return Wrong("follows state " + training->previous_digest + "; the run stands at " + run.last_digest);
    }
    if (training->manifest_sha256 != run.manifest_sha256 || training->dataset_entry != run.dataset_entry) {
      return Wrong("has another manifest or dataset than the start of its run");
    }
    if (training->step < run.last_step) return Wrong("goes back in steps");
  }
  run.last_digest = training->checkpoint_digest;
  run.last_step = training->step;
  if (training->phase == "finish") {
    run.finished = true;
    finishes_[index] = *training;
  }
  return visitor_.training ? visitor_.training(index, *training) : absl::OkStatus();
}

// Attempts are numbered without gaps, so an attempt whose cost was left out shows, unless it was the last.
absl::Status EntryAuditor::TakeUsage(const TrainingStatement& training) {
  int64_t& attempts = attempts_[{training.job_uid, training.run}];
  if (training.usage.attempt != attempts + 1) {
    return Wrong("tells what attempt " + std::to_string(training.usage.attempt) + " used; wanted attempt " +
                 std::to_string(attempts + 1) + " of its run");
  }
  attempts = training.usage.attempt;
  ++counts_.attempts;
  return absl::OkStatus();
}

absl::Status EntryAuditor::TakeRelease(uint64_t index, const Entry& entry) {
  const absl::StatusOr<ReleaseStatement> release = ReleaseStatement::Parse(entry.statements[0].statement);
  if (!release.ok()) return release.status();
  if (absl::Status s = CheckCommon(index, release->project, release->request_id); !s.ok()) return s;
  releases_[index] = *release;
  const auto finish = finishes_.find(static_cast<uint64_t>(release->training_entry));
  if (finish == finishes_.end() || finish->second.job_uid != release->job_uid) {
    return Wrong("releases entry " + std::to_string(release->training_entry) +
                 ", which is no finish of its job");
  }
  if (finish->second.dataset_entry != release->dataset_entry) {
    return Wrong("names dataset entry " + std::to_string(release->dataset_entry) +
                 "; the run was trained on " + std::to_string(finish->second.dataset_entry));
  }
  if (finish->second.checkpoint_digest != release->checkpoint_digest) {
    return Wrong("releases state " + release->checkpoint_digest + "; the run finished at " +
                 finish->second.checkpoint_digest);
  }
  return visitor_.release ? visitor_.release(index, *release) : absl::OkStatus();
}

absl::Status EntryAuditor::TakeKey(uint64_t index, const Entry& entry) {
  const absl::StatusOr<KeyStatement> key = KeyStatement::Parse(entry.statements[0].statement);
  if (!key.ok()) return key.status();
  if (absl::Status s = CheckCommon(index, key->project, key->request_id); !s.ok()) return s;
  if (absl::Status s = keys_.Register(index, *key); !s.ok()) return s;
  return visitor_.key ? visitor_.key(index, *key) : absl::OkStatus();
}

absl::Status EntryAuditor::TakeErasure(uint64_t index, const Entry& entry) {
  const absl::StatusOr<ErasureStatement> erasure = ErasureStatement::Parse(entry.statements[0].statement);
  if (!erasure.ok()) return erasure.status();
  if (absl::Status s = CheckCommon(index, erasure->project, erasure->request_id); !s.ok()) return s;
  const auto sample = samples_.find(static_cast<uint64_t>(erasure->sample_entry));
  if (sample == samples_.end() || HexEncode(sample->second.leaf_hash) != erasure->sample_leaf_hash) {
    return Wrong("erases entry " + std::to_string(erasure->sample_entry) + ", which is no such SAMPLE");
  }
  if (sample->second.erased) return Wrong("erases a sample that was erased before");
  sample->second.erased = true;
  return absl::OkStatus();
}

absl::Status EntryAuditor::TakeAccess(uint64_t index, const Entry& entry) {
  const absl::StatusOr<AccessStatement> access = AccessStatement::Parse(entry.statements[0].statement);
  if (!access.ok()) return access.status();
  ++counts_.accesses;
  return CheckCommon(index, access->project, access->request_id);
}

}  // namespace retort::ledger::internal
