// The embedded teacher's GGUF file for tests: found through the same function as the product, never skipped
// silently.
#ifndef TESTS_STUDENT_TOKENIZER_TEACHER_FILE_H_
#define TESTS_STUDENT_TOKENIZER_TEACHER_FILE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "student/formats/gguf.h"
#include "student/inference/teacher_gguf.h"
#include "student/tokenizer/tokenizer.h"

namespace retort::student {

// The teacher's tokenizer, loaded once per process.
inline const Tokenizer& TeacherTokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer = [] {
    auto path = FindTeacherGguf();
    EXPECT_TRUE(path.ok()) << path.status();
    auto file = GgufFile::Open(path.value());
    EXPECT_TRUE(file.ok()) << file.status();
    auto made = Tokenizer::FromGguf(**file);
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }();
  return *tokenizer;
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_TOKENIZER_TEACHER_FILE_H_
