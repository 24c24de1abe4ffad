// The demo: starts a server, distils a student as any client would, and then tries to cheat the auditor.
//
//   1. a job: extraction, policy, ledger, training, evaluation, release, evidence
//   2. samples with planted personal data: in review, in the ledger, not in the dataset
//   3. a job that policy refuses before anything is sent
//   4. the evidence verified by another process after the server has stopped
//   5. damaged copies of the evidence, each of which must fail, naming what and where
//
// Whatever does not come out as it must is an unmet expectation in the summary, and the demo fails with it.
#ifndef SERVICES_DEMO_DEMO_H_
#define SERVICES_DEMO_DEMO_H_

#include <memory>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/cli/client.h"
#include "services/cli/interrupt.h"
#include "services/demo/child_process.h"
#include "services/demo/summary.h"

namespace retort::services {

struct DemoOptions {
  std::string out = "out/demo";  // what an earlier demo left there is replaced, nothing else
  std::string examples;          // folder of cooking.yaml and refused-openai.yaml
  std::string programs;          // folder of retort and retortd
  std::string project = "default";
};

// One run. One thread; `interrupt` must have been made before anything else started threads.
class Demo {
 public:
  Demo(DemoOptions options, Interrupt& interrupt, std::ostream& out, std::ostream& err);
  ~Demo();

  // Runs all of it, prints as it goes, and leaves in options.out: student/, evidence/, log.vkey,
  // summary.json, server.log. Cancelled after Ctrl-C; FailedPrecondition when an expectation is unmet (each
  // is printed); otherwise the error that ended it. The server is stopped in every case.
  absl::Status Run();

 private:
  absl::Status Prepare();
  absl::Status StartServer();
  absl::StatusOr<retort::jobs::v1::Job> RunJob(const std::string& file);
  absl::Status Distil();
  absl::Status CheckPlanted();
  absl::Status ShowRefusal();
  absl::Status Export();
  absl::Status CheckDataset();
  absl::Status Talk();
  absl::Status VerifyEvidence();
  absl::Status VerifyDamagedCopies();
  absl::StatusOr<std::string> Verdict(const std::string& pack, int* exit_code);
  absl::Status Finish();

  void Title(const std::string& text);
  void Expect(bool holds, const std::string& expectation);
  // Runs a stage and notes how long it took.
  absl::Status Timed(const std::string& stage, absl::Status (Demo::*step)());

  const DemoOptions options_;
  Interrupt& interrupt_;
  std::ostream& out_;
  std::ostream& err_;
  std::unique_ptr<ChildProcess> server_;
  std::unique_ptr<Client> client_;
  retort::jobs::v1::Job job_;  // the one that releases a student
  DemoSummary summary_;
};

}  // namespace retort::services

#endif  // SERVICES_DEMO_DEMO_H_
