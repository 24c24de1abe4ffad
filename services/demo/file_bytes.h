// Whole files that the demo wrote itself, small and trusted.
#ifndef SERVICES_DEMO_FILE_BYTES_H_
#define SERVICES_DEMO_FILE_BYTES_H_

#include <string>

namespace retort::services {

// The bytes of a file; none when it cannot be read.
std::string ReadFile(const std::string& path);

}  // namespace retort::services

#endif  // SERVICES_DEMO_FILE_BYTES_H_
