#include "services/edge/address.h"

#include <algorithm>
#include <cctype>

namespace retort::services {
namespace {

bool AllOf(std::string_view text, std::string_view others) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return std::isalnum(c) != 0 || others.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

}  // namespace

bool IsAddress(std::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view host = address.substr(0, colon), port = address.substr(colon + 1);
  if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string_view::npos)
    return false;
  if (std::stoi(std::string(port)) > 65535) return false;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    return AllOf(host.substr(1, host.size() - 2), ":.");
  }
  return host.size() <= 253 && AllOf(host, ".-_");
}

std::string AddressWithin(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  const std::string host = listen.substr(0, colon);
  if (host != "0.0.0.0" && host != "[::]") return listen;
  return "localhost" + listen.substr(colon);
}

}  // namespace retort::services
