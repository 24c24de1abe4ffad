#include <algorithm>

#include "student/ops/dispatch.h"
#include "student/ops/router.h"
#include "tests/student/device_ops/table.h"

namespace retort::student {
namespace {

constexpr double kRoundings = 16;

enum class Logits {
  kRandom,  // margins far above rounding, but for a few
  kTied,    // five values, so that most choices are ties
  kOneTakesAll,
  kFirstHalf,  // the other experts stay empty
};

struct RouterCase {
  const char* name;
  int tokens;
  RouterShape shape;
  Logits logits;
};
constexpr RouterCase kRouterCases[] = {
    {"one token", 1, {8, 2, 1, 1, 2.5f, true}, Logits::kRandom},
    {"ties in groups", 67, {64, 6, 8, 3, 2.5f, true}, Logits::kTied},
    {"groups", 130, {64, 8, 8, 4, 2.5f, true}, Logits::kRandom},
    {"one expert", 5, {1, 1, 1, 1, 1.0f, true}, Logits::kRandom},
    {"k = E", 9, {6, 6, 1, 1, 1.0f, true}, Logits::kRandom},
    {"ties", 67, {64, 6, 1, 1, 1.0f, true}, Logits::kTied},
    {"groups of one", 33, {8, 3, 8, 4, 1.0f, false}, Logits::kRandom},
    {"one takes all", 70, {40, 3, 1, 1, 1.0f, true}, Logits::kOneTakesAll},
    {"empty experts", 300, {40, 3, 1, 1, 1.0f, false}, Logits::kFirstHalf},
    {"many experts", 21, {1024, 8, 1, 1, 2.5f, true}, Logits::kRandom},
    {"DeepSeek-V3", 40, {256, 8, 8, 4, 2.5f, true}, Logits::kRandom},
    {"two chunks of the sort", 700, {33, 5, 1, 1, 1.0f, true}, Logits::kRandom},
};

struct RouterInputs {
  std::vector<float> logits, bias;
};
RouterInputs InputsOf(const RouterCase& c) {
  const int experts = c.shape.experts;
  RouterInputs inputs = {Numbers<float>(c.tokens * experts, 1, 4), Numbers<float>(experts, 2, 0.1)};
  for (std::size_t i = 0; i < inputs.logits.size(); ++i) {
    float& logit = inputs.logits[i];
    const int e = static_cast<int>(i) % experts;
    if (c.logits == Logits::kTied) logit = std::round(logit / 2) / 2;
    if (c.logits == Logits::kOneTakesAll && e == 17) logit = 9;
    if (c.logits == Logits::kFirstHalf && e >= experts / 2) logit -= 20;
  }
  // Steps of 1/4, which no two of the tied scores' differences equal.
  if (c.logits == Logits::kTied) {
    for (float& value : inputs.bias) value = std::round(value * 20) / 4;
  }
  return inputs;
}

// Whether another rounding of the scores could choose other experts for a row: no, if every choice moved by a
// few roundings either way leaves the same set. Tied cases have exact ties, which no device breaks up.
bool Certain(const RouterShape& shape, const double* logits, const std::vector<double>& bias,
             const std::vector<std::int32_t>& chosen) {
  std::vector<double> scores(shape.experts), weights(shape.per_token), moved_bias = bias;
  std::vector<std::int32_t> moved(shape.per_token);
  for (const double step : {-1e-5, 1e-5}) {
    for (int e = 0; e < shape.experts; ++e) {
      const bool in = std::find(chosen.begin(), chosen.end(), e) != chosen.end();
      moved_bias[e] = bias[e] + (in ? step : -step);
    }
    RouteRow(shape, logits, moved_bias.data(), scores.data(), moved.data(), weights.data());
    if (moved != chosen) return false;
  }
  return true;
}

std::vector<std::int32_t> Integers(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

void RouteCases(Table* table) {
  for (const RouterCase& c : table->Of(kRouterCases)) {
    table->Begin("Route", "", c.name);
    const auto [logits, bias] = InputsOf(c);
    const int experts = c.shape.experts, per_token = c.shape.per_token;
    const auto got = table->Twice([&] {
      DeviceArray<float> device_logits(logits), device_bias(bias), scores(logits.size()),
          weights(c.tokens * per_token);
      DeviceArray<std::int32_t> chosen(c.tokens * per_token);
      Route(TestStream(), c.shape, device_logits.data(), device_bias.data(), c.tokens, scores.data(),
            chosen.data(), weights.data());
      return Outputs{scores.Doubles(), chosen.Doubles(), weights.Doubles()};
    });
    const auto exact = Doubles(logits), exact_bias = Doubles(bias);
    Expected scores, weights;
    std::vector<double> got_weights, row_scores(experts), row_weights(per_token);
    std::vector<std::int32_t> chosen(per_token);
    std::vector<float> float_scores(experts), float_weights(per_token);
    int uncertain = 0;
    for (int t = 0; t < c.tokens; ++t) {
      RouteRow(c.shape, &exact[t * experts], exact_bias.data(), row_scores.data(), chosen.data(),
               row_weights.data());
      for (const double score : row_scores) scores.Add<float>(score, kRoundings, score);
      if (c.logits == Logits::kTied) {
        // fp32 as the device: equal logits and biases give equal choices.
        RouteRow(c.shape, &logits[t * experts], bias.data(), float_scores.data(), chosen.data(),
                 float_weights.data());
      } else if (!Certain(c.shape, &exact[t * experts], exact_bias, chosen)) {
        ++uncertain;
        continue;
      }
      const auto* const own = &got[1][t * per_token];
      table->Require(std::equal(chosen.begin(), chosen.end(), own),
                     "token " + std::to_string(t) + " goes elsewhere");
      double sum = 0;
      for (const std::int32_t e : chosen) sum += row_scores[e];
      for (int k = 0; k < per_token; ++k) {
        double weight = row_scores[chosen[k]];
        if (c.shape.normalise) weight /= sum + 1e-20;
        weights.Add<float>(weight * c.shape.scaling, per_token + kRoundings, weight * c.shape.scaling);
        got_weights.push_back(got[2][t * per_token + k]);
      }
    }
    table->Require(uncertain * 20 <= c.tokens,
                   "too many choices are too close: " + std::to_string(uncertain));
    table->Compare("scores", got[0], scores);
    table->Compare("weights", got_weights, weights);
  }
}

// Whatever the logits are, K different experts in [0, E) come out, in rising order.
void RouteNotFiniteCase(Table* table) {
  table->Begin("Route", "", "logits that are not finite");
  const RouterShape shape = {40, 5, 8, 2, 1.0f, true};
  auto logits = Numbers<float>(4 * 40, 1);
  for (int e = 0; e < 40; ++e) {
    logits[e] = NAN;
    logits[40 + e] = e % 2 == 0 ? NAN : logits[40 + e];
    logits[80 + e] = e % 3 == 0 ? INFINITY : -INFINITY;
  }
  const auto bias = Numbers<float>(40, 2);
  const auto got = table->Twice([&] {
    DeviceArray<float> device_logits(logits), device_bias(bias), scores(logits.size()), weights(20);
    DeviceArray<std::int32_t> chosen(20);
    Route(TestStream(), shape, device_logits.data(), device_bias.data(), 4, scores.data(), chosen.data(),
          weights.data());
    return Outputs{chosen.Doubles()};
  });
  for (int i = 0; i < 20; ++i) {
    const bool rises = i % 5 == 0 || got[0][i] > got[0][i - 1];
    table->Require(got[0][i] >= 0 && got[0][i] < 40 && rises, "chosen is not a list of experts");
  }
}

// The chosen experts and weights of a case, by the plain version.
struct Routed {
  std::vector<float> scores, weights;
  std::vector<std::int32_t> chosen;
};
Routed RoutePlainly(const RouterCase& c) {
  const auto [logits, bias] = InputsOf(c);
  const int experts = c.shape.experts, per_token = c.shape.per_token;
  Routed routed = {std::vector<float>(logits.size()), std::vector<float>(c.tokens * per_token),
                   std::vector<std::int32_t>(c.tokens * per_token)};
  for (int t = 0; t < c.tokens; ++t) {
    RouteRow(c.shape, &logits[t * experts], bias.data(), &routed.scores[t * experts],
             &routed.chosen[t * per_token], &routed.weights[t * per_token]);
  }
  return routed;
}

void RouteBackwardCases(Table* table) {
  for (const RouterCase& c : table->Of(kRouterCases)) {
    table->Begin("RouteBackward", "", c.name);
    const Routed routed = RoutePlainly(c);
    const int experts = c.shape.experts, per_token = c.shape.per_token;
    const auto d_weights = Numbers<float>(routed.weights.size(), 3);
    const auto exact_scores = Doubles(routed.scores), exact_d = Doubles(d_weights);
    Expected d_logits;
    std::vector<double> row(experts);
    for (int t = 0; t < c.tokens; ++t) {
      const double* const s = &exact_scores[t * experts];
      const std::int32_t* const chosen = &routed.chosen[t * per_token];
      const double* const d = &exact_d[t * per_token];
      RouteRowBackward(c.shape, s, chosen, d, row.data());
      double sum = 1e-20, mean = 0;
      for (int k = 0; k < per_token; ++k) sum += s[chosen[k]];
      for (int k = 0; k < per_token; ++k) mean += std::fabs(d[k]) * s[chosen[k]] / sum;
      std::vector<double> magnitudes(experts, 0.0);
      for (int k = 0; k < per_token; ++k) {
        // 1 - s is as exact as s is far from 1.
        const double slope = s[chosen[k]];
        magnitudes[chosen[k]] =
            c.shape.scaling * slope * (c.shape.normalise ? (std::fabs(d[k]) + mean) / sum : std::fabs(d[k]));
      }
      for (int e = 0; e < experts; ++e) d_logits.Add<float>(row[e], per_token + kRoundings, magnitudes[e]);
    }
    table->Compare("d_logits", table->Twice([&] {
      DeviceArray<float> scores(routed.scores), gradient(d_weights), out(routed.scores.size());
      DeviceArray<std::int32_t> chosen(routed.chosen);
      RouteBackward(TestStream(), c.shape, scores.data(), chosen.data(), gradient.data(), c.tokens,
                    out.data());
      return Outputs{out.Doubles()};
    })[0],
                   d_logits);
  }
}

void BalanceCases(Table* table) {
  constexpr double kAlpha = 1e-2, kFactor = 0.125, kDouble = 1e-12;
  for (const RouterCase& c : table->Of(kRouterCases)) {
    for (const int length : {1, 7, 1000}) {  // of every document but the first, which has one token
      table->Begin("BalanceLoss", "", std::string(c.name) + ", documents of " + std::to_string(length));
      const Routed routed = RoutePlainly(c);
      const int experts = c.shape.experts;
      std::vector<std::int32_t> starts = {0};
      while (starts.back() < c.tokens)
        starts.push_back(starts.size() == 1 ? 1 : std::min(c.tokens, starts.back() + length));
      const int documents = static_cast<int>(starts.size()) - 1;
      const auto before = Numbers<float>(routed.scores.size(), 4);
      std::vector<float> added(before.size(), 0.0f);
      double loss = 0, token_loss = 0;
      for (int d = 0; d < documents; ++d) {
        const int first = starts[d], tokens = starts[d + 1] - first;
        const double own = kAlpha * BalanceLoss(c.shape, &routed.scores[first * experts], tokens,
                                                kAlpha * kFactor * tokens, &added[first * experts]);
        loss += own;
        token_loss += tokens * own;
      }
      Expected d_logits;
      for (std::size_t i = 0; i < before.size(); ++i)
        d_logits.Add<float>(double{before[i]} + added[i], 2, std::fabs(before[i]) + std::fabs(added[i]));
      const auto got = table->Twice([&] {
        DeviceArray<float> scores(routed.scores), gradient(before);
        DeviceArray<std::int32_t> device_starts(starts);
        DeviceArray<double> factor(std::vector<double>{kFactor}), sums(std::vector<double>{3.0, 5.0});
        DeviceArray<std::int8_t> workspace(BalanceLossWorkspace(c.shape, c.tokens, documents));
        BalanceLoss(TestStream(), c.shape, scores.data(), c.tokens, device_starts.data(), documents, kAlpha,
                    factor.data(), gradient.data(), reinterpret_cast<BalanceSums*>(sums.data()),
                    workspace.data());
        return Outputs{gradient.Doubles(), sums.Doubles()};
      });
      table->Compare("d_logits", got[0], d_logits);
      Expected sums;
      sums.want = {3 + loss, 5 + token_loss};
      sums.bound = {kDouble * (3 + loss), kDouble * (5 + token_loss)};
      table->Compare("sums", got[1], sums);
    }
  }
}

void SortCases(Table* table) {
  for (const RouterCase& c : table->Of(kRouterCases)) {
    table->Begin("SortByExpert", "", c.name);
    const Routed routed = RoutePlainly(c);
    const int experts = c.shape.experts, per_token = c.shape.per_token;
    Dispatch dispatch;
    SortByExpert(routed.chosen.data(), routed.weights.data(), c.tokens, per_token, experts, &dispatch);
    const auto got = table->Twice([&] {
      DeviceArray<std::int32_t> chosen(routed.chosen), offsets(experts + 1),
          slot_tokens(routed.chosen.size()), token_slots(routed.chosen.size());
      DeviceArray<float> weights(routed.weights), slot_weights(routed.weights.size());
      DeviceArray<std::int64_t> loads(std::vector<std::int64_t>(experts, std::int64_t{1} << 40));
      DeviceArray<std::int8_t> workspace(SortByExpertWorkspace(c.tokens, per_token, experts));
      const DeviceDispatch out = {offsets.data(), slot_tokens.data(), slot_weights.data(),
                                  token_slots.data()};
      for (std::int64_t* const counters : {loads.data(), static_cast<std::int64_t*>(nullptr)}) {
        SortByExpert(TestStream(), chosen.data(), weights.data(), c.tokens, per_token, experts, out, counters,
                     workspace.data());
      }
      return Outputs{offsets.Doubles(), slot_tokens.Doubles(), slot_weights.Doubles(), token_slots.Doubles(),
                     loads.Doubles()};
    });
    table->Require(Integers(got[0]) == dispatch.offsets, "offsets differ");
    table->Require(Integers(got[1]) == dispatch.slot_tokens, "slot_tokens differ");
    table->Require(got[2] == Doubles(dispatch.slot_weights), "slot_weights differ");
    table->Require(Integers(got[3]) == dispatch.token_slots, "token_slots differ");
    for (int e = 0; e < experts; ++e) {
      table->Require(got[4][e] == static_cast<double>(std::int64_t{1} << 40) + dispatch.slots(e),
                     "loads differ");
    }
  }
}

}  // namespace

void RunRouterCases(Table* table) {
  RouteCases(table);
  RouteNotFiniteCase(table);
  RouteBackwardCases(table);
  BalanceCases(table);
  SortCases(table);
}

}  // namespace retort::student
