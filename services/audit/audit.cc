#include "services/audit/audit.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "policy/obligations.h"
#include "services/audit/decision_auditor.h"
#include "student/export/hugging_face.h"

namespace retort::services {
namespace {

constexpr size_t kReleaseTextBytesMax = size_t{1} << 20;

void CountDecision(const ledger::DecisionStatement& decision, bool sample, AuditReport& report) {
  if (!sample && decision.subject_kind == "sample")
    return;  // a later decision about a sample that is counted already
  if (decision.effect == "allow") {
    ++(sample ? report.samples_allowed : report.jobs_allowed);
  } else if (decision.effect == "review") {
    ++(sample ? report.samples_review : report.jobs_review);
  } else {
    ++(sample ? report.samples_denied : report.jobs_denied);
  }
}

void AddFinding(ledger::VerifyReport& report, std::string where, std::string what) {
  if (report.findings.size() >= ledger::kFindingsMax) {
    report.more_findings = true;
    return;
  }
  report.findings.push_back({std::move(where), std::move(what)});
}

// The texts of a release in which duties are met. Files are read only after their digests were checked.
std::map<std::string, std::string> ReleaseTexts(const std::string& folder,
                                                const ledger::ReleaseStatement& release) {
  std::map<std::string, std::string> texts;
  for (const auto& file : release.files) {
    const bool text = file.path == "README.md" || file.path == "NOTICE" || file.path == "USE_LIMITS.md" ||
                      file.path.rfind("LICENSE.", 0) == 0;
    if (!text || file.path.find('/') != std::string::npos ||
        file.bytes > static_cast<int64_t>(kReleaseTextBytesMax)) {
      continue;
    }
    std::ifstream in(std::filesystem::path(folder) / "student" / file.path, std::ios::binary);
    std::ostringstream bytes;
    bytes << in.rdbuf();
    texts[file.path] = bytes.str();
  }
  return texts;
}

// The released tensors against the checkpoint that the log holds.
void CheckWeights(const std::string& folder, AuditReport& report) {
  const std::string student = (std::filesystem::path(folder) / "student").string();
  if (auto s = student::VerifyStudent(student, report.release->checkpoint_digest); !s.ok()) {
    AddFinding(report.ledger, "student/", std::string(s.message()));
    return;
  }
  report.ledger.checked.push_back(
      {"student whose tensors are those of the checkpoint that the log holds", 1});
}

// Duties of every allowed sample against the files of the student; returns how many duties there are.
uint64_t CheckDuties(const std::string& folder, const DecisionAuditor& auditor, AuditReport& report) {
  const std::vector<policy::Obligation> duties = auditor.ObligationsOf(report.release->job_uid);
  policy::ReleasePlan plan;
  plan.student_name = report.release->student;
  if (auto slash = plan.student_name.rfind('/'); slash != std::string::npos)
    plan.student_name.erase(0, slash + 1);
  plan.distributed = auditor.UseOf(report.release->job_uid).distributed;
  plan.hosted = auditor.UseOf(report.release->job_uid).hosted;
  plan.files = ReleaseTexts(folder, *report.release);
  for (const auto& unmet : policy::CheckRelease(duties, plan)) {
    AddFinding(report.ledger, "student/",
               "duty of " + unmet.obligation.pack + " rule " + unmet.obligation.rule +
                   " is not met: " + unmet.reason);
  }
  return duties.size();
}

}  // namespace

absl::StatusOr<AuditReport> AuditEvidence(const std::string& folder, std::string_view log_vkey,
                                          const AuditProgress& progress) {
  AuditReport report;
  DecisionAuditor auditor;
  std::vector<std::pair<uint64_t, ledger::ReleaseStatement>> releases;
  uint64_t recomputed = 0;

  ledger::EvidenceVisitor visitor;
  visitor.key = [&](uint64_t index, const ledger::KeyStatement& key) {
    report.keys.push_back({key.role, key.vkey, key.action, index});
    return absl::OkStatus();
  };
  visitor.policy_pack = [&](uint64_t, const ledger::PolicyPackStatement& statement, std::string_view pack) {
    if (auto s = auditor.AddPack(statement, pack); !s.ok()) return s;
    report.packs.push_back(statement);
    return absl::OkStatus();
  };
  visitor.decision = [&](uint64_t, const ledger::DecisionStatement& decision,
                         const ledger::CaptureStatement* capture) {
    CountDecision(decision, capture != nullptr, report);
    if (auto s = auditor.Check(decision, capture); !s.ok()) return s;
    ++recomputed;
    return absl::OkStatus();
  };
  std::vector<AttemptEntry> attempts;
  std::map<uint64_t, std::string> finished_runs;  // by the entry of the finish
  visitor.training = [&](uint64_t index, const ledger::TrainingStatement& training) {
    if (!training.is_milestone()) attempts.push_back({index, training.job_uid, training.run, training.usage});
    if (training.phase == "finish") finished_runs[index] = training.run;
    return absl::OkStatus();
  };
  visitor.release = [&](uint64_t index, const ledger::ReleaseStatement& release) {
    releases.emplace_back(index, release);
    return absl::OkStatus();
  };
  visitor.progress = progress;

  auto verified = ledger::VerifyEvidence(folder, log_vkey, "", visitor);
  if (!verified.ok()) return verified.status();
  report.ledger = *std::move(verified);
  for (auto& [index, release] : releases) {
    if (report.ledger.release_entry == index) report.release = std::move(release);
  }

  const std::string final_run =
      report.release ? finished_runs[static_cast<uint64_t>(report.release->training_entry)] : std::string();
  auto cost = BuildCostReport(std::move(attempts), report.release ? report.release->job_uid : "", final_run);
  if (cost.ok()) {
    report.cost = *std::move(cost);
  } else {
    AddFinding(report.ledger, "usage entries", std::string(cost.status().message()));
  }

  report.ledger.checked.push_back(
      {"decisions computed again from their facts and packs, with the same result", recomputed});
  if (report.release) {
    CheckWeights(folder, report);
    report.ledger.checked.push_back({"duties of the allowed samples looked for in the student's files",
                                     CheckDuties(folder, auditor, report)});
  }
  for (const char* sentence :
       {"that the rules of the packs say what the terms documents say: people read those",
        "that the declarations in the jobs (purpose, competition, distribution) are true",
        "that screening found all personal data: the texts are withheld, so only its signed counts are "
        "here"}) {
    report.ledger.not_checked.push_back(sentence);
  }
  return report;
}

}  // namespace retort::services
