// Bytes of an access file, and of an identity: refused or taken, never more than bounded work; what is taken
// is spelled in one way.
#include <cassert>
#include <cstdint>
#include <string>

#include "proto/strict_yaml.h"
#include "services/identity/access_table.h"
#include "services/identity/spiffe_id.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace retort::services;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto id = SpiffeId::Parse(text); id.ok()) {
    assert(id->text() == text && !id->path().empty() && IsTrustDomain(id->trust_domain()));
    assert(*SpiffeId::Parse(id->text()) == *id);
  }
  const std::string project = ProjectIn(text);
  assert(project.empty() || text.starts_with("projects/" + project));
  retort::server::v1::AccessPolicy policy;
  if (!retort::LoadYaml(text, "fuzz.yaml", &policy).ok()) return 0;
  const auto table = AccessTable::Make(policy);
  if (!table.ok()) return 0;
  for (const auto& grant : policy.grants()) {
    const auto id = SpiffeId::Parse(grant.identity());
    assert(id.ok() && table->Knows(*id) && table->HoldsSomewhere(*id, ~RoleSet{0}));
  }
  return 0;
}
