#include "student/ops/attention.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/student/ops/numbers.h"

namespace retort::student {
namespace {

TEST(AttentionTest, HandWorked) {
  // One head, nope 1, rope 1, value 1; two tokens. Scores of the second: (1*1 + 1*0)/sqrt(2) and (1*0 +
  // 1*1)/sqrt(2) are equal, so it takes the mean of both values; the first sees itself alone.
  const AttentionShape shape = {1, 1, 1, 1};
  const std::vector<float> q = {5, 5, 1, 1}, kv = {1, 10, 0, 20}, rope_key = {0, 1};
  const AttentionSpan span = {0, 2, 0, 2};
  for (const Isa isa : SupportedIsas()) {
    Machine machine(isa);
    std::vector<float> out(2), log_sum(2);
    Attention(machine.compute, shape, std::span(&span, 1),
              {q.data(), kv.data(), rope_key.data(), out.data(), log_sum.data(), 2});
    EXPECT_FLOAT_EQ(out[0], 10);
    EXPECT_FLOAT_EQ(out[1], 15);
    EXPECT_FLOAT_EQ(log_sum[1], 1.4002540f);  // 1/sqrt(2) + ln 2
  }
}

TEST(AttentionTest, GradientsMatchFiniteDifferences) {
  const AttentionShape shape = {2, 3, 2, 4};
  constexpr int tokens = 5;
  std::vector<double> q = Numbers<double>(tokens * 10, 1), kv = Numbers<double>(tokens * 14, 2),
                      rope_key = Numbers<double>(tokens * 2, 3), weights = Numbers<double>(tokens * 8, 4),
                      out(tokens * 8), log_sum(2 * tokens);
  const auto loss = [&] {
    for (int head = 0; head < 2; ++head) {
      plain::AttentionHead(shape, tokens, tokens, q.data() + head * 5, kv.data() + head * 7, rope_key.data(),
                           out.data() + head * 4, log_sum.data() + head * tokens);
    }
    return Dot(out, weights);
  };
  loss();
  std::vector<double> d_q(q.size()), d_kv(kv.size()), d_rope(rope_key.size(), 0.0);
  for (int head = 0; head < 2; ++head) {
    std::vector<double> share(rope_key.size());
    plain::AttentionHeadBackward(shape, tokens, q.data() + head * 5, kv.data() + head * 7, rope_key.data(),
                                 out.data() + head * 4, log_sum.data() + head * tokens,
                                 weights.data() + head * 4, d_q.data() + head * 5, d_kv.data() + head * 7,
                                 share.data());
    for (std::size_t i = 0; i < share.size(); ++i) d_rope[i] += share[i];
  }
  ExpectGradient(loss, &q, d_q, "d_q");
  ExpectGradient(loss, &kv, d_kv, "d_kv");
  ExpectGradient(loss, &rope_key, d_rope, "d_rope_key");
}

TEST(AttentionTest, FastPathsAgreeWithPlainOverOddShapes) {
  for (const AttentionShape shape :
       {AttentionShape{2, 32, 16, 32}, AttentionShape{3, 5, 2, 7}, AttentionShape{1, 1, 2, 1}}) {
    const std::vector<AttentionSpan> spans = {
        {0, 1, 0, 1}, {1, 64, 1, 64}, {65, 65, 65, 65}, {130, 201, 130, 201}};
    constexpr int tokens = 331;
    auto q = Numbers(tokens * shape.heads * shape.query(), 1);
    for (float& value : q) value *= 4;
    const auto kv = Numbers(tokens * shape.heads * shape.key_value(), 2),
               rope_key = Numbers(tokens * shape.rope, 3),
               d_out = Numbers(tokens * shape.heads * shape.value, 4);
    std::vector<std::vector<float>> out, d_q, d_kv, d_rope;
    for (const Isa isa : SupportedIsas()) {
      Machine machine(isa, 3);
      out.emplace_back(d_out.size()), d_q.emplace_back(q.size()), d_kv.emplace_back(kv.size()),
          d_rope.emplace_back(rope_key.size());
      std::vector<float> log_sum(shape.heads * tokens), shares(shape.heads * tokens * shape.rope);
      const AttentionTensors tensors = {q.data(),          kv.data(),      rope_key.data(),
                                        out.back().data(), log_sum.data(), tokens};
      Attention(machine.compute, shape, spans, tensors);
      AttentionBackward(
          machine.compute, shape, spans, tensors,
          {d_out.data(), d_q.back().data(), d_kv.back().data(), d_rope.back().data(), shares.data()});
    }
    // Weighted means of numbers up to 1, then sums over up to 201 queries and all heads.
    for (std::size_t i = 1; i < out.size(); ++i) {
      ExpectClose(out[i], out[0], 5e-6, "attention out");
      ExpectClose(d_q[i], d_q[0], 2e-5, "attention d_q");
      ExpectClose(d_kv[i], d_kv[0], 1e-4, "attention d_kv");
      ExpectClose(d_rope[i], d_rope[0], 1e-4, "attention d_rope_key");
    }
  }
}

TEST(AttentionTest, LaterQueriesAloneGiveTheSameBits) {
  const AttentionShape shape = {2, 32, 16, 32};
  constexpr int tokens = 150;
  const auto q = Numbers(tokens * 96, 1), kv = Numbers(tokens * 128, 2), rope_key = Numbers(tokens * 16, 3);
  for (const Isa isa : SupportedIsas()) {
    Machine machine(isa);
    std::vector<float> all(tokens * 64), some(3 * 64), log_sum(2 * tokens);
    const AttentionSpan whole = {0, tokens, 0, tokens}, last = {0, 3, 0, tokens};
    Attention(machine.compute, shape, std::span(&whole, 1),
              {q.data(), kv.data(), rope_key.data(), all.data(), log_sum.data(), tokens});
    Attention(machine.compute, shape, std::span(&last, 1),
              {q.data() + (tokens - 3) * 96, kv.data(), rope_key.data(), some.data(), nullptr, 3});
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.end() - 3 * 64)) << IsaName(isa);
  }
}

}  // namespace
}  // namespace retort::student
