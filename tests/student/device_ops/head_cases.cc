#include <algorithm>

#include "student/loss/head.h"
#include "tests/student/device_ops/table.h"

namespace retort::student {
namespace {

struct HeadCase {
  const char* name;
  int rows, vocabulary, teacher_k;
  float ce_weight;
  double spread;  // of the logits
};
// Rows have 0 .. teacher_k entries in turn, the target among them in every other row.
constexpr HeadCase kHeadCases[] = {
    {"two tokens", 3, 2, 1, 0.1f, 3},
    {"no teacher", 5, 77, 0, 1.0f, 5},
    {"odd vocabulary", 12, 1023, 9, 0.1f, 6},
    {"divergence alone", 6, 300, 20, 0.0f, 8},
    {"more entries than threads", 2, 700, 400, 0.3f, 4},
    {"everything is stored", 2, 33, 33, 0.2f, 4},
    {"large vocabulary", 4, 33001, 64, 0.1f, 10},
    {"extreme logits", 4, 500, 6, 0.5f, 80},
};

struct HeadInputs {
  std::vector<float> logits, weights, logprobs, tails;
  std::vector<std::int32_t> rows, targets, counts, ids;
};

HeadInputs InputsOf(const HeadCase& c) {
  const int positions = 2 * c.rows, k = c.teacher_k;
  std::mt19937 random(7);
  HeadInputs in;
  in.logits = Numbers<float>(static_cast<std::size_t>(c.rows) * c.vocabulary, 1, c.spread);
  in.weights = Numbers<float>(positions, 2);
  for (float& weight : in.weights) weight = std::fabs(weight) + 0.1f;
  in.targets.resize(positions);
  in.counts.resize(k > 0 ? positions : 0);
  in.tails.resize(in.counts.size());
  in.ids.assign(static_cast<std::size_t>(positions) * k, 0);
  in.logprobs.assign(in.ids.size(), 0.0f);
  for (int t = 0; t < positions; ++t) {
    in.targets[t] = static_cast<std::int32_t>(random() % c.vocabulary);
    if (k == 0) continue;
    // Distinct ids by a stride that is prime to no vocabulary above except by its own size.
    const int count = in.counts[t] = t % 4 == 3 ? 0 : k - t % std::min(k, 3);
    std::vector<std::int32_t> ids(c.vocabulary);
    for (int i = 0; i < c.vocabulary; ++i) ids[i] = i;
    std::shuffle(ids.begin(), ids.end(), random);
    std::vector<double> q(count + 1);
    double sum = 0;
    for (double& value : q) sum += value = static_cast<double>(random() % 1000 + 1);
    const bool everything = count == c.vocabulary;
    if (everything) sum -= q[count];
    for (int i = 0; i < count; ++i) {
      in.ids[static_cast<std::size_t>(t) * k + i] = ids[i];
      in.logprobs[static_cast<std::size_t>(t) * k + i] = static_cast<float>(std::log(q[i] / sum));
    }
    if (count > 2)
      in.logprobs[static_cast<std::size_t>(t) * k + 1] = -INFINITY;  // a token the teacher rules out
    in.tails[t] = everything ? -INFINITY : static_cast<float>(std::log(q[count] / sum));
    if (count > 0 && t % 2 == 0) in.targets[t] = ids[count / 2];
  }
  for (int row = 0; row < c.rows; ++row) in.rows.push_back(2 * row + row % 2);
  return in;
}

template <typename T>
void HeadCases(Table* table) {
  constexpr double kFactor = 0.01, kFew = 32;
  for (const HeadCase& c : table->Of(kHeadCases)) {
    table->Begin("HeadLoss", NameOf<T>(), c.name);
    const HeadInputs in = InputsOf(c);
    Expected ce, kl, gradient;
    std::vector<double> argmax, row_gradient(c.vocabulary);
    for (int row = 0; row < c.rows; ++row) {
      const std::int32_t t = in.rows[row];
      const std::vector<double> z(in.logits.begin() + static_cast<std::ptrdiff_t>(row) * c.vocabulary,
                                  in.logits.begin() + static_cast<std::ptrdiff_t>(row + 1) * c.vocabulary);
      TeacherRow teacher;
      if (c.teacher_k > 0) {
        teacher = {in.counts[t], in.ids.data() + static_cast<std::size_t>(t) * c.teacher_k,
                   in.logprobs.data() + static_cast<std::size_t>(t) * c.teacher_k, in.tails[t]};
      }
      const double weight = kFactor * in.weights[t], a = teacher.count > 0 ? double{c.ce_weight} : 1.0;
      const TokenLoss loss = plain::MixedLossRow<double>(z.data(), c.vocabulary, in.targets[t], teacher,
                                                         c.ce_weight, weight, row_gradient.data());
      const auto best = std::max_element(z.begin(), z.end());
      argmax.push_back(static_cast<double>(best - z.begin()));
      // A logarithm of a sum of V exponentials, each off by the rounding of its argument.
      const double n = c.vocabulary + 2 * c.spread + kFew;
      double lse = 0;
      for (const double value : z) lse += std::exp(value - *best);
      lse = *best + std::log(lse);
      ce.Add<float>(loss.cross_entropy, n, 1);
      kl.Add<float>(loss.divergence, n, 2);
      std::vector<double> magnitude(c.vocabulary);
      double tail = 0;
      for (int j = 0; j < c.vocabulary; ++j) tail += magnitude[j] = std::exp(z[j] - lse);
      for (int i = 0; i < teacher.count; ++i) tail -= magnitude[teacher.ids[i]];
      const double q_tail = teacher.count > 0 ? std::exp(double{teacher.tail_logprob}) : 0.0;
      for (double& value : magnitude) value *= 1 + (q_tail > 0 ? (1 - a) * q_tail / tail : 0.0);
      for (int i = 0; i < teacher.count; ++i)
        magnitude[teacher.ids[i]] += (1 - a) * std::exp(double{teacher.logprobs[i]});
      magnitude[in.targets[t]] += a;
      for (int j = 0; j < c.vocabulary; ++j) gradient.Add<T>(row_gradient[j], n, weight * magnitude[j]);
    }
    const auto got = table->Twice([&] {
      DeviceArray<float> logits(in.logits), weights(in.weights), logprobs(in.logprobs), tails(in.tails),
          workspace(HeadLossWorkspace(c.rows, c.teacher_k));
      DeviceArray<std::int32_t> rows(in.rows), targets(in.targets), counts(in.counts), ids(in.ids),
          best(c.rows);
      DeviceArray<double> factor(std::vector<double>{kFactor}), cross_entropy(c.rows), divergence(c.rows);
      DeviceArray<T> beside(sizeof(T) == 4 ? 0 : in.logits.size());
      // In place where the types allow.
      T* const d_logits = sizeof(T) == 4 ? reinterpret_cast<T*>(logits.data()) : beside.data();
      const bool teacher = c.teacher_k > 0;
      const DeviceTargets device_targets = {targets.data(),
                                            weights.data(),
                                            c.teacher_k,
                                            teacher ? counts.data() : nullptr,
                                            teacher ? ids.data() : nullptr,
                                            teacher ? logprobs.data() : nullptr,
                                            teacher ? tails.data() : nullptr};
      HeadLoss(TestStream(), logits.data(), c.vocabulary, device_targets, rows.data(), c.rows, c.ce_weight,
               factor.data(), d_logits, {cross_entropy.data(), divergence.data(), best.data()},
               workspace.data());
      DeviceArray<double> sums(std::vector<double>{1, 2, 3, 4, 5});
      SumHeadLosses(TestStream(), device_targets, rows.data(), c.rows, c.ce_weight,
                    {cross_entropy.data(), divergence.data(), nullptr},
                    reinterpret_cast<HeadSums*>(sums.data()));
      return Outputs{cross_entropy.Doubles(), divergence.Doubles(), best.Doubles(),
                     sizeof(T) == 4 ? logits.Doubles() : beside.Doubles(), sums.Doubles()};
    });
    table->Compare("cross_entropy", got[0], ce);
    table->Compare("divergence", got[1], kl);
    table->Require(got[2] == argmax, "argmax differs");
    table->Compare("d_logits", got[3], gradient);

    table->Begin("SumHeadLosses", "", c.name);
    double sums[] = {1, 2, 3, 4, 5};
    for (int row = 0; row < c.rows; ++row) {
      const std::int32_t t = in.rows[row];
      const double weight = in.weights[t], a = c.ce_weight;
      const bool has = c.teacher_k > 0 && in.counts[t] > 0;
      sums[0] += weight;
      sums[1] += has ? weight : 0;
      sums[2] += weight * got[0][row];
      sums[3] += weight * got[1][row];
      sums[4] += weight * (has ? a * got[0][row] + (1 - a) * got[1][row] : got[0][row]);
    }
    Expected expected;
    for (const double sum : sums) {
      expected.want.push_back(sum);
      expected.bound.push_back(1e-12 * std::fabs(sum));
    }
    table->Compare("sums", got[4], expected);
  }
}

// Forward only: no gradient is wanted, and none written.
void ForwardOnlyCase(Table* table) {
  table->Begin("HeadLoss", "float", "forward only");
  const HeadCase& c = kHeadCases[2];
  const HeadInputs in = InputsOf(c);
  const auto run = [&](bool backward) {
    DeviceArray<float> logits(in.logits), weights(in.weights), logprobs(in.logprobs), tails(in.tails),
        workspace(HeadLossWorkspace(c.rows, c.teacher_k)), gradient(in.logits.size());
    DeviceArray<std::int32_t> rows(in.rows), targets(in.targets), counts(in.counts), ids(in.ids);
    DeviceArray<double> factor(std::vector<double>{1.0}), cross_entropy(c.rows), divergence(c.rows);
    HeadLoss<float>(TestStream(), logits.data(), c.vocabulary,
                    {targets.data(), weights.data(), c.teacher_k, counts.data(), ids.data(), logprobs.data(),
                     tails.data()},
                    rows.data(), c.rows, c.ce_weight, factor.data(), backward ? gradient.data() : nullptr,
                    {cross_entropy.data(), divergence.data(), nullptr}, workspace.data());
    return Outputs{cross_entropy.Doubles(), divergence.Doubles()};
  };
  table->Require(run(false) == run(true), "losses differ from those with a gradient");
}

// A logit that is not a number must reach the loss and the gradient, not vanish.
void NotFiniteCase(Table* table) {
  for (const float bad : {NAN, INFINITY}) {
    table->Begin("HeadLoss", "float", "a logit that is not finite");
    std::vector<float> logits = Numbers<float>(600, 1);
    logits[417] = bad;
    const std::vector<std::int32_t> row = {0};
    DeviceArray<float> z(logits), weights(std::vector<float>{1.0f}), workspace(1);
    DeviceArray<std::int32_t> rows(row), targets(row);
    DeviceArray<double> factor(std::vector<double>{1.0}), cross_entropy(1), divergence(1);
    HeadLoss<float>(TestStream(), z.data(), 600,
                    {targets.data(), weights.data(), 0, nullptr, nullptr, nullptr, nullptr}, rows.data(), 1,
                    1.0f, factor.data(), z.data(), {cross_entropy.data(), divergence.data(), nullptr},
                    workspace.data());
    table->Require(!std::isfinite(cross_entropy.Read()[0]), "the loss hides it");
    const auto gradient = z.Read();
    table->Require(std::any_of(gradient.begin(), gradient.end(), [](float g) { return !std::isfinite(g); }),
                   "the gradient hides it");
  }
}

}  // namespace

void RunHeadCases(Table* table) {
  HeadCases<float>(table);
  HeadCases<Bf16>(table);
  ForwardOnlyCase(table);
  NotFiniteCase(table);
}

}  // namespace retort::student
