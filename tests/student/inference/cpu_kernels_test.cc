// Every instruction set against the plain kernels, bit for bit, and the plain ones against double precision.
#include "student/inference/cpu_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "student/inference/packed_matrix.h"

namespace retort::student {
namespace {

constexpr InferenceIsa kFast[] = {InferenceIsa::kAvx2, InferenceIsa::kAvx512, InferenceIsa::kAvx512Vnni};

const CpuKernels& Plain() {
  return *FindCpuKernels(InferenceIsa::kPlain);
}

std::vector<float> Normal(size_t count, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// A random matrix of a type, with scales of ordinary size.
struct RandomTensor {
  std::vector<uint8_t> data;
  GgufTensor tensor{};

  RandomTensor(GgufType type, uint64_t rows, uint64_t columns, uint32_t seed) {
    const GgufTypeTraits& traits = *FindGgufType(static_cast<uint32_t>(type));
    std::mt19937 random(seed);
    data.resize(columns / traits.block_weights * traits.block_bytes * rows);
    for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
    const auto half = [&](size_t at, uint16_t bits) { std::memcpy(data.data() + at, &bits, 2); };
    for (size_t at = 0; at < data.size(); at += traits.block_bytes) {
      const uint16_t scale = static_cast<uint16_t>(0x2400 + random() % 512);
      switch (type) {
        case GgufType::kF32: {
          const float value = std::normal_distribution<float>()(random);
          std::memcpy(data.data() + at, &value, 4);
          break;
        }
        case GgufType::kBF16:
          half(at, static_cast<uint16_t>(0x3f80 + random() % 256));
          break;
        case GgufType::kQ6_K:
          half(at + 208, scale);
          break;
        case GgufType::kQ4_1:
        case GgufType::kQ4_K:
          half(at, scale);
          half(at + 2, static_cast<uint16_t>(0xa800 + random() % 512));
          break;
        default:
          half(at, scale);
          break;
      }
    }
    tensor.name = "random";
    tensor.type = type;
    tensor.n_dims = 2;
    tensor.dims = {columns, rows, 1, 1};
    tensor.data = data;
  }

  std::vector<float> Dequantized() const {
    std::vector<float> values(tensor.dims[0] * tensor.dims[1]);
    DequantizeGguf(tensor.type, data.data(), values.size(), values.data());
    return values;
  }
};

std::vector<float> Product(const PackedMatrix& matrix, const std::vector<float>& x, int32_t rows,
                           const CpuKernels& kernels) {
  Activations activations(rows, matrix.columns());
  for (int32_t m = 0; m < rows; ++m)
    activations.Set(m, x.data() + static_cast<size_t>(m) * matrix.columns(), kernels);
  const size_t stride = static_cast<size_t>(matrix.tiles()) * kTileRows;
  std::vector<float> y(rows * stride, -1);
  matrix.Multiply(activations.View(rows), 0, matrix.tiles(), y.data(), stride, kernels);
  return y;
}

class PackedProductTest : public testing::TestWithParam<GgufType> {};

TEST_P(PackedProductTest, PlainAgreesWithDoublePrecision) {
  const int32_t rows = 37, columns = 256, batch = 3;
  const RandomTensor weights(GetParam(), rows, columns, 5);
  const GgufTensor* tensors[] = {&weights.tensor};
  auto matrix = PackedMatrix::Pack(tensors);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  const std::vector<float> x = Normal(batch * columns, 11), w = weights.Dequantized();
  const std::vector<float> y = Product(*matrix, x, batch, Plain());
  const size_t stride = static_cast<size_t>(matrix->tiles()) * kTileRows;
  for (int32_t m = 0; m < batch; ++m) {
    for (int32_t n = 0; n < rows; ++n) {
      double exact = 0, bound = 0;
      for (int32_t k = 0; k < columns; ++k) {
        const double product = static_cast<double>(x[m * columns + k]) * w[n * columns + k];
        exact += product;
        bound += std::abs(static_cast<double>(w[n * columns + k]));
      }
      // max|x| is below 5: each activation is off by at most 5 / 65534; fp32 sums add less.
      EXPECT_NEAR(y[m * stride + n], exact, bound * (5.0 / 65534 + 1e-5)) << m << " " << n;
    }
    for (size_t n = rows; n < stride; ++n) EXPECT_EQ(y[m * stride + n], 0);
  }
}

TEST_P(PackedProductTest, EveryInstructionSetGivesTheSameBits) {
  for (const auto& [rows, columns] : {std::pair{16, 256}, {37, 256}, {150, 512}}) {
    const RandomTensor weights(GetParam(), rows, columns, rows);
    const GgufTensor* tensors[] = {&weights.tensor};
    auto matrix = PackedMatrix::Pack(tensors);
    ASSERT_TRUE(matrix.ok()) << matrix.status();
    for (int32_t batch = 1; batch <= 19; ++batch) {
      const std::vector<float> x = Normal(static_cast<size_t>(batch) * columns, batch);
      const std::vector<float> expected = Product(*matrix, x, batch, Plain());
      for (const InferenceIsa isa : kFast) {
        const CpuKernels* kernels = FindCpuKernels(isa);
        if (kernels == nullptr) continue;  // this CPU does not have it
        const std::vector<float> y = Product(*matrix, x, batch, *kernels);
        ASSERT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0)
            << kernels->name << " " << rows << " x " << columns << ", batch " << batch;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PackedProductTest,
                         testing::Values(GgufType::kF32, GgufType::kBF16, GgufType::kQ4_0, GgufType::kQ4_1,
                                         GgufType::kQ5_0, GgufType::kQ8_0, GgufType::kQ4_K, GgufType::kQ6_K),
                         [](const auto& info) {
                           return std::string(FindGgufType(static_cast<uint32_t>(info.param))->name);
                         });

TEST(PackedMatrixTest, StacksMatricesOfDifferentTypes) {
  const RandomTensor a(GgufType::kQ4_1, 16, 64, 1), b(GgufType::kQ8_0, 16, 64, 2);
  const GgufTensor* both[] = {&a.tensor, &b.tensor};
  auto matrix = PackedMatrix::Pack(both);
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ(matrix->packing(), Packing::kFloats);
  EXPECT_EQ(matrix->rows(), 32);
}

TEST(PackedMatrixTest, RefusesRowsThatDifferAndScalesThatAreNotFinite) {
  RandomTensor a(GgufType::kQ4_1, 16, 64, 1), b(GgufType::kQ4_1, 16, 96, 2);
  const GgufTensor* both[] = {&a.tensor, &b.tensor};
  EXPECT_EQ(PackedMatrix::Pack(both).status().code(), absl::StatusCode::kInvalidArgument);
  a.data[21] = 0x7c;  // the second block's scale becomes infinite
  const GgufTensor* one[] = {&a.tensor};
  EXPECT_EQ(PackedMatrix::Pack(one).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CpuKernelsTest, RowKernelsGiveTheSameBits) {
  const int32_t n = 192, head_dim = 64, context = 48, group = 5;
  for (const InferenceIsa isa : kFast) {
    const CpuKernels* fast = FindCpuKernels(isa);
    if (fast == nullptr) continue;
    const auto run = [&](const CpuKernels& kernels) {
      std::vector<float> x = Normal(n, 1, 4), y = Normal(n, 2), out;
      std::vector<float> norm(n), silu(n), scaled(n - 3);
      kernels.rms_norm(x.data(), y.data(), 1e-5f, n, norm.data());
      kernels.silu_multiply(x.data(), y.data(), n, silu.data());
      kernels.exp_scaled(x.data(), n - 3, kernels.maximum(x.data(), n - 3), 1.7f, scaled.data());
      const double sum = kernels.sum_exp(x.data(), n - 3, 20.0f);
      kernels.add(x.data(), y.data(), n);
      kernels.rotate(x.data(), 3, head_dim, y.data(), y.data() + 32);
      std::vector<int16_t> keys(context * head_dim), values(keys.size());
      std::vector<float> key_scales(context), value_scales(context), scratch(3 * context),
          attended(group * head_dim);
      const KvHeadView kv = {keys.data(), key_scales.data(), values.data(), value_scales.data()};
      for (int32_t p = 0; p < 40; ++p) {
        const std::vector<float> k = Normal(head_dim, 100 + p), v = Normal(head_dim, 200 + p);
        kernels.store_kv(k.data(), v.data(), head_dim, p, kv);
      }
      const std::vector<float> q = Normal(group * head_dim, 9);
      kernels.attend(q.data(), group, head_dim, 36, kv, scratch.data(), attended.data());
      for (const auto& part : {norm, silu, scaled, x, attended})
        out.insert(out.end(), part.begin(), part.end());
      out.push_back(static_cast<float>(sum));
      return out;
    };
    EXPECT_EQ(run(Plain()), run(*fast)) << fast->name;
  }
}

TEST(CpuKernelsTest, AttentionAgreesWithDoublePrecision) {
  const int32_t head_dim = 64, context = 64, group = 3, position = 50;
  std::vector<int16_t> keys(context * head_dim), values(keys.size());
  std::vector<float> key_scales(context), value_scales(context), scratch(group * context),
      out(group * head_dim);
  const KvHeadView kv = {keys.data(), key_scales.data(), values.data(), value_scales.data()};
  std::vector<std::vector<float>> k, v;
  for (int32_t p = 0; p <= position; ++p) {
    k.push_back(Normal(head_dim, 100 + p, 2));
    v.push_back(Normal(head_dim, 200 + p));
    Plain().store_kv(k[p].data(), v[p].data(), head_dim, p, kv);
  }
  const std::vector<float> q = Normal(group * head_dim, 3, 2);
  Plain().attend(q.data(), group, head_dim, position, kv, scratch.data(), out.data());
  for (int32_t g = 0; g < group; ++g) {
    std::vector<double> weights;
    double total = 0, largest = -1e9;
    for (int32_t p = 0; p <= position; ++p) {
      double score = 0;
      for (int32_t d = 0; d < head_dim; ++d) score += static_cast<double>(q[g * head_dim + d]) * k[p][d];
      weights.push_back(score / 8);
      largest = std::max(largest, weights.back());
    }
    for (double& w : weights) total += w = std::exp(w - largest);
    for (int32_t d = 0; d < head_dim; ++d) {
      double exact = 0;
      for (int32_t p = 0; p <= position; ++p) exact += weights[p] / total * v[p][d];
      EXPECT_NEAR(out[g * head_dim + d], exact, 2e-3);
    }
  }
}

TEST(CpuKernelsTest, NormSiluAndExpAgreeWithDoublePrecision) {
  const std::vector<float> x = Normal(64, 4, 6), w = Normal(64, 5);
  std::vector<float> y(64);
  Plain().rms_norm(x.data(), w.data(), 1e-5f, 64, y.data());
  double squares = 0;
  for (const float v : x) squares += static_cast<double>(v) * v;
  for (int i = 0; i < 64; ++i) EXPECT_NEAR(y[i], x[i] / std::sqrt(squares / 64 + 1e-5) * w[i], 1e-6);
  Plain().silu_multiply(x.data(), w.data(), 64, y.data());
  for (int i = 0; i < 64; ++i) {
    const double exact = x[i] / (1 + std::exp(-static_cast<double>(x[i]))) * w[i];
    EXPECT_NEAR(y[i], exact, 1e-6 * (1 + std::abs(exact)));
  }
  std::vector<float> steps, out(1000);
  for (int i = 0; i < 1000; ++i) steps.push_back(-80.0f + 0.08f * static_cast<float>(i));
  Plain().exp_scaled(steps.data(), steps.size(), 0, 1, out.data());
  for (int i = 0; i < 1000; ++i) EXPECT_NEAR(out[i] / std::exp(static_cast<double>(steps[i])), 1, 4e-7);
}

TEST(CpuKernelsTest, TinyActivationsCountAsZero) {
  const std::vector<float> x(32, 1e-35f);
  std::vector<int16_t> q(32 * kGroupRows, 1);
  std::vector<float> scales(kGroupRows), sums(kGroupRows);
  Plain().quantise(x.data(), 32, q.data(), scales.data(), sums.data());
  EXPECT_EQ(scales[0], 0);
  EXPECT_EQ(q[0], 0);
}

}  // namespace
}  // namespace retort::student
