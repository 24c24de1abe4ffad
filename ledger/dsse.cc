#include "ledger/dsse.h"

namespace retort::ledger {

std::string PreAuthenticationEncoding(std::string_view type, std::string_view body) {
  std::string encoding = "DSSEv1 ";
  encoding.reserve(type.size() + body.size() + 48);
  encoding += std::to_string(type.size());
  encoding += ' ';
  encoding += type;
  encoding += ' ';
  encoding += std::to_string(body.size());
  encoding += ' ';
  encoding += body;
  return encoding;
}

}  // namespace retort::ledger
