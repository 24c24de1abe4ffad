// Looks at one side of a mutual-TLS connection: its files, and who answers at the other end.
#ifndef SERVICES_DOCTOR_EXAMINE_TLS_H_
#define SERVICES_DOCTOR_EXAMINE_TLS_H_

#include <chrono>
#include <string>
#include <vector>

#include "services/doctor/finding.h"
#include "services/edge/tls_paths.h"

namespace retort::services {

// The files: they are there, closed, belong together, are valid at `now` and hold one identity; a certificate
// that ends within kExpiryWarning is a warning.
std::vector<Finding> ExamineTlsFiles(const TlsPaths& tls, std::chrono::system_clock::time_point now);

// Connects to host:port with these files and asks for its health, for at most `patience`: bad when nobody
// answers, when the other end is not of the authority, when it does not let this identity in, or when it is
// not ready.
Finding ExaminePeer(const std::string& what, const std::string& address, const TlsPaths& tls,
                    std::chrono::milliseconds patience);

}  // namespace retort::services

#endif  // SERVICES_DOCTOR_EXAMINE_TLS_H_
