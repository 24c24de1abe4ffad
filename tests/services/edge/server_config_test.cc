#include "services/edge/server_config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace retort::services {
namespace {

constexpr char kPolicyOnly[] = R"(deployment: retort.example
listen: 127.0.0.1:7443
data_dir: /var/lib/retort
tls:
  certificate: server.crt
  private_key: server.key
  authorities: ca.crt
packs_dir: /etc/retort/packs
keys:
  policy: policy.key
peers: {ledger: "l:1"}
access_file: access.yaml
)";

absl::Status Load(const std::string& yaml, const std::set<std::string>& roles) {
  const std::string path = testing::TempDir() + "/" + std::to_string(getpid()) + ".retortd.yaml";
  std::ofstream(path) << yaml;
  return LoadServerConfig(path, roles).status();
}

TEST(ServerConfigTest, LoadsWhatARoleNeeds) {
  EXPECT_EQ(Load(kPolicyOnly, {"policy"}), absl::OkStatus());
}

TEST(ServerConfigTest, NamesWhatIsMissing) {
  const absl::Status status = Load(kPolicyOnly, {"policy", "ledger"});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("keys.log"), std::string::npos) << status;
  EXPECT_NE(status.message().find("retortd.yaml"), std::string::npos) << status;
}

TEST(ServerConfigTest, EveryProcessNamesItsAccessFileAndTheLedger) {
  for (const auto& [line, field] :
       {std::pair<std::string, std::string>{"access_file: access.yaml\n", "access_file"},
        {"peers: {ledger: \"l:1\"}\n", "peers.ledger"}}) {
    std::string yaml = kPolicyOnly;
    yaml.erase(yaml.find(line), line.size());
    const absl::Status status = Load(yaml, {"policy"});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(field + ": saw ''"), std::string::npos) << status;
  }
}

TEST(ServerConfigTest, CallLimitsHaveDefaultsAndBounds) {
  const CallLimitsOptions defaults = CallLimitsOf({});
  EXPECT_EQ(defaults.calls_per_second, 200);
  EXPECT_EQ(defaults.burst, 400);
  server::v1::CallLimits given;
  given.set_calls_per_second(7);
  given.set_streams(9);
  EXPECT_EQ(CallLimitsOf(given).burst, 14);
  EXPECT_EQ(CallLimitsOf(given).streams, 9);
  EXPECT_EQ(CallLimitsOf(given).calls, defaults.calls);

  EXPECT_EQ(Load(std::string(kPolicyOnly) + "call_limits: {calls: 100, streams: 300}\n", {"policy"}),
            absl::OkStatus());
  for (const auto& [limits, field] :
       {std::pair<std::string, std::string>{"{calls_per_second: -1}", "call_limits.calls_per_second"},
        {"{burst: 1000001}", "call_limits.burst"},
        {"{streams_of_identity: 449}", "call_limits.streams_of_identity"},
        {"{calls: 300}", "call_limits: saw '556'"}}) {
    const absl::Status status = Load(std::string(kPolicyOnly) + "call_limits: " + limits + "\n", {"policy"});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << limits;
    EXPECT_NE(status.message().find(field), std::string::npos) << status;
  }
}

TEST(ServerConfigTest, PatienceWithTeachersIsOfTheJobsRole) {
  const absl::Status status = Load(std::string(kPolicyOnly) + "teacher_outage_seconds: 5\n", {"policy"});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("teacher_outage_seconds"), std::string::npos) << status;
}

TEST(ServerConfigTest, AnAddressHoldsNoSecret) {
  const std::string base = R"(deployment: retort.example
listen: 127.0.0.1:7443
data_dir: d
tls: {certificate: a, private_key: b, authorities: c}
keys: {teacher: t}
peers: {ledger: "l:1"}
access_file: a
teachers: [{id: t, provider: openai, channel: first_party_api, model: m, openai_chat: {base_url: "URL"}}]
)";
  for (const std::string url :
       {"https://anna:hunter2@api.example/v1", "https://api.example/v1?key=hunter2"}) {
    std::string yaml = base;
    yaml.replace(yaml.find("URL"), 3, url);
    const absl::Status status = Load(yaml, {"teacher"});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find("api_key_file"), std::string::npos) << status;
    EXPECT_EQ(status.message().find("hunter2"), std::string::npos) << status;
  }
}

TEST(ServerConfigTest, RefusesASettingThatNothingUses) {
  const absl::Status status = Load(std::string(kPolicyOnly) + "trainer_program: /usr/bin/true\n", {"policy"});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("trainer_program"), std::string::npos) << status;
}

TEST(ServerConfigTest, ChecksWhatTrainingCosts) {
  const std::string base = R"(deployment: retort.example
listen: 127.0.0.1:7443
data_dir: d
tls: {certificate: a, private_key: b, authorities: c}
keys: {jobs: j, trainer: t}
peers: {teacher: "t:1", policy: "p:1", ledger: "l:1"}
access_file: a
)";
  EXPECT_EQ(Load(base + "metrics_dir: /m\ntraining_costs: {currency: EUR, price_device_hour: \"2.50\"}\n",
                 {"jobs"}),
            absl::OkStatus());
  EXPECT_EQ(Load(base + "training_costs: {declared_watts: \"65\"}\n", {"jobs"}), absl::OkStatus());
  const std::pair<const char*, const char*> bad[] = {
      {"{price_kwh: \"0.30\"}", "training_costs.currency"},
      {"{currency: EUR}", "training_costs.currency"},
      {"{currency: euro, price_kwh: \"1\"}", "training_costs.currency"},
      {"{currency: EUR, price_kwh: \"-1\"}", "training_costs.price_kwh"},
      {"{currency: EUR, price_device_hour: \"1e3\"}", "training_costs.price_device_hour"},
      {"{declared_watts: \"0.0000000001\"}", "training_costs.declared_watts"},
  };
  for (const auto& [costs, field] : bad) {
    const absl::Status status = Load(base + "training_costs: " + costs + "\n", {"jobs"});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << costs;
    EXPECT_NE(status.message().find(field), std::string::npos) << status;
  }
  const absl::Status unused = Load(std::string(kPolicyOnly) + "metrics_dir: /m\n", {"policy"});
  EXPECT_NE(unused.message().find("metrics_dir"), std::string::npos) << unused;
}

TEST(ServerConfigTest, PortsForProbesAndScrapes) {
  EXPECT_EQ(Load(std::string(kPolicyOnly) +
                     "health_listen: 0.0.0.0:7444\nmetrics_listen: "
                     "\"[::]:9464\"\nlog_format: text\ndrain_wait_seconds: 0\ngateway_listen: "
                     "0.0.0.0:7445\ngateway_origins: [\"https://a.example\"]\n",
                 {"policy"}),
            absl::OkStatus());
  const std::pair<const char*, const char*> bad[] = {
      {"health_listen: 7444\n", "health_listen"},
      {"health_listen: 127.0.0.1:7443\n", "health_listen"},  // that of `listen`
      {"health_listen: h:1\nmetrics_listen: h:1\n", "metrics_listen"},
      {"metrics_listen: http://h:1\n", "metrics_listen"},
      {"gateway_listen: 7445\n", "gateway_listen"},
      {"gateway_listen: 127.0.0.1:7443\n", "gateway_listen"},  // that of `listen`
      {"metrics_listen: h:1\ngateway_listen: h:1\n", "gateway_listen"},
      {"gateway_origins: [\"https://a.example\"]\n", "gateway_origins"},  // nothing listens
      {"log_format: JSON\n", "log_format"},
      {"drain_wait_seconds: 61\n", "drain_wait_seconds"},
      {"drain_wait_seconds: -1\n", "drain_wait_seconds"},
      {"advertise: p:1\n", "advertise"},  // nobody asks the policy role for it
  };
  for (const auto& [lines, field] : bad) {
    const absl::Status status = Load(std::string(kPolicyOnly) + lines, {"policy"});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << lines;
    EXPECT_NE(status.message().find(std::string(field) + ": saw "), std::string::npos) << status;
  }
}

TEST(ServerConfigTest, WhatIsAdvertisedCanBeCalled) {
  const std::string jobs = R"(deployment: retort.example
listen: 0.0.0.0:7443
data_dir: d
tls: {certificate: a, private_key: b, authorities: c}
keys: {jobs: j, trainer: t}
peers: {teacher: "t:1", policy: "p:1", ledger: "l:1"}
access_file: access.yaml
)";
  EXPECT_EQ(Load(jobs + "advertise: jobs.retort.svc:7443\n", {"jobs"}), absl::OkStatus());
  for (const char* address : {"0.0.0.0:7443", "\"[::]:7443\"", "jobs"}) {
    const absl::Status status = Load(jobs + "advertise: " + address + "\n", {"jobs"});
    EXPECT_NE(status.message().find("advertise"), std::string::npos) << status;
  }
}

TEST(ServerConfigTest, RefusesUnknownKeysWithTheirLine) {
  const absl::Status status = Load(std::string(kPolicyOnly) + "pakcs_dir: x\n", {"policy"});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find(":13:"), std::string::npos) << status;
}

TEST(ServerConfigTest, ChecksTeachers) {
  const std::string base = R"(deployment: retort.example
listen: 127.0.0.1:7443
data_dir: d
tls: {certificate: a, private_key: b, authorities: c}
keys: {teacher: t}
peers: {ledger: "l:1"}
access_file: a
teachers:
)";
  EXPECT_EQ(Load(base + "- {id: a, provider: p, model: m, channel: OPEN_WEIGHTS, local: {}}\n", {"teacher"}),
            absl::OkStatus());
  for (const char* teacher :
       {"- {id: A, provider: p, model: m, channel: OPEN_WEIGHTS, local: {}}\n",
        "- {id: a, provider: p, model: m, local: {}}\n",
        "- {id: a, provider: p, model: m, channel: OPEN_WEIGHTS}\n",
        "- {id: a, provider: p, model: m, channel: FIRST_PARTY_API, openai_chat: {base_url: ftp://x}}\n"}) {
    EXPECT_EQ(Load(base + teacher, {"teacher"}).code(), absl::StatusCode::kInvalidArgument) << teacher;
  }
}

// Base and additions, as Kustomize components bring them: each adds a file to one mounted ConfigMap.
TEST(ServerConfigTest, FolderIsReadInOrder) {
  const std::string folder = testing::TempDir() + "/retortd.d." + std::to_string(getpid());
  std::filesystem::create_directories(folder + "/..2026_01_31");
  EXPECT_NE(LoadServerConfig(folder, {"policy"}).status().message().find("wanted a *.yaml file"),
            std::string::npos);
  std::ofstream(folder + "/retortd.yaml") << kPolicyOnly;
  std::ofstream(folder + "/retortd-later.yaml") << "listen: 0.0.0.0:7443\n";
  std::ofstream(folder + "/zone.yaml") << "data_dir: /data\nkeys:\n  policy: other.key\n";
  const auto config = LoadServerConfig(folder, {"policy"});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->deployment(), "retort.example");
  EXPECT_EQ(config->listen(), "127.0.0.1:7443");  // retortd-later.yaml is before retortd.yaml
  EXPECT_EQ(config->data_dir(), "/data");
  EXPECT_EQ(config->keys().policy(), "other.key");
  EXPECT_EQ(config->packs_dir(), "/etc/retort/packs");
  std::ofstream(folder + "/zone.yaml") << "pakcs_dir: x\n";
  const absl::Status unknown = LoadServerConfig(folder, {"policy"}).status();
  EXPECT_NE(unknown.message().find("zone.yaml:1:"), std::string::npos) << unknown;
  std::filesystem::remove(folder + "/zone.yaml");
  std::ofstream(folder + "/notes.txt") << "x";
  EXPECT_EQ(LoadServerConfig(folder, {"policy"}).status().code(), absl::StatusCode::kInvalidArgument);
  std::filesystem::remove_all(folder);
}

TEST(ServerConfigTest, TrustedKeysAreListedOrInAFolder) {
  const std::string base = R"(deployment: retort.example
listen: 127.0.0.1:7443
data_dir: d
tls: {certificate: a, private_key: b, authorities: c}
keys: {log: l, vault: v}
access_file: a
)";
  EXPECT_EQ(Load(base, {"ledger"}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Load(base + "trusted_keys_dir: /keys\n", {"ledger"}), absl::OkStatus());
  const absl::Status unused = Load(std::string(kPolicyOnly) + "trusted_keys_dir: /keys\n", {"policy"});
  EXPECT_NE(unused.message().find("/keys"), std::string::npos) << unused;
}

TEST(RolesTest, ParsesAndRefuses) {
  EXPECT_EQ(*ParseRoles("jobs,ledger"), (std::set<std::string>{"jobs", "ledger"}));
  for (const char* roles : {"", "jobs,", "jobs,jobs", "gateway", "jobs ledger"}) {
    EXPECT_EQ(ParseRoles(roles).status().code(), absl::StatusCode::kInvalidArgument) << roles;
  }
}

}  // namespace
}  // namespace retort::services
