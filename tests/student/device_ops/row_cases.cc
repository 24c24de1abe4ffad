#include "student/ops/copy.h"
#include "student/ops/dispatch.h"
#include "student/ops/embedding.h"
#include "tests/student/device_ops/table.h"

namespace retort::student {
namespace {

struct RowShape {
  int rows, n;
  std::size_t shift;  // values by which pointers are off a multiple of four
};
// Both sides of every cut: one value, rows shorter and longer than a block, widths of four and not, rows that
// are not aligned though their width is a multiple of four.
constexpr RowShape kRowShapes[] = {{1, 1, 0},    {3, 5, 0},    {7, 64, 0}, {33, 100, 0},
                                   {5, 1028, 0}, {2, 1030, 0}, {9, 64, 1}, {300, 4, 0}};

std::string Describe(const RowShape& shape) {
  return std::to_string(shape.rows) + " x " + std::to_string(shape.n) + " shift " +
         std::to_string(shape.shift);
}

template <typename From, typename To>
std::string Types() {
  return std::string(NameOf<From>()) + " to " + NameOf<To>();
}

template <typename From, typename To>
void CopyCases(Table* table) {
  for (const RowShape& shape : table->Of(kRowShapes)) {
    table->Begin("CopyColumns", Types<From, To>(), Describe(shape));
    // Some columns of x into others of y: strides differ, and what lies beside must stay.
    const int x_stride = shape.n + 4, y_stride = shape.n + 8;
    const int x_first = shape.shift == 0 ? 4 : 3, y_first = shape.shift == 0 ? 4 : 1;
    const auto x = Numbers<From>(shape.rows * x_stride, 1);
    const auto y = Numbers<To>(shape.rows * y_stride, 2);
    Expected expected;
    for (int row = 0; row < shape.rows; ++row) {
      for (int c = 0; c < y_stride; ++c) {
        const bool copied = c >= y_first && c < y_first + shape.n;
        expected.AddExact(copied ? Rounded<To>(ToDouble(x[row * x_stride + x_first + c - y_first]))
                                 : ToDouble(y[row * y_stride + c]));
      }
    }
    table->Compare("y", table->Twice([&] {
      DeviceArray<From> from(x);
      DeviceArray<To> to(y);
      CopyColumns(TestStream(), from.data() + x_first, x_stride, shape.rows, shape.n, to.data() + y_first,
                  y_stride);
      return Outputs{to.Doubles()};
    })[0],
                   expected);
  }
}

template <typename From>
void AddCases(Table* table) {
  for (const int count : {1, 3, 1024, 1025, 5000}) {
    table->Begin("AddInto", NameOf<From>(), std::to_string(count));
    const auto x = Numbers<From>(count, 1);
    const auto y = Numbers<float>(count, 2);
    Expected expected;
    for (int i = 0; i < count; ++i) expected.AddExact(static_cast<float>(ToDouble(x[i])) + y[i]);
    table->Compare("y", table->Twice([&] {
      DeviceArray<From> from(x);
      DeviceArray<float> to(y);
      AddInto(TestStream(), from.data(), count, to.data());
      return Outputs{to.Doubles()};
    })[0],
                   expected);
  }
}

void SetZeroCases(Table* table) {
  for (const int count : {1, 255, 4097}) {
    table->Begin("SetZero", "", std::to_string(count));
    Expected expected;
    for (int i = 0; i < count; ++i) expected.AddExact(0);
    expected.AddExact(7);
    table->Compare("memory", table->Twice([&] {
      DeviceArray<float> memory(std::vector<float>(count + 1, 7.0f));
      SetZero(TestStream(), memory.data(), count * sizeof(float));
      return Outputs{memory.Doubles()};
    })[0],
                   expected);
  }
}

template <typename From, typename To>
void MoveCases(Table* table) {
  for (const RowShape& shape : table->Of(kRowShapes)) {
    // Every third row, from the last on, twice for the gather; each once for the scatter.
    std::vector<std::int32_t> rows;
    for (int i = shape.rows - 1; i >= 0; i -= 3) rows.push_back(i);
    const int count = static_cast<int>(rows.size()), n = shape.n;
    {
      table->Begin("GatherRows", Types<From, To>(), Describe(shape));
      std::vector<std::int32_t> twice = rows;
      twice.insert(twice.end(), rows.begin(), rows.end());
      const auto x = Numbers<From>(shape.rows * n, 1);
      Expected expected;
      for (const std::int32_t row : twice) {
        for (int c = 0; c < n; ++c) expected.AddExact(Rounded<To>(ToDouble(x[row * n + c])));
      }
      table->Compare("y", table->Twice([&] {
        DeviceArray<From> from(x, shape.shift);
        DeviceArray<std::int32_t> index(twice);
        DeviceArray<To> to(twice.size() * n);
        GatherRows(TestStream(), from.data(), index.data(), 2 * count, n, to.data());
        return Outputs{to.Doubles()};
      })[0],
                     expected);
    }
    table->Begin("ScatterRows", Types<From, To>(), Describe(shape));
    const auto x = Numbers<From>(count * n, 1);
    const auto y = Numbers<To>(shape.rows * n, 2);
    Expected expected;
    expected.want = Doubles(y);
    expected.bound.assign(y.size(), 0);
    for (int i = 0; i < count; ++i) {
      for (int c = 0; c < n; ++c) expected.want[rows[i] * n + c] = Rounded<To>(ToDouble(x[i * n + c]));
    }
    table->Compare("y", table->Twice([&] {
      DeviceArray<From> from(x);
      DeviceArray<std::int32_t> index(rows);
      DeviceArray<To> to(y, shape.shift);
      ScatterRows(TestStream(), from.data(), index.data(), count, n, to.data());
      return Outputs{to.Doubles()};
    })[0],
                   expected);
  }
}

// Exact: fp32 additions in the order of k.
template <typename T>
void GatherSumCases(Table* table) {
  for (const RowShape& shape : table->Of(kRowShapes)) {
    for (const int per_token : {1, 3, 8}) {
      table->Begin("GatherSum", NameOf<T>(), Describe(shape) + " K " + std::to_string(per_token));
      const int n = shape.n, slots = shape.rows * per_token;
      std::vector<std::int32_t> token_slots(slots);
      for (int i = 0; i < slots; ++i) token_slots[i] = slots - 1 - i;
      const auto x = Numbers<T>(static_cast<std::size_t>(slots) * n, 1);
      const auto y = Numbers<float>(shape.rows * n, 2);
      Expected expected;
      for (int t = 0; t < shape.rows; ++t) {
        for (int c = 0; c < n; ++c) {
          float sum = y[t * n + c];
          for (int k = 0; k < per_token; ++k)
            sum += static_cast<float>(ToDouble(x[token_slots[t * per_token + k] * n + c]));
          expected.AddExact(sum);
        }
      }
      table->Compare("y", table->Twice([&] {
        DeviceArray<T> from(x, shape.shift);
        DeviceArray<std::int32_t> index(token_slots);
        DeviceArray<float> to(y);
        GatherSum(TestStream(), index.data(), from.data(), shape.rows, per_token, n, to.data());
        return Outputs{to.Doubles()};
      })[0],
                     expected);
    }
  }
}

void GatherValuesCases(Table* table) {
  for (const int count : {1, 255, 1000}) {
    table->Begin("GatherValues", "", std::to_string(count));
    const auto x = Numbers<float>(count, 1);
    std::vector<std::int32_t> index(count);
    Expected expected;
    for (int i = 0; i < count; ++i) expected.AddExact(x[index[i] = (i * 7 + 3) % count]);
    table->Compare("y", table->Twice([&] {
      DeviceArray<float> from(x), to(count);
      DeviceArray<std::int32_t> at(index);
      GatherValues(TestStream(), from.data(), at.data(), count, to.data());
      return Outputs{to.Doubles()};
    })[0],
                   expected);
  }
}

struct EmbeddingShape {
  int count, vocabulary, n, distinct;  // tokens take `distinct` values spread over the vocabulary
};
constexpr EmbeddingShape kEmbeddingShapes[] = {{1, 1, 1, 1},          {5, 3, 7, 3},
                                               {2000, 32768, 4, 700}, {1500, 1500, 12, 1},
                                               {1025, 1024, 3, 40},   {700, 1100000, 1, 700}};

std::vector<std::int32_t> Tokens(const EmbeddingShape& shape) {
  std::mt19937 random(5);
  std::vector<std::int32_t> tokens(shape.count);
  for (std::int32_t& token : tokens) {
    const std::int64_t value = random() % shape.distinct;
    token = static_cast<std::int32_t>((value * (shape.vocabulary / shape.distinct) + shape.vocabulary - 1) %
                                      shape.vocabulary);
  }
  return tokens;
}

template <typename T>
void EmbedCases(Table* table) {
  for (const EmbeddingShape& shape : table->Of(kEmbeddingShapes)) {
    table->Begin("Embed", NameOf<T>(),
                 std::to_string(shape.count) + " of " + std::to_string(shape.vocabulary));
    const auto weights = Numbers<T>(static_cast<std::size_t>(shape.vocabulary) * shape.n, 1);
    const auto tokens = Tokens(shape);
    Expected expected;
    for (const std::int32_t token : tokens) {
      for (int c = 0; c < shape.n; ++c)
        expected.AddExact(ToDouble(weights[static_cast<std::size_t>(token) * shape.n + c]));
    }
    table->Compare("x", table->Twice([&] {
      DeviceArray<T> device_weights(weights);
      DeviceArray<std::int32_t> ids(tokens);
      DeviceArray<float> x(tokens.size() * shape.n);
      Embed(TestStream(), device_weights.data(), ids.data(), shape.count, shape.n, x.data());
      return Outputs{x.Doubles()};
    })[0],
                   expected);
  }
}

// Exact: the order of additions is that of positions.
void EmbedBackwardCases(Table* table) {
  for (const EmbeddingShape& shape : table->Of(kEmbeddingShapes)) {
    table->Begin("EmbedBackward", "float",
                 std::to_string(shape.count) + " of " + std::to_string(shape.vocabulary));
    const auto tokens = Tokens(shape);
    const auto dx = Numbers<float>(tokens.size() * shape.n, 1);
    const auto before = Numbers<float>(static_cast<std::size_t>(shape.vocabulary) * shape.n, 2);
    std::vector<float> after = before;
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      for (int c = 0; c < shape.n; ++c)
        after[static_cast<std::size_t>(tokens[t]) * shape.n + c] += dx[t * shape.n + c];
    }
    Expected expected;
    expected.want = Doubles(after);
    expected.bound.assign(after.size(), 0);
    table->Compare("d_table", table->Twice([&] {
      DeviceArray<std::int32_t> ids(tokens);
      DeviceArray<float> gradient(dx), d_table(before);
      DeviceArray<std::int8_t> workspace(EmbedBackwardWorkspace(shape.count, shape.vocabulary));
      EmbedBackward(TestStream(), ids.data(), shape.count, shape.vocabulary, gradient.data(), shape.n,
                    d_table.data(), workspace.data());
      return Outputs{d_table.Doubles()};
    })[0],
                   expected);
  }
}

}  // namespace

void RunRowCases(Table* table) {
  CopyCases<float, float>(table);
  CopyCases<float, Bf16>(table);
  CopyCases<Bf16, float>(table);
  CopyCases<Bf16, Bf16>(table);
  AddCases<float>(table);
  AddCases<Bf16>(table);
  SetZeroCases(table);
  MoveCases<float, float>(table);
  MoveCases<float, Bf16>(table);
  MoveCases<Bf16, float>(table);
  MoveCases<Bf16, Bf16>(table);
  GatherSumCases<float>(table);
  GatherSumCases<Bf16>(table);
  GatherValuesCases(table);
  EmbedCases<float>(table);
  EmbedCases<Bf16>(table);
  EmbedBackwardCases(table);
}

}  // namespace retort::student
