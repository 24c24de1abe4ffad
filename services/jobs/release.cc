#include "services/jobs/release.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/signed_statement.h"
#include "policy/obligations.h"
#include "services/edge/channel.h"
#include "services/edge/status.h"
#include "services/jobs/durable_file.h"
#include "services/jobs/model_card.h"
#include "services/jobs/request_id.h"
#include "services/jobs/training.h"
#include "services/jobs/wire.h"

namespace retort::jobs {
namespace {

namespace fs = std::filesystem;
using LedgerStub = ledger::v1::LedgerService::StubInterface;

constexpr size_t kFilesMax = 1000;  // of one student
constexpr size_t kPieceBytes = 1 << 20;

absl::Status Refused(const fs::path& path, const std::error_code& error) {
  return absl::UnavailableError(path.string() + ": " + error.message());
}

const v1::FinishedRun* ReleasedRun(const v1::JobRecord& record) {
  const std::string wanted = RunsOf(record).front();
  for (const v1::FinishedRun& run : record.finished_runs()) {
    if (run.run() == wanted) return &run;
  }
  return nullptr;
}

std::vector<policy::Obligation> DutiesOf(const v1::JobRecord& record) {
  std::vector<policy::Obligation> duties;
  for (const v1::Obligation& duty : record.obligations())
    duties.push_back(policy::FromStatement(FromProto(duty)));
  return policy::UniteObligations({duties});
}

// The log's origin: the first line of its checkpoint (C2SP tlog-checkpoint).
absl::StatusOr<std::string> LogOrigin(JobContext& job) {
  ledger::v1::GetCheckpointRequest request;
  request.set_name(job.project() + "/ledgers/main");
  auto checkpoint = job.Ask("ledger", *job.place().peers->ledger, &LedgerStub::GetCheckpoint, request);
  if (!checkpoint.ok()) return checkpoint.status();
  return checkpoint->note().substr(0, checkpoint->note().find('\n'));
}

// Texts of the release besides what the trainer exported, or the duty that they do not meet.
absl::StatusOr<std::map<std::string, std::string>> Texts(JobContext& job, const v1::JobRecord& record,
                                                         const v1::FinishedRun& run) {
  auto origin = LogOrigin(job);
  if (!origin.ok()) return origin.status();
  const std::vector<policy::Obligation> duties = DutiesOf(record);
  policy::ReleasePlan plan;
  plan.student_name = record.job().spec().student().name();
  plan.distributed = record.job().spec().purpose().distributed();
  plan.hosted = record.job().spec().purpose().hosted();
  const policy::RequiredNotices notices = policy::NoticesFor(duties, plan);
  plan.files["README.md"] = ModelCard(record, run, *origin, notices.model_card);
  plan.files["NOTICE"] = NoticeFile(record, notices.notice);
  if (!notices.use_limits.empty()) plan.files["USE_LIMITS.md"] = notices.use_limits;
  for (const auto& [path, text] : notices.licence_copies) {
    // The text of a licence is the operator's to supply; a missing one is found unmet below.
    if (auto licence = services::ReadSmallFile((job.place().licences_dir / path).string()); licence.ok()) {
      plan.files[path] = *std::move(licence);
    }
  }
  const std::vector<policy::UnmetObligation> unmet = policy::CheckRelease(duties, plan);
  if (!unmet.empty()) {
    const policy::Obligation& duty = unmet.front().obligation;
    return services::WithReason(
        absl::FailedPreconditionError("the release does not meet " + duty.kind + " of " + duty.pack + " " +
                                      duty.rule + ": " + unmet.front().reason),
        POLICY_DENIED, {{"pack", duty.pack}, {"rule", duty.rule}, {"obligation", duty.kind}});
  }
  return plan.files;
}

// Paths of the regular files under `folder`, relative to it, sorted. Anything else there is refused.
absl::StatusOr<std::vector<std::string>> FilesUnder(const fs::path& folder) {
  std::error_code error;
  std::vector<std::string> paths;
  fs::recursive_directory_iterator row(folder, error), end;
  for (; !error && row != end; row.increment(error)) {
    const fs::file_status status = row->symlink_status(error);
    if (error) break;
    if (fs::is_directory(status)) continue;
    if (!fs::is_regular_file(status)) {
      return absl::FailedPreconditionError(row->path().string() + " is neither a file nor a folder");
    }
    paths.push_back(row->path().lexically_relative(folder).generic_string());
    if (paths.size() > kFilesMax) return absl::ResourceExhaustedError("the student has more than 1000 files");
  }
  if (error) return Refused(folder, error);
  std::sort(paths.begin(), paths.end());
  return paths;
}

absl::StatusOr<ledger::ReleasedFile> Digest(const fs::path& folder, const std::string& path) {
  std::ifstream in(folder / path, std::ios::binary);
  ledger::Sha256Hasher hasher;
  ledger::ReleasedFile file{path, "", 0};
  std::string piece(kPieceBytes, '\0');
  while (in) {
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hasher.Update(std::string_view(piece).substr(0, static_cast<size_t>(in.gcount())));
    file.bytes += in.gcount();
  }
  if (!in.eof()) return absl::UnavailableError((folder / path).string() + " cannot be read");
  file.sha256 = ledger::HexEncode(hasher.Finish());
  return file;
}

// The folder as it will be, made beside its place and moved there whole.
absl::StatusOr<std::vector<ledger::ReleasedFile>> Assemble(const fs::path& exported, const fs::path& target,
                                                           const std::map<std::string, std::string>& texts) {
  std::error_code error;
  const fs::path making = target.parent_path() / ("." + target.filename().string() + ".making");
  fs::remove_all(making, error);
  if (!error) fs::create_directories(making, error);
  if (error) return Refused(making, error);
  auto paths = FilesUnder(exported);
  if (!paths.ok()) return paths.status();
  for (const std::string& path : *paths) {
    fs::create_directories((making / path).parent_path(), error);
    if (!error) fs::copy_file(exported / path, making / path, error);
    if (error) return Refused(making / path, error);
    if (auto synced = Sync(making / path); !synced.ok()) return synced;
  }
  for (const auto& [path, text] : texts) {
    if (auto written = WriteDurably(making / path, text); !written.ok()) return written;
  }
  auto all = FilesUnder(making);
  if (!all.ok()) return all.status();
  std::vector<ledger::ReleasedFile> files;
  for (const std::string& path : *all) {
    auto file = Digest(making, path);
    if (!file.ok()) return file.status();
    files.push_back(*std::move(file));
  }
  fs::remove_all(target, error);  // of an attempt that a crash interrupted
  if (!error) fs::rename(making, target, error);
  if (error) return Refused(target, error);
  if (auto synced = Sync(target.parent_path()); !synced.ok()) return synced;
  return files;
}

ledger::ReleaseStatement StatementOf(JobContext& job, const v1::JobRecord& record, const v1::FinishedRun& run,
                                     std::vector<ledger::ReleasedFile> files) {
  ledger::ReleaseStatement statement;
  statement.project = job.project();
  statement.request_id = MilestoneRequestId("release", record.job().uid());
  statement.job = job.name();
  statement.job_uid = record.job().uid();
  statement.student = job.project() + "/students/" + record.job().spec().student().name();
  statement.dataset_entry = record.job().entries().dataset();
  statement.training_entry = run.entry();
  statement.checkpoint_digest = run.checkpoint_digest();
  statement.files = std::move(files);
  for (const v1::Quality& quality : record.job().quality()) {
    statement.quality.push_back({quality.student(), Decimal(quality.kl()), Decimal(quality.agreement()),
                                 Decimal(quality.perplexity()), quality.tokens()});
  }
  for (const policy::Obligation& duty : DutiesOf(record))
    statement.obligations.push_back(policy::ToStatement(duty));
  return statement;
}

// Files and signed statement, both durable.
absl::StatusOr<v1::JobRecord> Prepare(JobContext& job, const v1::JobRecord& record) {
  const v1::FinishedRun* run = ReleasedRun(record);
  if (run == nullptr) return absl::InternalError("no finished run to release");
  auto texts = Texts(job, record, *run);
  if (!texts.ok()) return texts.status();
  const std::string student = job.project() + "/students/" + record.job().spec().student().name();
  auto files = Assemble(job.place().runs_dir / record.job().uid() / run->run() / "student",
                        StudentFolder(job.place().students_dir, student), *texts);
  if (!files.ok()) return files.status();
  const std::string statement = StatementOf(job, record, *run, *std::move(files)).ToJson();
  return job.Change("the student is ready", [&](v1::JobRecord& stored) {
    *stored.mutable_release() =
        ToProto(ledger::SignStatement(*job.place().key, ledger::StatementType::kRelease, statement));
  });
}

}  // namespace

fs::path StudentFolder(const fs::path& students_dir, const std::string& student) {
  // projects/{project}/students/{student}
  const size_t project = student.find('/') + 1;
  const size_t project_end = student.find('/', project);
  return students_dir / student.substr(project, project_end - project) /
         student.substr(student.rfind('/') + 1);
}

absl::StatusOr<StepEnd> Release(JobContext& job, const v1::JobRecord& read) {
  v1::JobRecord record = read;
  if (!record.has_release()) {
    auto prepared = Prepare(job, record);
    if (!prepared.ok()) return prepared.status();
    record = *std::move(prepared);
  }
  ledger::v1::AppendEntryRequest append;
  append.set_parent(job.project());
  append.set_kind(ledger::v1::ENTRY_KIND_RELEASE);
  *append.add_statements() = record.release();
  auto entry = job.Ask("ledger", *job.place().peers->ledger, &LedgerStub::AppendEntry, append);
  if (!entry.ok()) return entry.status();
  auto changed = job.Change("released", [&](v1::JobRecord& stored) {
    v1::Job& now = *stored.mutable_job();
    now.mutable_entries()->set_release(entry->index());
    now.set_student(job.project() + "/students/" + now.spec().student().name());
    *stored.mutable_release_time() = entry->append_time();
    stored.set_stage(v1::JobRecord::STAGE_DONE);
    // What is in the ledger is released, even when somebody has cancelled meanwhile.
    now.set_state(v1::Job::STATE_SUCCEEDED);
    now.clear_state_reason();
    now.clear_state_message();
  });
  if (!changed.ok()) return changed.status();
  return StepEnd::kNext;
}

}  // namespace retort::jobs
