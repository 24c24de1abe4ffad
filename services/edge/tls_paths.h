// Where one side of a mutual-TLS connection has its files.
#ifndef SERVICES_EDGE_TLS_PATHS_H_
#define SERVICES_EDGE_TLS_PATHS_H_

#include <string>

namespace retort::services {

// PEM files of one side of a mutual-TLS connection.
struct TlsPaths {
  std::string certificate;
  std::string private_key;
  std::string authorities;
};

}  // namespace retort::services

#endif  // SERVICES_EDGE_TLS_PATHS_H_
