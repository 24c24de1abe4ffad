// Dequantisers of docs/formats/gguf.md, written as the formulas are. They are the truth that packed products
// and golden data are compared with, so every product is rounded in the stated order (the build turns
// contraction off).
#include <bit>
#include <cassert>
#include <cstring>

#include "student/formats/gguf.h"

namespace retort::student {
namespace {

uint16_t Half(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  return bits;
}

void Q4_0(const uint8_t* block, float* y) {
  const float d = HalfToFloat(Half(block));
  const uint8_t* qs = block + 2;
  for (int j = 0; j < 16; ++j) {
    y[j] = d * static_cast<float>((qs[j] & 15) - 8);
    y[j + 16] = d * static_cast<float>((qs[j] >> 4) - 8);
  }
}

void Q4_1(const uint8_t* block, float* y) {
  const float d = HalfToFloat(Half(block));
  const float m = HalfToFloat(Half(block + 2));
  const uint8_t* qs = block + 4;
  for (int j = 0; j < 16; ++j) {
    y[j] = d * static_cast<float>(qs[j] & 15) + m;
    y[j + 16] = d * static_cast<float>(qs[j] >> 4) + m;
  }
}

void Q5_0(const uint8_t* block, float* y) {
  const float d = HalfToFloat(Half(block));
  uint32_t qh;
  std::memcpy(&qh, block + 2, 4);
  const uint8_t* qs = block + 6;
  for (int j = 0; j < 16; ++j) {
    y[j] = d * static_cast<float>(static_cast<int>((qs[j] & 15) | ((qh >> j & 1) << 4)) - 16);
    y[j + 16] = d * static_cast<float>(static_cast<int>((qs[j] >> 4) | ((qh >> (j + 16) & 1) << 4)) - 16);
  }
}

void Q8_0(const uint8_t* block, float* y) {
  const float d = HalfToFloat(Half(block));
  for (int j = 0; j < 32; ++j) y[j] = d * static_cast<float>(static_cast<int8_t>(block[2 + j]));
}

void Q4_K(const uint8_t* block, float* y) {
  const float d = HalfToFloat(Half(block));
  const float dmin = HalfToFloat(Half(block + 2));
  const uint8_t* b = block + 4;
  const uint8_t* qs = block + 16;
  for (int j = 0; j < 8; ++j) {
    const int scale = j < 4 ? b[j] & 63 : (b[j + 4] & 15) | (b[j - 4] >> 6 << 4);
    const int minimum = j < 4 ? b[j + 4] & 63 : (b[j + 4] >> 4) | (b[j] >> 6 << 4);
    const float d_j = d * static_cast<float>(scale);
    const float m_j = dmin * static_cast<float>(minimum);
    const uint8_t* q = qs + 32 * (j / 2);
    for (int l = 0; l < 32; ++l) {
      y[32 * j + l] = d_j * static_cast<float>(j % 2 == 0 ? q[l] & 15 : q[l] >> 4) - m_j;
    }
  }
}

void Q6_K(const uint8_t* block, float* y) {
  const float d = HalfToFloat(Half(block + 208));
  for (int half = 0; half < 2; ++half) {
    const uint8_t* ql = block + 64 * half;
    const uint8_t* qh = block + 128 + 32 * half;
    const int8_t* sc = reinterpret_cast<const int8_t*>(block + 192 + 8 * half);
    float* out = y + 128 * half;
    for (int l = 0; l < 32; ++l) {
      const int s = l / 16;
      const int q[4] = {
          ((ql[l] & 15) | (qh[l] & 3) << 4) - 32, ((ql[l + 32] & 15) | (qh[l] >> 2 & 3) << 4) - 32,
          ((ql[l] >> 4) | (qh[l] >> 4 & 3) << 4) - 32, ((ql[l + 32] >> 4) | (qh[l] >> 6 & 3) << 4) - 32};
      for (int i = 0; i < 4; ++i) {
        out[l + 32 * i] = d * static_cast<float>(sc[s + 2 * i]) * static_cast<float>(q[i]);
      }
    }
  }
}

}  // namespace

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 31;
  const uint32_t fraction = half & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // zero and subnormals
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

void DequantizeGguf(GgufType type, const uint8_t* blocks, size_t count, float* out) {
  const GgufTypeTraits* traits = FindGgufType(static_cast<uint32_t>(type));
  assert(traits != nullptr && count % traits->block_weights == 0);
  for (size_t i = 0; i < count; i += traits->block_weights) {
    const uint8_t* block = blocks + i / traits->block_weights * traits->block_bytes;
    float* y = out + i;
    switch (type) {
      case GgufType::kF32:
        std::memcpy(y, block, 4);
        break;
      case GgufType::kF16:
        *y = HalfToFloat(Half(block));
        break;
      case GgufType::kBF16:
        *y = std::bit_cast<float>(static_cast<uint32_t>(Half(block)) << 16);
        break;
      case GgufType::kQ4_0:
        Q4_0(block, y);
        break;
      case GgufType::kQ4_1:
        Q4_1(block, y);
        break;
      case GgufType::kQ5_0:
        Q5_0(block, y);
        break;
      case GgufType::kQ8_0:
        Q8_0(block, y);
        break;
      case GgufType::kQ4_K:
        Q4_K(block, y);
        break;
      case GgufType::kQ6_K:
        Q6_K(block, y);
        break;
    }
  }
}

}  // namespace retort::student
