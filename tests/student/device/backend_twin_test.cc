// What the CUDA backend composes of kernels and cuBLAS, called through the seam, beside the CPU's: products
// of every form and the head in chunks. The kernels themselves: tests/student/device_ops; whole passes:
// tests/student/model.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "student/device/cpu_backend.h"
#include "student/device/cuda/cuda_backend.h"

namespace retort::student {
namespace {

constexpr double kUnit = 0x1p-24, kUnitBf16 = 0x1p-8;

// Numbers that bf16 holds exactly, so that both types start from the same operands.
std::vector<float> Numbers(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(static_cast<int>(random() % 255) - 127) / 64.0f;
  return values;
}

// Memory of a backend that is filled from the host and read back, as fp32 whatever it holds.
class Tensor {
 public:
  Tensor(Backend& backend, const std::vector<float>& values, Element element)
      : backend_(backend), count_(static_cast<std::int64_t>(values.size())) {
    values_ = {backend.Allocate(count_ * BytesOf(element)), element};
    if (element == Element::kF32) {
      backend.Upload(values.data(), count_ * 4, values_.data);
    } else {
      void* const wide = backend.Allocate(count_ * 4);
      backend.Upload(values.data(), count_ * 4, wide);
      backend.Convert(static_cast<float*>(wide), count_, values_);
      backend.Free(wide);
    }
  }
  ~Tensor() { backend_.Free(values_.data); }
  Tensor(const Tensor&) = delete;

  const Values& values() const { return values_; }
  std::vector<float> Read() const {
    std::vector<float> result(count_);
    void* const wide = backend_.Allocate(count_ * 4);
    backend_.CopyColumns(values_, count_, Values(static_cast<float*>(wide)), count_, 1,
                         static_cast<int>(count_));
    backend_.Download(wide, count_ * 4, result.data());
    EXPECT_EQ(backend_.Finish(), "");
    backend_.Free(wide);
    return result;
  }

 private:
  Backend& backend_;
  std::int64_t count_;
  Values values_;
};

class BackendTwinTest : public testing::TestWithParam<Element> {
 protected:
  BackendTwinTest() : pool_(1), cpu_(MakeCpuBackend(pool_, Isa::kPlain)) {
    std::string problem;
    device_ = OpenCudaBackend(0, GetParam(), &problem);
    EXPECT_NE(device_, nullptr) << problem;
  }

  // |a - b| <= (4 * sqrt(k) * u + roundings of the result) * size, for sums of k products of size <= 4.
  void Compare(const std::vector<float>& cpu, const std::vector<float>& device, std::int64_t k,
               Element result) {
    ASSERT_EQ(cpu.size(), device.size());
    const double bound = 4 * std::sqrt(static_cast<double>(k) + 1) * kUnit;
    for (std::size_t i = 0; i < cpu.size(); ++i) {
      const double size = 4.0 * std::sqrt(static_cast<double>(k) + 1) + std::abs(cpu[i]);
      const double limit = bound * size + (result == Element::kBf16 ? kUnitBf16 * std::abs(cpu[i]) : 0);
      const double error = std::abs(static_cast<double>(cpu[i]) - device[i]);
      ASSERT_LE(error, limit) << "element " << i << ": " << cpu[i] << " and " << device[i];
      worst_ = std::max(worst_, error / limit);
    }
    ++cases_;
  }
  ~BackendTwinTest() override { std::printf("%d cases, worst error %.2g of the bound\n", cases_, worst_); }

  ThreadPool pool_;
  std::unique_ptr<Backend> cpu_, device_;
  double worst_ = 0;
  int cases_ = 0;
};

TEST_P(BackendTwinTest, ProductsOfEveryForm) {
  struct Size {
    int m, n, k;
  };
  for (const Size s : {Size{1, 1, 1}, Size{3, 5, 7}, Size{33, 17, 64}, Size{64, 96, 31}, Size{0, 4, 4},
                       Size{4, 0, 4}, Size{5, 6, 0}}) {
    for (int form = 0; form < 16; ++form) {
      Product p;
      p.m = s.m, p.n = s.n, p.k = s.k;
      p.transpose_a = (form & 1) != 0, p.transpose_b = (form & 2) != 0, p.accumulate = (form & 4) != 0;
      const int a_rows = p.transpose_a ? s.k : s.m, a_columns = p.transpose_a ? s.m : s.k;
      const int b_rows = p.transpose_b ? s.n : s.k, b_columns = p.transpose_b ? s.k : s.n;
      p.a_stride = a_columns + 3, p.b_stride = b_columns + 1, p.c_stride = s.n + 2;
      const bool wide_result = GetParam() == Element::kF32 || (form & 8) != 0;
      const Element result = wide_result ? Element::kF32 : Element::kBf16;
      const auto a = Numbers(a_rows * p.a_stride + 1, 1), b = Numbers(b_rows * p.b_stride + 1, 2),
                 c = Numbers(s.m * p.c_stride + 1, 3);
      std::vector<float> results[2];
      for (Backend* backend : {cpu_.get(), device_.get()}) {
        const bool on_device = backend == device_.get();
        const Element in = on_device ? GetParam() : Element::kF32, out = on_device ? result : Element::kF32;
        const Tensor ta(*backend, a, in), tb(*backend, b, in), tc(*backend, c, out);
        p.a = ta.values(), p.b = tb.values(), p.c = tc.values();
        backend->MatMul(std::span(&p, 1));
        results[on_device] = tc.Read();
      }
      Compare(results[0], results[1], s.k, result);  // what lies between rows included
    }
  }
}

TEST_P(BackendTwinTest, ProductsOfExperts) {
  using Kind = ExpertProduct::Kind;
  constexpr int kTokens = 9, kIn = 32, kOut = 64;
  constexpr std::int64_t kStride = kIn * kOut + 16;
  // Even, an expert without tokens at each end, one that takes all, and none at all.
  const std::vector<std::vector<std::int32_t>> loads = {
      {0, 3, 6, 9, 12}, {0, 0, 7, 12, 12}, {0, 0, 12, 12, 12}, {0, 0, 0, 0, 0}};
  std::vector<std::int32_t> slot_tokens = {0, 4, 8, 1, 2, 7, 0, 3, 5, 6, 7, 8};
  ModelConfig config = UnitConfig();
  config.hidden = kOut;
  config.expert_width = kIn;
  config.experts = 4;
  config.experts_per_token = 2;
  config.expert_groups = config.expert_groups_per_token = 1;
  ASSERT_EQ(Validate(config), "");
  ASSERT_TRUE(device_->Reserve(*ParameterLayout::Create(config),
                               {.positions = kTokens, .rows = 1, .documents = 1, .slots = 12}));
  for (const auto& offsets : loads) {
    for (const Kind kind : {Kind::kForward, Kind::kInput, Kind::kWeight}) {
      for (int gathered = 0; gathered < 3; ++gathered) {  // nothing, x, y
        const bool x_by_token = gathered == 1, y_by_token = gathered == 2;
        if ((x_by_token && kind == Kind::kInput) || (y_by_token && kind == Kind::kForward)) continue;
        const auto x = Numbers((x_by_token ? kTokens : 12) * kIn, 4),
                   y = Numbers((y_by_token ? kTokens : 12) * kOut, 5), w = Numbers(4 * kStride, 6);
        std::vector<float> results[2];
        for (Backend* backend : {cpu_.get(), device_.get()}) {
          const bool on_device = backend == device_.get();
          const Element element = on_device ? GetParam() : Element::kF32;
          const Tensor tx(*backend, x, element), ty(*backend, y, element);
          const Tensor tw(*backend, w, kind == Kind::kWeight ? Element::kF32 : element);
          void* const tokens = backend->Allocate(12 * 4);
          backend->Upload(slot_tokens.data(), 12 * 4, tokens);
          const ExpertProduct p = {kind, tx.values(), ty.values(), tw.values(), kStride,
                                   kIn,  kOut,        x_by_token,  y_by_token};
          backend->MatMul({}, std::span(&p, 1), {offsets, static_cast<const std::int32_t*>(tokens)});
          results[on_device] = (kind == Kind::kForward ? ty : kind == Kind::kInput ? tx : tw).Read();
          backend->Free(tokens);
        }
        Compare(results[0], results[1], kOut, kind == Kind::kWeight ? Element::kF32 : GetParam());
      }
    }
  }
}

// More rows than one chunk, so that the order of chunks and the offsets of losses matter.
TEST_P(BackendTwinTest, HeadInChunks) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a thousand rows with an OS thread for each CUDA thread; DeviceOps.head runs the kernels";
#endif
  ModelConfig config = UnitConfig();
  config.vocabulary = 64;
  config.hidden = 32;
  const std::int64_t count = 1024 + 37;
  PackedBatch batch;
  std::mt19937 random(8);
  for (std::int64_t t = 0; t < count; ++t) {
    batch.tokens.push_back(0);
    batch.targets.push_back(static_cast<std::int32_t>(random() % 64));
    batch.weights.push_back(static_cast<float>(random() % 3));
  }
  std::vector<std::int32_t> rows;
  for (std::int64_t t = 0; t < count; ++t) rows.push_back(static_cast<std::int32_t>(t));
  const auto x = Numbers(count * 32, 9);
  auto w = Numbers(64 * 32, 10);
  for (float& value : w) value /= 32;
  const double factor = 1.0 / 1024;
  ASSERT_TRUE(device_->Reserve(*ParameterLayout::Create(config),
                               {.positions = count, .rows = count, .documents = 1, .slots = 1}));
  std::vector<float> d_x[2], d_w[2];
  HeadSums sums[2] = {};
  std::vector<std::int32_t> argmax[2];
  for (Backend* backend : {cpu_.get(), device_.get()}) {
    const bool on_device = backend == device_.get();
    const Element element = on_device ? GetParam() : Element::kF32;
    const Tensor tx(*backend, x, element), tw(*backend, w, element);
    const Tensor tdx(*backend, std::vector<float>(count * 32), Element::kF32),
        tdw(*backend, std::vector<float>(64 * 32), Element::kF32);
    std::vector<void*> memory;
    const auto place = [&](const void* host, std::int64_t bytes) {
      memory.push_back(backend->Allocate(bytes));
      backend->Upload(host, bytes, memory.back());
      return memory.back();
    };
    BatchTables tables = {.host = &batch, .positions = count, .rows = count, .host_loss_rows = rows};
    tables.targets = static_cast<std::int32_t*>(place(batch.targets.data(), count * 4));
    tables.weights = static_cast<float*>(place(batch.weights.data(), count * 4));
    tables.loss_rows = static_cast<std::int32_t*>(place(rows.data(), count * 4));
    const std::vector<double> zeros(count);
    HeadArguments a = {.x = tx.values(), .w = tw.values(), .vocabulary = 64, .hidden = 32};
    a.d_x = tdx.values().f32(), a.d_w = tdw.values().f32();
    a.ce_weight = 1;
    a.factor = static_cast<double*>(place(&factor, sizeof(factor)));
    a.losses = {static_cast<double*>(place(zeros.data(), count * 8)),
                static_cast<double*>(place(zeros.data(), count * 8)),
                static_cast<std::int32_t*>(place(zeros.data(), count * 4))};
    a.sums = static_cast<HeadSums*>(place(&sums[on_device], sizeof(HeadSums)));
    backend->HeadLoss(a, tables);
    argmax[on_device].resize(count);
    backend->Download(a.sums, sizeof(HeadSums), &sums[on_device]);
    backend->Download(a.losses.argmax, count * 4, argmax[on_device].data());
    d_x[on_device] = tdx.Read();
    d_w[on_device] = tdw.Read();
    for (void* m : memory) backend->Free(m);
  }
  EXPECT_EQ(sums[0].valid_tokens, sums[1].valid_tokens);
  EXPECT_NEAR(sums[0].ce_sum, sums[1].ce_sum, 1e-6 * sums[0].ce_sum);
  EXPECT_EQ(argmax[0], argmax[1]);  // exact operands, and sums of 32 of them: the same logits in every order
  // Gradients of logits are rounded to the type of activations before the two products.
  const double unit = GetParam() == Element::kF32 ? kUnit : kUnitBf16;
  for (std::size_t i = 0; i < d_x[0].size(); ++i) {
    ASSERT_NEAR(d_x[0][i], d_x[1][i], 16 * unit * 2 * factor) << i;
  }
  for (std::size_t i = 0; i < d_w[0].size(); ++i) {
    ASSERT_NEAR(d_w[0][i], d_w[1][i], 4 * std::sqrt(1061.0) * unit * 2 * 2 * factor + 1e-6) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, BackendTwinTest, testing::Values(Element::kF32, Element::kBf16),
                         [](const auto& info) { return info.param == Element::kF32 ? "Fp32" : "Bf16"; });

}  // namespace
}  // namespace retort::student
