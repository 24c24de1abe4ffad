#include "services/identity/access_table.h"

#include <gtest/gtest.h>

#include "proto/strict_yaml.h"

namespace retort::services {
namespace {

absl::StatusOr<AccessTable> Load(const std::string& yaml) {
  server::v1::AccessPolicy policy;
  if (auto s = LoadYaml(yaml, "access.yaml", &policy); !s.ok()) return s;
  return AccessTable::Make(policy);
}

SpiffeId Id(const std::string& path) {
  return *SpiffeId::Parse("spiffe://retort.example/" + path);
}

std::string Grant(const std::string& grant) {
  return "trust_domain: retort.example\ngrants:\n  - " + grant + "\n";
}

TEST(AccessTableTest, HoldsWhatIsGrantedAndNothingElse) {
  const auto table = Load(R"(
trust_domain: retort.example
grants:
  - {identity: spiffe://retort.example/anna, roles: [submitter], projects: [acme]}
  - {identity: spiffe://retort.example/anna, roles: [auditor], projects: [globex]}
  - {identity: spiffe://retort.example/root, roles: [operator], projects: ["*"]}
  - {identity: spiffe://retort.example/jobs, roles: [service_jobs], projects: ["*"]}
)");
  ASSERT_TRUE(table.ok()) << table.status();
  const RoleSet submitter = RoleBit(ROLE_SUBMITTER), auditor = RoleBit(ROLE_AUDITOR),
                viewer = RoleBit(ROLE_VIEWER);
  EXPECT_TRUE(table->Holds(Id("anna"), submitter, "acme"));
  EXPECT_FALSE(table->Holds(Id("anna"), submitter, "globex"));
  EXPECT_TRUE(table->Holds(Id("anna"), auditor, "globex"));
  EXPECT_FALSE(table->Holds(Id("anna"), auditor, "acme"));
  EXPECT_TRUE(table->Holds(Id("anna"), viewer, "acme"));  // every role of people views
  EXPECT_FALSE(table->Holds(Id("anna"), viewer, "initech"));
  EXPECT_TRUE(table->HoldsSomewhere(Id("anna"), auditor));
  EXPECT_FALSE(table->HoldsSomewhere(Id("anna"), RoleBit(ROLE_OPERATOR)));
  EXPECT_TRUE(table->Holds(Id("root"), RoleBit(ROLE_OPERATOR), "anything"));
  EXPECT_TRUE(table->Holds(Id("jobs"), RoleBit(ROLE_SERVICE_JOBS), "acme"));
  EXPECT_FALSE(table->Holds(Id("jobs"), viewer, "acme"));  // a service is not a person
  EXPECT_FALSE(table->Knows(Id("bob")));
  EXPECT_FALSE(table->Holds(Id("bob"), ~RoleSet{0}, "acme"));
}

TEST(AccessTableTest, RefusesWithTheGrantAndWhatIsWanted) {
  const auto message = [](const std::string& yaml) {
    const auto status = Load(yaml).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << yaml;
    return std::string(status.message());
  };
  EXPECT_EQ(message("grants: []"), "trust_domain: saw '', wanted a trust domain like retort.example");
  EXPECT_EQ(message("trust_domain: retort.example"), "grants: saw '0', wanted 1 to 10000");
  EXPECT_EQ(message(Grant("{identity: anna, roles: [viewer], projects: [acme]}")),
            "grants[0].identity: saw 'anna', wanted spiffe://retort.example/<path>");
  EXPECT_EQ(message(Grant("{identity: spiffe://other.example/anna, roles: [viewer], projects: [acme]}")),
            "grants[0].identity: saw 'spiffe://other.example/anna', wanted an identity of the trust domain "
            "retort.example");
  EXPECT_EQ(message(Grant("{identity: spiffe://retort.example/a, projects: [acme]}")),
            "grants[0].roles: saw '', wanted at least one role");
  EXPECT_EQ(
      message(Grant("{identity: spiffe://retort.example/a, roles: [viewer, viewer], projects: [acme]}")),
      "grants[0].roles: saw 'viewer', wanted each role once");
  EXPECT_EQ(message(Grant("{identity: spiffe://retort.example/a, roles: [viewer]}")),
            "grants[0].projects: saw '', wanted ids of projects, or \"*\" alone");
  EXPECT_EQ(message(Grant("{identity: spiffe://retort.example/a, roles: [viewer], projects: [\"*\", acme]}")),
            "grants[0].projects: saw '*', wanted [a-z]([a-z0-9-]{0,61}[a-z0-9])?, or \"*\" alone");
  EXPECT_EQ(
      message(Grant("{identity: spiffe://retort.example/a, roles: [viewer], projects: [projects/acme]}")),
      "grants[0].projects: saw 'projects/acme', wanted [a-z]([a-z0-9-]{0,61}[a-z0-9])?, or \"*\" alone");
  EXPECT_EQ(message(Grant("{identity: spiffe://retort.example/a, roles: [service_jobs], projects: [acme]}")),
            "grants[0].projects: saw 'acme', wanted \"*\" alone: a service of the deployment serves all its "
            "projects");
  message(Grant("{identity: spiffe://retort.example/a, roles: [admin], projects: [acme]}"));
  message(Grant("{identity: spiffe://retort.example/a, roles: [viewer], projects: [acme], deny: true}"));
}

}  // namespace
}  // namespace retort::services
