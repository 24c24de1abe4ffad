#include "student/evaluation/evaluate.h"

#include <cmath>
#include <string>

#include "absl/status/status.h"
#include "student/formats/message.h"
#include "student/training/row_stream.h"

namespace retort::student {
namespace {

constexpr size_t kBatchPositions =
    4096;  // forwarded together; a token's numbers do not depend on its neighbours

struct Sums {
  double cross_entropy = 0, divergence = 0;
  int64_t tokens = 0, with_teacher = 0, agreeing = 0;

  void Add(const PackedBatch& batch, const std::vector<TokenEvaluation>& evaluations) {
    for (size_t t = 0; t < evaluations.size(); ++t) {
      if (batch.weights[t] == 0) continue;
      const TokenEvaluation& evaluation = evaluations[t];
      cross_entropy += evaluation.cross_entropy;
      ++tokens;
      if (!evaluation.has_teacher) continue;
      divergence += evaluation.divergence;
      ++with_teacher;
      if (evaluation.agrees_with_teacher) ++agreeing;
    }
  }
};

}  // namespace

absl::StatusOr<Quality> Evaluate(Model& model, const ParameterSet& weights,
                                 const std::vector<Document>& documents) {
  const ModelConfig& config = model.config();
  Sums sums;
  std::vector<RowPiece> pieces;
  size_t positions = 0;
  const auto measure = [&]() -> absl::Status {
    if (pieces.empty()) return absl::OkStatus();
    const PackedBatch batch = MakeBatch(documents, pieces, /*with_teacher=*/true);
    if (const std::string problem = ValidateBatch(config, batch); !problem.empty()) {
      return absl::InvalidArgumentError(Message("held-out documents: ", problem));
    }
    sums.Add(batch, model.Evaluate(weights, batch));
    pieces.clear();
    positions = 0;
    return absl::OkStatus();
  };
  for (uint32_t d = 0; d < documents.size(); ++d) {
    const auto length = static_cast<uint32_t>(documents[d].tokens.size() - 1);
    if (length > static_cast<uint32_t>(config.context)) {
      return absl::InvalidArgumentError(Message("sample at leaf ", documents[d].leaf_index, ": ", length,
                                                " positions; wanted at most the context, ", config.context));
    }
    if (positions + length > kBatchPositions) {
      if (auto status = measure(); !status.ok()) return status;
    }
    pieces.push_back({d, 0, length});
    positions += length;
  }
  if (auto status = measure(); !status.ok()) return status;
  if (sums.with_teacher == 0) {
    return absl::FailedPreconditionError(
        "no held-out sample has a teacher distribution; there is nothing to compare with");
  }
  Quality quality;
  quality.kl = sums.divergence / static_cast<double>(sums.with_teacher);
  quality.agreement = static_cast<double>(sums.agreeing) / static_cast<double>(sums.with_teacher);
  quality.perplexity = std::exp(sums.cross_entropy / static_cast<double>(sums.tokens));
  quality.tokens = sums.tokens;
  quality.distribution_tokens = sums.with_teacher;
  return quality;
}

}  // namespace retort::student
