#include <algorithm>

#include "student/ops/attention.h"
#include "tests/student/device_ops/table.h"

namespace retort::student {
namespace {

struct AttentionCase {
  const char* name;
  AttentionShape shape;
  std::vector<int> documents;  // lengths
};
const AttentionCase kAttentionCases[] = {
    {"one token", {1, 1, 2, 1}, {1}},
    {"around a tile", {2, 5, 2, 7}, {63, 1, 64, 65}},
    {"documents of length 1", {2, 5, 2, 7}, {1, 1, 1, 1, 1, 1, 1, 1}},
    {"a long document", {1, 32, 16, 32}, {5, 333}},
    {"a document of 1,200", {1, 4, 2, 4}, {1200, 2}},
    {"wide heads", {1, 128, 64, 128}, {70}},
    {"wider than a block", {1, 170, 30, 200}, {3, 66}},
    {"three groups of values", {1, 60, 6, 130}, {67}},
    {"no rope", {3, 8, 0, 4}, {17, 40}},
    {"two groups of columns", {2, 64, 32, 65}, {2, 40}},
};

// Head by head and document by document: the truth in fp64, and for each value of an output its n and M.
class Truth {
 public:
  Truth(const AttentionCase& c, std::vector<double> q, std::vector<double> kv, std::vector<double> rope_key)
      : shape_(c.shape), q_(std::move(q)), kv_(std::move(kv)), rope_key_(std::move(rope_key)) {
    starts_ = {0};
    for (const int length : c.documents) starts_.push_back(starts_.back() + length);
    rows_ = starts_.back();
    out_.resize(rows_ * shape_.heads * shape_.value);
    log_sum_.resize(rows_ * shape_.heads);
    ForEachHead([&](std::int64_t first, std::int64_t count, int head) {
      plain::AttentionHead(shape_, count, count, Q(first, head), KV(first, head), Rope(first),
                           &out_[(first * shape_.heads + head) * shape_.value],
                           &log_sum_[head * rows_ + first]);
    });
  }

  const std::vector<std::int32_t>& starts() const { return starts_; }
  std::int64_t rows() const { return rows_; }
  const std::vector<double>& out() const { return out_; }
  const std::vector<double>& log_sum() const { return log_sum_; }

  // A score is a sum of `query` terms; its error moves exp, and so every weight of its row, by that factor.
  template <typename T>
  void Forward(Expected* out, Expected* log_sum) const {
    out->want = out_;
    out->bound.resize(out_.size());
    log_sum->want = log_sum_;
    log_sum->bound.resize(log_sum_.size());
    ForEachHead([&](std::int64_t first, std::int64_t count, int head) {
      for (std::int64_t i = 0; i < count; ++i) {
        const double scores = ScoreRoundings(first, head, i) * Magnitude(first, head, i);
        const std::int64_t row = first + i;
        log_sum->bound[head * rows_ + row] =
            kUnit * (std::fabs(log_sum_[head * rows_ + row]) + scores + static_cast<double>(i) + kFew);
        for (int d = 0; d < shape_.value; ++d) {
          double magnitude = 0;
          for (std::int64_t j = 0; j <= i; ++j)
            magnitude += Weight(first, head, i, j) * std::fabs(KV(first + j, head)[shape_.nope + d]);
          const std::int64_t at = (row * shape_.heads + head) * shape_.value + d;
          out->bound[at] = UnitOf<T>() * std::fabs(out_[at]) +
                           kUnit * (2 * scores + 2 * static_cast<double>(i) + kFew) * magnitude;
        }
      }
    });
  }

  // `out` and `log_sum` are what the device is given.
  template <typename T>
  void Backward(const std::vector<double>& out, const std::vector<double>& log_sum,
                const std::vector<double>& d_out, Expected* d_q, Expected* d_kv, Expected* d_rope_key) const {
    const int query = shape_.query(), key_value = shape_.key_value(), heads = shape_.heads;
    std::vector<double> q_values(q_.size()), kv_values(kv_.size()), rope_values(rope_key_.size(), 0.0);
    std::vector<double> q_bound(q_.size(), 0.0), kv_bound(kv_.size(), 0.0), rope_bound(rope_key_.size(), 0.0);
    ForEachHead([&](std::int64_t first, std::int64_t count, int head) {
      const std::int64_t o = (first * heads + head) * shape_.value;
      std::vector<double> share(count * shape_.rope);
      plain::AttentionHeadBackward(shape_, count, Q(first, head), KV(first, head), Rope(first), &out[o],
                                   &log_sum[head * rows_ + first], &d_out[o],
                                   &q_values[(first * heads + head) * query],
                                   &kv_values[(first * heads + head) * key_value], share.data());
      for (std::size_t i = 0; i < share.size(); ++i) rope_values[first * shape_.rope + i] += share[i];
      for (std::int64_t i = 0; i < count; ++i) {
        const double scores = ScoreRoundings(first, head, i) * Magnitude(first, head, i);
        const double* const gradient = &d_out[((first + i) * heads + head) * shape_.value];
        const double* const result = &out[((first + i) * heads + head) * shape_.value];
        double delta = 0;
        for (int d = 0; d < shape_.value; ++d) delta += std::fabs(gradient[d] * result[d]);
        for (std::int64_t j = 0; j <= i; ++j) {
          const double* const kv = KV(first + j, head);
          double dp = 0;
          for (int d = 0; d < shape_.value; ++d) dp += std::fabs(gradient[d] * kv[shape_.nope + d]);
          const double p = std::exp(Score(first, head, i, j) - log_sum[head * rows_ + first + i]);
          // The term's own roundings, then those of the sum it enters.
          const double own = scores + shape_.value + kFew, summed = static_cast<double>(count) + heads;
          const double ds = kUnit * (own + summed) * p * (dp + delta) / std::sqrt(query);
          const double p_error = kUnit * (scores + kFew + summed) * p;
          double* const q_row = &q_bound[((first + i) * heads + head) * query];
          double* const kv_row = &kv_bound[((first + j) * heads + head) * key_value];
          for (int d = 0; d < query; ++d) {
            const double key = d < shape_.nope ? kv[d] : Rope(first + j)[d - shape_.nope];
            const double q = Q(first + i, head)[d];
            q_row[d] += ds * std::fabs(key);
            if (d < shape_.nope) {
              kv_row[d] += ds * std::fabs(q);
            } else {
              rope_bound[(first + j) * shape_.rope + d - shape_.nope] += ds * std::fabs(q);
            }
          }
          for (int d = 0; d < shape_.value; ++d) kv_row[shape_.nope + d] += p_error * std::fabs(gradient[d]);
        }
      }
    });
    const auto finish = [](const std::vector<double>& want, const std::vector<double>& bound,
                           Expected* expected) {
      *expected = {want, bound};
      for (std::size_t i = 0; i < want.size(); ++i) expected->bound[i] += UnitOf<T>() * std::fabs(want[i]);
    };
    finish(q_values, q_bound, d_q);
    finish(kv_values, kv_bound, d_kv);
    finish(rope_values, rope_bound, d_rope_key);
  }

 private:
  static constexpr double kFew = 32;  // exp, rescaling by tile, division, products

  template <typename Function>
  void ForEachHead(const Function& body) const {
    for (std::size_t d = 0; d + 1 < starts_.size(); ++d) {
      for (int head = 0; head < shape_.heads; ++head) body(starts_[d], starts_[d + 1] - starts_[d], head);
    }
  }
  const double* Q(std::int64_t row, int head) const {
    return &q_[(row * shape_.heads + head) * shape_.query()];
  }
  const double* KV(std::int64_t row, int head) const {
    return &kv_[(row * shape_.heads + head) * shape_.key_value()];
  }
  const double* Rope(std::int64_t row) const { return rope_key_.data() + row * shape_.rope; }

  double Score(std::int64_t first, int head, std::int64_t i, std::int64_t j, bool absolute = false) const {
    double sum = 0;
    for (int d = 0; d < shape_.query(); ++d) {
      const double key = d < shape_.nope ? KV(first + j, head)[d] : Rope(first + j)[d - shape_.nope];
      const double term = Q(first + i, head)[d] * key;
      sum += absolute ? std::fabs(term) : term;
    }
    return sum / std::sqrt(static_cast<double>(shape_.query()));
  }
  double Weight(std::int64_t first, int head, std::int64_t i, std::int64_t j) const {
    return std::exp(Score(first, head, i, j) - log_sum_[head * rows_ + first + i]);
  }
  double ScoreRoundings(std::int64_t, int, std::int64_t) const { return 2 * (shape_.query() + 6.0); }
  // The largest sum of absolute terms among a row's scores.
  double Magnitude(std::int64_t first, int head, std::int64_t i) const {
    double largest = 0;
    for (std::int64_t j = 0; j <= i; ++j) largest = std::max(largest, Score(first, head, i, j, true));
    return largest;
  }

  const AttentionShape shape_;
  const std::vector<double> q_, kv_, rope_key_;
  std::vector<std::int32_t> starts_;
  std::int64_t rows_ = 0;
  std::vector<double> out_, log_sum_;
};

template <typename T>
void AttentionCases(Table* table) {
  for (const AttentionCase& c : table->Of(kAttentionCases)) {
    const AttentionShape& shape = c.shape;
    std::size_t count = 0;
    for (const int length : c.documents) count += length;
    const auto q = Numbers<T>(count * shape.heads * shape.query(), 1, 3),
               kv = Numbers<T>(count * shape.heads * shape.key_value(), 2),
               rope_key = Numbers<T>(count * shape.rope, 3),
               d_out = Numbers<T>(count * shape.heads * shape.value, 4);
    const Truth truth(c, Doubles(q), Doubles(kv), Doubles(rope_key));
    const int documents = static_cast<int>(c.documents.size());

    table->Begin("Attention", NameOf<T>(), c.name);
    Expected out, log_sum;
    truth.Forward<T>(&out, &log_sum);
    const auto forward = table->Twice([&] {
      DeviceArray<T> device_q(q), device_kv(kv), device_rope(rope_key), device_out(d_out.size());
      DeviceArray<float> device_log_sum(count * shape.heads);
      DeviceArray<std::int32_t> starts(truth.starts()), tiles(documents + 1);
      AttentionTiles(TestStream(), starts.data(), documents, tiles.data());
      Attention<T>(
          TestStream(), shape, {starts.data(), tiles.data(), documents, truth.rows()},
          {device_q.data(), device_kv.data(), device_rope.data(), device_out.data(), device_log_sum.data()});
      return Outputs{device_out.Doubles(), device_log_sum.Doubles()};
    });
    table->Compare("out", forward[0], out);
    table->Compare("log_sum", forward[1], log_sum);

    table->Begin("AttentionBackward", NameOf<T>(), c.name);
    std::vector<T> given_out(out.want.size());
    for (std::size_t i = 0; i < given_out.size(); ++i) Assign(truth.out()[i], &given_out[i]);
    const std::vector<float> given_log_sum(truth.log_sum().begin(), truth.log_sum().end());
    Expected d_q, d_kv, d_rope_key;
    truth.Backward<T>(Doubles(given_out), Doubles(given_log_sum), Doubles(d_out), &d_q, &d_kv, &d_rope_key);
    const auto backward = table->Twice([&] {
      DeviceArray<T> device_q(q), device_kv(kv), device_rope(rope_key), device_out(given_out),
          device_d_out(d_out), out_q(q.size()), out_kv(kv.size()), out_rope(rope_key.size());
      DeviceArray<float> device_log_sum(given_log_sum),
          workspace(AttentionBackwardWorkspace(shape, truth.rows()));
      DeviceArray<std::int32_t> starts(truth.starts()), tiles(documents + 1);
      AttentionTiles(TestStream(), starts.data(), documents, tiles.data());
      AttentionBackward<T>(
          TestStream(), shape, {starts.data(), tiles.data(), documents, truth.rows()},
          {device_q.data(), device_kv.data(), device_rope.data(), device_out.data(), device_log_sum.data()},
          {device_d_out.data(), out_q.data(), out_kv.data(), out_rope.data()}, workspace.data());
      return Outputs{out_q.Doubles(), out_kv.Doubles(), out_rope.Doubles()};
    });
    table->Compare("d_q", backward[0], d_q);
    table->Compare("d_kv", backward[1], d_kv);
    table->Compare("d_rope_key", backward[2], d_rope_key);
  }
}

// A document's bits do not depend on what lies before it in the pack.
void PlaceCase(Table* table) {
  table->Begin("Attention", "float", "the same document at two places");
  const AttentionShape shape = {2, 8, 4, 8};
  constexpr int kLength = 100, kBefore = 37;
  const auto q = Numbers<float>(kLength * 24, 1), kv = Numbers<float>(kLength * 32, 2),
             rope_key = Numbers<float>(kLength * 4, 3);
  const auto run = [&](int before) {
    const auto behind = [&](const std::vector<float>& values) {
      std::vector<float> all = Numbers<float>(values.size() / kLength * before, 9);
      all.insert(all.end(), values.begin(), values.end());
      return all;
    };
    DeviceArray<float> device_q(behind(q)), device_kv(behind(kv)), device_rope(behind(rope_key)),
        out((before + kLength) * 16), log_sum((before + kLength) * 2);
    std::vector<std::int32_t> starts = {0};
    if (before > 0) starts.push_back(before);
    starts.push_back(before + kLength);
    DeviceArray<std::int32_t> device_starts(starts), tiles(starts.size());
    const int documents = static_cast<int>(starts.size()) - 1;
    AttentionTiles(TestStream(), device_starts.data(), documents, tiles.data());
    Attention<float>(TestStream(), shape, {device_starts.data(), tiles.data(), documents, before + kLength},
                     {device_q.data(), device_kv.data(), device_rope.data(), out.data(), log_sum.data()});
    const auto values = out.Read();
    return std::vector<float>(values.begin() + before * 16, values.end());
  };
  table->Require(run(0) == run(kBefore), "bits depend on the place in the pack");
}

}  // namespace

void RunAttentionCases(Table* table) {
  AttentionCases<float>(table);
  AttentionCases<Bf16>(table);
  PlaceCase(table);
}

}  // namespace retort::student
