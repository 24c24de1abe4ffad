// A certificate authority in memory, for tests that need certificates of every kind, bad ones too.
#ifndef TESTS_SERVICES_IDENTITY_TEST_AUTHORITY_H_
#define TESTS_SERVICES_IDENTITY_TEST_AUTHORITY_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "services/edge/tls_paths.h"

namespace retort::services {

class TestAuthority {
 public:
  // Writes `folder`/ca.crt; the folder is there.
  explicit TestAuthority(std::string folder);
  ~TestAuthority();

  struct Leaf {
    std::vector<std::string> uris;
    std::chrono::seconds begins{-60};  // from now
    std::chrono::seconds ends{3600};   // from now
  };
  // Writes `name`.crt and `name`.key (mode 0600), valid for 127.0.0.1 as client and server.
  TlsPaths Issue(const std::string& name, const Leaf& leaf) const;

 private:
  struct Impl;
  const std::string folder_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::services

#endif  // TESTS_SERVICES_IDENTITY_TEST_AUTHORITY_H_
