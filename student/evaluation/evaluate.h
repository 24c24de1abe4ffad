// How close a student is to its teacher on samples that it never trained on.
//
// Over every completion token of the held-out documents, with the teacher's recorded distribution at that
// position:
//   kl          mean of KL(teacher || student) in nats, over the teacher's top-k and one bucket for the rest
//   agreement   part of the positions where the student's most likely token is the teacher's most likely one
//   perplexity  exp of the mean cross-entropy on the token that the teacher wrote
// Sums are taken in fp64 in document order, so the numbers do not depend on the number of threads.
#ifndef STUDENT_EVALUATION_EVALUATE_H_
#define STUDENT_EVALUATION_EVALUATE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "student/model/model.h"
#include "student/model/parameters.h"
#include "student/training/document.h"

namespace retort::student {

struct Quality {
  double kl = 0;
  double agreement = 0;   // 0 to 1
  double perplexity = 0;  // at least 1
  int64_t tokens = 0;     // positions that were measured
  int64_t distribution_tokens =
      0;  // of those, positions with a teacher distribution; kl and agreement are over these
};

// `model` supplies the working memory, `weights` the student. InvalidArgument when a document is longer than
// the model's context or has ids outside its vocabulary. FailedPrecondition when no document has a teacher
// distribution: there is nothing to compare with.
absl::StatusOr<Quality> Evaluate(Model& model, const ParameterSet& weights,
                                 const std::vector<Document>& documents);

}  // namespace retort::student

#endif  // STUDENT_EVALUATION_EVALUATE_H_
