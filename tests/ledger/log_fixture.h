// A log with keys of every role, and the statements that services would send it.
#ifndef TESTS_LEDGER_LOG_FIXTURE_H_
#define TESTS_LEDGER_LOG_FIXTURE_H_

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ledger/log.h"
#include "ledger/statement.h"

namespace retort::ledger {

// A folder that goes away with its owner.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

std::string ReadWholeFile(const std::string& path);
void WriteWholeFile(const std::string& path, std::string_view bytes);  // makes missing folders

// Keys made from published seeds, so that every run has the same bytes.
struct TestKeys {
  SigningKey log, teacher, policy, jobs, trainer, reviewer;
  static TestKeys Make();
  std::vector<TrustedKey> Trusted() const;
};

inline constexpr char kOrigin[] = "test/demo";
inline constexpr char kProject[] = "projects/demo";
inline constexpr char kJob[] = "projects/demo/jobs/first";
inline constexpr char kJobUid[] = "7a4a1d5e-0000-4000-8000-000000000001";

struct SampleChoice {
  int64_t index = 0;
  int64_t attempt = 1;
  std::string split = "train";
  std::string effect = "allow";
  std::string completion = "a completion";
  std::string job_uid = kJobUid;
};

// Statements of a sample, before signing.
struct SampleParts {
  CaptureStatement capture;
  DecisionStatement decision;
  std::string payload, salt;
};
SampleParts MakeSampleParts(const SampleChoice& choice);
AppendRequest SignSample(const TestKeys& keys, SampleParts parts);
AppendRequest MakeSample(const TestKeys& keys, const SampleChoice& choice);

AppendRequest MakePolicyPack(const TestKeys& keys, const std::string& content);
// A decision that stands alone; `subject` is the hex digest of a capture.
AppendRequest MakeDecision(const TestKeys& keys, const std::string& subject, const std::string& effect,
                           int number);
// A person's answer to the decision statement that entry `entry` holds.
AppendRequest MakeReview(const TestKeys& keys, uint64_t entry, const std::string& decision,
                         const std::string& verdict, int number);
TrainingStatement MakeTraining(uint64_t dataset_entry, const std::string& phase, int64_t step,
                               const std::string& previous_digest);
// What one attempt of that run used: 90 minutes at 2.5 an hour, and 0.5 kWh at 0.3.
TrainingStatement MakeUsage(uint64_t dataset_entry, int64_t attempt);
AppendRequest SignTraining(const TestKeys& keys, const TrainingStatement& statement);
AppendRequest SignRelease(const TestKeys& keys, const ReleaseStatement& statement);
// `count` calls of one method, let in or refused; each number has its own request id.
AccessStatement MakeAccess(const std::string& decision, int64_t count);
AppendRequest SignAccess(const SigningKey& key, const AccessStatement& statement);

inline constexpr char kTrainingManifest[] = "{\"steps\":2}";

// A UUID that is different for each name.
std::string UuidOf(const std::string& name);

// Checkpoint, bundles, leaf hashes and attachments of an evidence pack, without manifest.json and student/.
void WriteEvidence(const Log& log, const std::string& folder);

LogOptions MakeOptions(const TestKeys& keys, const std::string& path);

}  // namespace retort::ledger

#endif  // TESTS_LEDGER_LOG_FIXTURE_H_
