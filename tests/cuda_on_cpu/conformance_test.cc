// Everything that include/ declares of NVIDIA's is written down in conformance.cc or conformance_nccl.cc,
// which the CUDA build compiles against the real headers.
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace {

std::string ReadFile(const std::string& name) {
  std::ifstream file(std::string(RETORT_SOURCE_DIR) + "/tests/cuda_on_cpu/" + name);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_FALSE(text.str().empty()) << name;
  return text.str();
}

std::set<std::string> Names(const std::string& text, const std::string& pattern) {
  std::set<std::string> names;
  const std::regex expression(pattern);
  for (std::sregex_iterator match(text.begin(), text.end(), expression), end; match != end; ++match) {
    names.insert(std::regex_replace((*match)[1].str(), std::regex("_v2$"), ""));
  }
  return names;
}

TEST(Conformance, EveryDeclarationIsCheckedAgainstNvidiasHeaders) {
  const std::string checks = ReadFile("conformance.cc") + ReadFile("conformance_nccl.cc");
  const std::set<std::string> values = Names(checks, R"(\bVALUE\((\w+))"),
                              functions = Names(checks, R"(\bFUNCTION\((\w+))");
  std::size_t declared = 0;
  for (const char* header : {"cuda_runtime_api.h", "library_types.h", "cublas_v2.h", "nccl.h"}) {
    const std::string text = ReadFile(std::string("include/") + header);
    for (const std::string& name : Names(text, R"(\n  (\w+) = -?\d+,)")) {
      EXPECT_TRUE(values.contains(name)) << header << ": " << name;
      ++declared;
    }
    for (const std::string& name : Names(text, R"(\n(?:const )?\w+\*? ((?:cuda|cublas|nccl)[A-Z]\w*)\()")) {
      EXPECT_TRUE(functions.contains(name)) << header << ": " << name;
      ++declared;
    }
  }
  EXPECT_GT(declared, 190u) << "the expressions still find declarations";
}

}  // namespace
