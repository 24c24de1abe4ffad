// What the demo found, for people and for programs.
#ifndef SERVICES_DEMO_SUMMARY_H_
#define SERVICES_DEMO_SUMMARY_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "retort/jobs/v1/jobs.pb.h"

namespace retort::services {

struct DemoSummary {
  int64_t asked = 0, allowed = 0, review = 0, denied = 0, refused_before_sending = 0, failed = 0;
  int64_t ledger_size = 0;
  std::string ledger_root;  // hex
  int64_t parameters = 0, active_parameters = 0, steps = 0;
  std::vector<retort::jobs::v1::Quality> quality;  // untrained, text_only, logits
  double teacher_tokens_per_second = 0, trainer_tokens_per_second = 0;
  std::vector<std::pair<std::string, double>> seconds;      // by stage, in order
  std::vector<std::pair<std::string, std::string>> verify;  // evidence, tampered_entry, …: the verdict line
  std::vector<std::string> unmet;  // expectations that did not hold; empty: the demo succeeded

  // Null when there is no such student.
  const retort::jobs::v1::Quality* QualityOf(const std::string& student) const;

  // One JSON object, indented, with a final newline: samples, ledger, student, quality, speed, seconds,
  // verify, unmet.
  std::string ToJson() const;

  // Tables.
  void Print(std::ostream& out) const;
};

}  // namespace retort::services

#endif  // SERVICES_DEMO_SUMMARY_H_
