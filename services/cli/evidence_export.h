// Makes an evidence pack out of what a server streams.
#ifndef SERVICES_CLI_EVIDENCE_EXPORT_H_
#define SERVICES_CLI_EVIDENCE_EXPORT_H_

#include <string>

#include "absl/status/status.h"
#include "services/cli/client.h"

namespace retort::services {

// Writes the log of projects/{project} into the new folder `out`, with the student of `job` (a full name;
// empty for the log alone), and its manifest. The folder appears when it is complete; the same log and
// student give the same bytes. AlreadyExists when `out` is there; FailedPrecondition when the job has
// released no student; errors of the calls.
absl::Status ExportEvidencePack(Client& client, const std::string& project, const std::string& job,
                                const std::string& out);

// Downloads the files of projects/{project}/students/{student} into the new folder `out`. Errors as above.
absl::Status DownloadStudentFolder(Client& client, const std::string& student, const std::string& out);

}  // namespace retort::services

#endif  // SERVICES_CLI_EVIDENCE_EXPORT_H_
