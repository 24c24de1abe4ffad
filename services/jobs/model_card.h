// README.md and NOTICE of a released student: what it is, what it was made from, and where the proof is.
// Pure, and the same bytes for the same record, so that a release which a crash interrupted is made again as
// it was.
#ifndef SERVICES_JOBS_MODEL_CARD_H_
#define SERVICES_JOBS_MODEL_CARD_H_

#include <string>

#include "retort/jobs/v1/job_record.pb.h"

namespace retort::jobs {

// The shortest decimal without exponent that reads back as `value`, which is finite: as statements and cards
// show numbers.
std::string Decimal(double value);

// Markdown with Hugging Face front matter. `log_origin` names the project's log; `released_run` is one of the
// record's finished runs; `duties` is Markdown that the terms ask for, or empty.
std::string ModelCard(const v1::JobRecord& record, const v1::FinishedRun& released_run,
                      const std::string& log_origin, const std::string& duties);

// The NOTICE file: who taught the student, and the notices that the terms ask for.
std::string NoticeFile(const v1::JobRecord& record, const std::string& notices);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_MODEL_CARD_H_
