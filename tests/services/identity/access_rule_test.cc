#include "services/identity/access_rule.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "google/longrunning/operations.pb.h"
#include "retort/jobs/v1/jobs.pb.h"
#include "retort/ledger/v1/ledger.pb.h"
#include "retort/policy/v1/policy.pb.h"
#include "retort/student/v1/student.pb.h"
#include "retort/teacher/v1/teacher.pb.h"

namespace retort::services {
namespace {

using google::protobuf::FileDescriptor;

TEST(AccessRuleTest, EveryMethodOfEveryServiceHasARule) {
  int methods = 0;
  for (const FileDescriptor* file :
       {jobs::v1::Job::descriptor()->file(), ledger::v1::Entry::descriptor()->file(),
        policy::v1::Policy::descriptor()->file(), teacher::v1::Teacher::descriptor()->file(),
        student::v1::Student::descriptor()->file(), google::longrunning::Operation::descriptor()->file()}) {
    ASSERT_EQ(file->service_count(), 1) << file->name();
    for (int i = 0; i < file->service(0)->method_count(); ++i, ++methods) {
      const auto& method = *file->service(0)->method(i);
      const auto rule = MethodRule::Of(method);
      ASSERT_TRUE(rule.ok()) << rule.status();
      const bool reads =
          method.options().idempotency_level() == google::protobuf::MethodOptions::NO_SIDE_EFFECTS;
      const bool people = (rule->roles() & (RoleBit(ROLE_SERVICE_JOBS) - 1)) != 0;
      // An operation reads evidence; it is a change only in that it is kept, and that everybody sees it.
      const bool operation = file == google::longrunning::Operation::descriptor()->file() ||
                             method.output_type() == google::longrunning::Operation::descriptor();
      // What people may change is written down before it is done; an auditor changes nothing else.
      EXPECT_EQ(rule->audit() == AUDIT_ALL, people && !reads) << rule->method();
      const RoleSet readers = RoleBit(ROLE_VIEWER) | (operation ? 0 : RoleBit(ROLE_AUDITOR));
      EXPECT_FALSE(!reads && (rule->roles() & readers) != 0)
          << rule->method() << ": viewers and auditors never write";
    }
  }
  EXPECT_GE(methods, 56);
}

// A method of a service built for the test. Options: s and j for roles of people and services, 0 for the role
// that is none, a for the audit, and the resource after a colon.
absl::Status RuleFor(const std::string& options, bool streams_requests = false) {
  google::protobuf::FileDescriptorProto file;
  file.set_name("test.proto");
  file.set_package("test");
  file.add_dependency("retort/jobs/v1/jobs.proto");
  auto* method = file.add_service()->add_method();
  file.mutable_service(0)->set_name("Service");
  method->set_name("Call");
  method->set_input_type(".retort.jobs.v1.AskTeacherRequest");
  method->set_output_type(".retort.jobs.v1.Job");
  method->set_client_streaming(streams_requests);
  if (!options.empty()) {
    AccessRule* rule = method->mutable_options()->MutableExtension(access);
    const size_t colon = options.find(':');
    const std::string letters = options.substr(0, colon);
    if (letters.find('s') != std::string::npos) rule->add_roles(ROLE_SUBMITTER);
    if (letters.find('j') != std::string::npos) rule->add_roles(ROLE_SERVICE_JOBS);
    if (letters.find('0') != std::string::npos) rule->add_roles(ROLE_UNSPECIFIED);
    if (letters.find('a') != std::string::npos) rule->set_audit(AUDIT_ALL);
    if (colon != std::string::npos) rule->set_resource(options.substr(colon + 1));
  }
  google::protobuf::DescriptorPool pool(google::protobuf::DescriptorPool::generated_pool());
  const auto* built = pool.BuildFile(file);
  EXPECT_NE(built, nullptr);
  return MethodRule::Of(*built->service(0)->method(0)).status();
}

TEST(AccessRuleTest, AnIncompleteRuleIsRefused) {
  EXPECT_TRUE(RuleFor("sa:teacher").ok());
  EXPECT_TRUE(RuleFor("ja").ok());  // services belong to no project
  for (const char* options : {"", "a:teacher", "s:teacher", "0a:teacher", "sa", "sja", "sa:nothing",
                              "sa:messages", "sa:sampling", "sa:sampling.seed", "sa:teacher.name", "sa:"}) {
    EXPECT_EQ(RuleFor(options).code(), absl::StatusCode::kFailedPrecondition) << options;
  }
  EXPECT_EQ(RuleFor("sa:teacher", /*streams_requests=*/true).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(AccessRuleTest, FindsTheProjectOfAName) {
  EXPECT_EQ(ProjectIn("projects/acme"), "acme");
  EXPECT_EQ(ProjectIn("projects/acme/students/My_Student.v1"), "acme");
  for (const char* name : {"", "projects", "projects/", "projects//jobs/x", "projects/Acme", "projects/-",
                           "/projects/acme", "acme", "projects/acme\n", "projects/acme jobs", "projects/..",
                           "Projects/acme", "projects/acme%2f"}) {
    EXPECT_EQ(ProjectIn(name), "") << name;
  }
  EXPECT_EQ(ProjectIn("projects/acme/" + std::string(512, 'x')), "");
}

TEST(AccessRuleTest, NamesRolesAsAnAccessFileDoes) {
  EXPECT_EQ(RoleNames(RoleBit(ROLE_SUBMITTER) | RoleBit(ROLE_POLICY_ADMIN)), "submitter or policy_admin");
  EXPECT_EQ(RoleName(ROLE_SERVICE_TRAINER), "service_trainer");
}

}  // namespace
}  // namespace retort::services
