#include "services/cli/evidence_export.h"

#include <optional>

#include "ledger/verify/pack_manifest.h"
#include "services/cli/received_folder.h"

namespace retort::services {
namespace {

FileSink Into(ReceivedFolder& folder, std::string prefix) {
  return
      [&folder, prefix = std::move(prefix)](const std::string& path, const std::string& content, bool last) {
        return folder.Write(prefix, path, content, last);
      };
}

}  // namespace

absl::Status ExportEvidencePack(Client& client, const std::string& project, const std::string& job,
                                const std::string& out) {
  std::string student;
  std::optional<uint64_t> release_entry;
  if (!job.empty()) {
    retort::jobs::v1::GetJobRequest request;
    request.set_name(job);
    auto found = client.Call(client.jobs(), &Client::Jobs::Stub::GetJob, request);
    if (!found.ok()) return found.status();
    if (found->student().empty() || !found->has_entries() || found->entries().release() < 0) {
      return absl::FailedPreconditionError(
          job + " has released no student: export without --job for the log alone");
    }
    student = found->student();
    release_entry = static_cast<uint64_t>(found->entries().release());
  }
  auto folder = ReceivedFolder::Create(out);
  if (!folder.ok()) return folder.status();
  if (auto s = ReceiveEvidence(client, "projects/" + project + "/ledgers/main", Into(**folder, "")); !s.ok())
    return s;
  if (!student.empty()) {
    if (auto s = ReceiveStudent(client, student, Into(**folder, "student/")); !s.ok()) return s;
  }
  if (auto s = ledger::WritePackManifest((*folder)->temporary(), release_entry); !s.ok()) return s;
  return (*folder)->Finish();
}

absl::Status DownloadStudentFolder(Client& client, const std::string& student, const std::string& out) {
  auto folder = ReceivedFolder::Create(out);
  if (!folder.ok()) return folder.status();
  if (auto s = ReceiveStudent(client, student, Into(**folder, "")); !s.ok()) return s;
  return (*folder)->Finish();
}

}  // namespace retort::services
