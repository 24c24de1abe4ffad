#include "services/demo/file_bytes.h"

#include <fstream>
#include <sstream>

namespace retort::services {

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

}  // namespace retort::services
