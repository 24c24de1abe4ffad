// Looks at everything that a server's configuration names: whether it would start, and whether it would work.
#ifndef SERVICES_DOCTOR_EXAMINE_SERVER_H_
#define SERVICES_DOCTOR_EXAMINE_SERVER_H_

#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "retort/server/v1/server_config.pb.h"
#include "services/doctor/finding.h"

namespace retort::services {

struct Examination {
  std::set<std::string> roles;
  std::chrono::system_clock::time_point now = std::chrono::system_clock::now();
  std::chrono::milliseconds patience = std::chrono::seconds(5);  // with each peer
};

// `config` is valid (LoadServerConfig). Nothing is changed, no database is opened: it may run beside the
// server.
std::vector<Finding> ExamineServer(const server::v1::ServerConfig& config, const Examination& examination);

}  // namespace retort::services

#endif  // SERVICES_DOCTOR_EXAMINE_SERVER_H_
