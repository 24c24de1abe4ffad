// A file that a test needs, whole.
#ifndef TESTS_STUDENT_TOKENIZER_READ_FILE_H_
#define TESTS_STUDENT_TOKENIZER_READ_FILE_H_

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace retort::student {

inline std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_TOKENIZER_READ_FILE_H_
