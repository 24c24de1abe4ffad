#include "services/teacher/configured_teachers.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/teacher/fake_endpoint.h"

namespace retort::services {
namespace {

using google::protobuf::RepeatedPtrField;
using server::v1::TeacherConfig;

TeacherConfig Remote(const std::string& id, const std::string& url) {
  TeacherConfig config;
  config.set_id(id);
  config.set_provider("openai");
  config.set_channel(teacher::v1::CHANNEL_FIRST_PARTY_API);
  config.set_model("m1");
  config.mutable_openai_chat()->set_base_url(url);
  return config;
}

RepeatedPtrField<TeacherConfig> Only(const TeacherConfig& config) {
  RepeatedPtrField<TeacherConfig> configs;
  *configs.Add() = config;
  return configs;
}

teacher::CompletionRequest Question() {
  teacher::CompletionRequest request;
  request.messages = {{"user", "x"}};
  request.sampling.max_tokens = 4;
  return request;
}

constexpr char kAnswer[] = R"({"model":"m1","choices":[{"finish_reason":"stop","message":{"content":"y"}}]})";

TEST(MakeTeacherRegistryTest, RemoteTeacherOfOpenAiUsesItsDialect) {
  teacher::FakeEndpoint endpoint([](int) { return teacher::CannedAnswer{200, kAnswer, {}}; });
  for (const char* provider : {"openai", "mistral"}) {
    TeacherConfig config = Remote("t1", endpoint.url());
    config.set_provider(provider);
    auto registry = MakeTeacherRegistry(Only(config));
    ASSERT_TRUE(registry.ok()) << registry.status();
    auto teacher = (*registry)->Get("t1");
    ASSERT_TRUE(teacher.ok()) << teacher.status();
    EXPECT_TRUE((*teacher)->Complete(Question(), {}).ok());
    EXPECT_EQ(*(*registry)->Get("t1"), *teacher);  // made once
  }
  const auto seen = endpoint.requests();
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_NE(seen[0].body.find("max_completion_tokens"), std::string::npos);
  EXPECT_NE(seen[1].body.find("\"max_tokens\""), std::string::npos);
  EXPECT_EQ(seen[0].headers.count("authorization"), 0u);
}

TEST(MakeTeacherRegistryTest, KeyMayAppearLater) {
  teacher::FakeEndpoint endpoint([](int) { return teacher::CannedAnswer{200, kAnswer, {}}; });
  const std::string path =
      std::filesystem::temp_directory_path() / ("registry_key." + std::to_string(getpid()));
  TeacherConfig config = Remote("t1", endpoint.url());
  config.mutable_openai_chat()->set_api_key_file(path);
  auto registry = MakeTeacherRegistry(Only(config));
  ASSERT_TRUE(registry.ok()) << registry.status();
  EXPECT_EQ((*registry)->Get("t1").status().code(), absl::StatusCode::kFailedPrecondition);
  std::ofstream(path) << "sk-1\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_read);
  auto teacher = (*registry)->Get("t1");
  std::filesystem::remove(path);
  ASSERT_TRUE(teacher.ok()) << teacher.status();
  EXPECT_TRUE((*teacher)->Complete(Question(), {}).ok());
  EXPECT_EQ(endpoint.requests().at(0).headers.at("authorization"), "Bearer sk-1");
}

TEST(MakeTeacherRegistryTest, WhatCannotBeMadeIsNotReady) {
  TeacherConfig unset = Remote("t1", "https://example.com");
  unset.mutable_openai_chat()->set_api_key_env("RETORT_TEST_UNSET_KEY");
  EXPECT_EQ((*MakeTeacherRegistry(Only(unset)))->Get("t1").status().message(),
            "environment variable RETORT_TEST_UNSET_KEY is not set");
  TeacherConfig local;
  local.set_id("t1");
  local.mutable_local()->set_gguf("/nonexistent/teacher.gguf");
  const auto missing = (*MakeTeacherRegistry(Only(local)))->Get("t1");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(missing.status().message().find("/nonexistent/teacher.gguf"), std::string::npos)
      << missing.status();
  EXPECT_EQ((*MakeTeacherRegistry(Only(unset)))->Get("t2").status().code(), absl::StatusCode::kNotFound);
}

TEST(MakeTeacherRegistryTest, DescriptionsRepeatTheConfiguration) {
  TeacherConfig config = Remote("t1", "https://example.com");
  config.set_acquired_time("2026-01-31T01:00:00+01:00");
  config.set_account_class("api");
  config.set_account_region("DE");
  auto registry = MakeTeacherRegistry(Only(config));
  ASSERT_TRUE(registry.ok()) << registry.status();
  const TeacherDescription* description = (*registry)->Find("t1");
  ASSERT_NE(description, nullptr);
  EXPECT_EQ(description->acquired_time, "2026-01-31T00:00:00.000000Z");
  EXPECT_EQ(description->provider, "openai");
  EXPECT_EQ(description->account_class, "api");
  EXPECT_EQ(description->account_region, "DE");
  EXPECT_EQ((*registry)->Find("t2"), nullptr);
}

TEST(MakeTeacherRegistryTest, RefusesConfigurations) {
  TeacherConfig bad_time = Remote("t1", "https://example.com");
  bad_time.set_acquired_time("yesterday");
  EXPECT_EQ(MakeTeacherRegistry(Only(bad_time)).status().code(), absl::StatusCode::kInvalidArgument);
  TeacherConfig no_backend;
  no_backend.set_id("t1");
  EXPECT_EQ(MakeTeacherRegistry(Only(no_backend)).status().code(), absl::StatusCode::kInvalidArgument);
  auto twice = Only(Remote("t1", "https://example.com"));
  *twice.Add() = Remote("t1", "https://example.com");
  EXPECT_EQ(MakeTeacherRegistry(twice).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::services
