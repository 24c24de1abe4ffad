#include "services/cli/exit_code.h"

#include "services/edge/status.h"

namespace retort::services {
namespace {

using retort::jobs::v1::Job;

// kExitOk when the reason says nothing beyond its canonical code.
ExitCode CodeOfReason(ErrorReason reason) {
  switch (reason) {
    case POLICY_DENIED:
    case POLICY_REVIEW:
    case SIGNATURE_INVALID:
      return kExitRefused;
    case TEACHER_UNAUTHORISED:
      return kExitForbidden;
    case TEACHER_RATE_LIMITED:
    case TEACHER_TIMEOUT:
    case TEACHER_UNAVAILABLE:
    case LEDGER_UNAVAILABLE:
    case PEER_UNAVAILABLE:
      return kExitUnavailable;
    case LEDGER_CORRUPT:
      return kExitCorrupt;
    case JOB_STATE:
    case ETAG_MISMATCH:
      return kExitConflict;
    default:
      return kExitOk;
  }
}

std::string WhatToDo(const absl::Status& status) {
  switch (ReasonOf(status)) {
    case POLICY_DENIED:
      return "Nothing was sent to the teacher. `retort policy get <pack>` shows the rule and its clause.";
    case POLICY_REVIEW:
      return "A rule wants a fact that is missing or a person's decision. Declare the fact in the job's "
             "`purpose`.";
    case TEACHER_UNAUTHORISED:
      return "Check the teacher's key file or variable in the server's configuration, then `retort job "
             "retry`.";
    case LEDGER_CORRUPT:
      return "Do not restart writers. Keep the data directory and compare it with the last evidence pack.";
    case ALREADY_EXISTS:
      if (MetadataOf(status).contains("job")) {  // a student's name, and the job that holds it
        return "A student keeps its name for ever. Hand the job in again with `retort job create --file FILE "
               "--student "
               "NAME`,\n  or write another `student.name` (and `purpose.name`) into the file.";
      }
      return "Leave --id out, or choose another.";
    case REQUEST_ID_REUSED:
      return "Use a new request id for a new request.";
    case JOB_STATE:
      return "`retort job get` shows the state.";
    case SEPARATION_OF_DUTIES:
      return "Another person must do this: what one identity began, another approves.";
    case SAMPLE_NOT_IN_REVIEW:
      return "`retort sample list JOB --filter 'standing = IN_REVIEW'` shows those that wait for a person.";
    case FILTER_INVALID:
      return "docs/formats/filter.md has the syntax.";
    default:
      break;
  }
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return "Is the server running? `retortd --dev` starts one; --server and --tls-* say which one to use. "
             "A server also "
             "looks unavailable when it refuses the client's certificate.";
    case absl::StatusCode::kDeadlineExceeded:
      return "Try again, or give --timeout a larger number of seconds.";
    case absl::StatusCode::kUnauthenticated:
      return "Use a client certificate that names one SPIFFE id of this deployment: --tls-cert, --tls-key, "
             "--tls-ca.";
    case absl::StatusCode::kPermissionDenied:
      return "An operator grants roles in the server's access file. The answer is the same for what does not "
             "exist.";
    default:
      return "";
  }
}

}  // namespace

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  if (ExitCode code = CodeOfReason(ReasonOf(status)); code != kExitOk) return code;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return kExitUsage;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return kExitForbidden;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
      return kExitConflict;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
      return kExitUnavailable;
    case absl::StatusCode::kDataLoss:
      return kExitCorrupt;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailure;
  }
}

bool HasEnded(const Job& job) {
  return job.state() == Job::STATE_SUCCEEDED || job.state() == Job::STATE_FAILED ||
         job.state() == Job::STATE_CANCELLED;
}

ExitCode ExitCodeOf(const Job& job) {
  if (job.state() == Job::STATE_SUCCEEDED) return kExitOk;
  if (job.state() != Job::STATE_FAILED) return kExitFailure;
  ErrorReason reason = ERROR_REASON_UNSPECIFIED;
  ErrorReason_Parse(job.state_reason(), &reason);
  ExitCode code = CodeOfReason(reason);
  return code == kExitOk ? kExitFailure : code;
}

std::string ErrorText(const absl::Status& status) {
  std::string text = "error: " + std::string(status.message());
  if (ErrorReason reason = ReasonOf(status); reason != ERROR_REASON_UNSPECIFIED) {
    text += " (" + ErrorReason_Name(reason) + ")";
  }
  if (std::string todo = WhatToDo(status); !todo.empty()) text += "\n  " + todo;
  return text;
}

std::string ExitCodeHelp() {
  return "Exit codes\n"
         "    0  done\n"
         "    1  failed\n"
         "    2  the command line or a file that you wrote is wrong\n"
         "    3  verification or policy said no\n"
         "    4  not authenticated, or not allowed\n"
         "    5  not found\n"
         "    6  conflict: something else must change first\n"
         "    7  unreachable or timed out; try again\n"
         "    8  stored data is corrupt\n"
         "  130  interrupted; the job goes on\n"
         "`job watch` and `job create --watch` exit with the outcome of the job.\n";
}

}  // namespace retort::services
