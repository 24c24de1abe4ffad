// Addresses of the form host:port, as configurations write them.
#ifndef SERVICES_EDGE_ADDRESS_H_
#define SERVICES_EDGE_ADDRESS_H_

#include <string>
#include <string_view>

namespace retort::services {

// True for host:port with a host of letters, digits, '.', '-' and '_', or an IPv6 address in brackets, and a
// decimal port of 0 to 65535. Says nothing about whether it resolves.
bool IsAddress(std::string_view address);

// Where a process reaches what itself serves on `listen`: localhost for a wildcard (0.0.0.0, [::]), which is
// an address to bind and none to call, and which no certificate names; otherwise `listen` as it is.
std::string AddressWithin(const std::string& listen);

}  // namespace retort::services

#endif  // SERVICES_EDGE_ADDRESS_H_
