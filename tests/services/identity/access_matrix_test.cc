// The whole server over mutual TLS in one process: every method, as every role, in the caller's own project
// and in another, over gRPC and through the HTTP gateway. access_matrix.txt holds the expected codes; a
// method or a role without a row fails, and the message is the row to fill in.
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>

#include "ledger/signing.h"
#include "ledger/statement.h"
#include "retort/jobs/v1/jobs.grpc.pb.h"
#include "retort/ledger/v1/ledger.grpc.pb.h"
#include "retort/policy/v1/policy.grpc.pb.h"
#include "retort/teacher/v1/teacher.grpc.pb.h"
#include "services/edge/server.h"
#include "services/edge/server_config.h"
#include "services/edge/status.h"
#include "services/gateway/gateway.h"
#include "services/identity/access_guard.h"
#include "services/retortd/hosted_roles.h"
#include "tests/services/gateway/connect_client.h"
#include "tests/services/identity/test_authority.h"

namespace retort::services {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::MethodDescriptor;
using grpc::StatusCode;

constexpr const char* kServices[] = {"retort.jobs.v1.JobsService",       "retort.ledger.v1.LedgerService",
                                     "retort.policy.v1.PolicyService",   "retort.teacher.v1.TeacherService",
                                     "retort.student.v1.StudentService", "google.longrunning.Operations"};

// What the request names below the project; the resource is not there, unless it is a log.
const std::map<std::string, std::string>& Below() {
  static const std::map<std::string, std::string> below = {
      {"GetJob", "/jobs/none"},
      {"UpdateJob", "/jobs/none"},
      {"DeleteJob", "/jobs/none"},
      {"CancelJob", "/jobs/none"},
      {"PauseJob", "/jobs/none"},
      {"ResumeJob", "/jobs/none"},
      {"RetryJob", "/jobs/none"},
      {"GetJobLog", "/jobs/none"},
      {"WatchJobLog", "/jobs/none"},
      {"GetSample", "/jobs/none/samples/none"},
      {"ListSamples", "/jobs/none"},
      {"ApproveSample", "/jobs/none/samples/none"},
      {"RejectSample", "/jobs/none/samples/none"},
      {"WatchJob", "/jobs/none"},
      {"AskTeacher", "/teachers/none"},
      {"DownloadStudent", "/students/none"},
      {"ExchangeRendezvous", "/jobs/none"},
      {"DecideJob", "/jobs/none"},
      {"PreviewJob", "/jobs/none"},
      {"GetPolicy", "/policies/none"},
      {"CreatePolicyRevision", "/policies/none"},
      {"GetPolicyRevision", "/policies/none/revisions/none"},
      {"ListPolicyRevisions", "/policies/none"},
      {"ActivatePolicyRevision", "/policies/none/revisions/none"},
      {"Extract", "/teachers/none"},
      {"GetTeacher", "/teachers/none"},
      {"GetEntry", "/ledgers/main/entries/100000"},
      {"ListEntries", "/ledgers/main"},
      {"GetCheckpoint", "/ledgers/main"},
      {"GetInclusionProof", "/ledgers/main/entries/100000"},
      {"GetConsistencyProof", "/ledgers/main"},
      {"ReadDataset", "/ledgers/main/entries/100000"},
      {"ListJobSamples", "/jobs/none"},
      {"GetJobSample", "/jobs/none/samples/none"},
      {"ExportEvidence", "/ledgers/main"},
      {"ReadEvidence", "/ledgers/main"},
      {"VerifyLedger", "/ledgers/main"},
      {"GetStudent", "/students/none"},
      {"GetStudentVersion", "/students/none/versions/v1"},
      {"ListStudentVersions", "/students/none"},
      {"GetOperation", "/operations/none"},
      {"DeleteOperation", "/operations/none"},
      {"CancelOperation", "/operations/none"},
      {"WaitOperation", "/operations/none"},
  };
  return below;
}

std::vector<Role> Roles() {
  std::vector<Role> roles;
  for (int number = Role_MIN; number <= Role_MAX; ++number) {
    if (Role_IsValid(number) && number != ROLE_UNSPECIFIED) roles.push_back(static_cast<Role>(number));
  }
  return roles;
}

std::string CodeName(StatusCode code) {
  static const char* const names[] = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  return names[static_cast<int>(code)];
}

class AccessMatrixTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = testing::TempDir() + "/access_matrix_test." + std::to_string(getpid());
    std::filesystem::create_directories(folder_);
    authority_ = new TestAuthority(folder_);
    const auto config = Config();
    const std::set<std::string> roles = {"jobs", "teacher", "policy", "ledger"};
    ASSERT_EQ(ValidateServerConfig(config, roles), absl::OkStatus());
    auto hosted = HostedRoles::Open(config, roles);
    ASSERT_TRUE(hosted.ok()) << hosted.status();
    hosted_ = hosted->release();
    auto server = EdgeServer::Start(
        {.listen = config.listen(),
         .tls = {config.tls().certificate(), config.tls().private_key(), config.tls().authorities()},
         .reflection = true,
         .access = hosted_->access()},
        hosted_->services());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = server->release();
    address_ = config.listen();
    auto gateway = gateway::Gateway::Start(
        {.listen = "127.0.0.1:0",
         .tls = TlsPaths{config.tls().certificate(), config.tls().private_key(), config.tls().authorities()},
         .services = HostedRoles::ServiceNames(roles),
         .access = hosted_->access(),
         .channel = server_->InProcessChannel()});
    ASSERT_TRUE(gateway.ok()) << gateway.status();
    gateway_ = gateway->release();
    // Both projects have a log from here on.
    for (const char* project : {"acme", "globex"}) {
      EXPECT_EQ(
          Call(Channel("root"), *Method("retort.jobs.v1.JobsService", "CancelJob"), project).error_code(),
          StatusCode::NOT_FOUND);
    }
  }
  static void TearDownTestSuite() {
    delete gateway_;
    delete server_;
    delete hosted_;
    delete authority_;
    std::filesystem::remove_all(folder_);
  }

  static std::string Id(const std::string& name) { return "spiffe://retort.example/" + name; }

  static server::v1::ServerConfig Config() {
    server::v1::ServerConfig config;
    config.set_deployment("retort.example");
    config.set_listen("127.0.0.1:" + std::to_string(*FreeLoopbackPort()));
    config.set_data_dir(folder_ + "/data");
    config.set_packs_dir(std::string(RETORT_SOURCE_DIR) + "/policy/packs");
    config.set_access_file(folder_ + "/access.yaml");
    std::ofstream access(config.access_file());
    access << "trust_domain: retort.example\ngrants:\n";
    const auto grant = [&access](const std::string& name, const std::string& role,
                                 const std::string& project) {
      access << "  - {identity: " << Id(name) << ", roles: [" << role << "], projects: [" << project
             << "]}\n";
    };
    for (const Role role : Roles())
      grant(RoleName(role), RoleName(role), IsServiceRole(role) ? "\"*\"" : "acme");
    grant("root", "submitter, auditor, operator", "\"*\"");
    grant("server", "service_jobs, service_trainer", "\"*\"");
    const auto tls = authority_->Issue("server", {{Id("server")}});
    config.mutable_tls()->set_certificate(tls.certificate);
    config.mutable_tls()->set_private_key(tls.private_key);
    config.mutable_tls()->set_authorities(tls.authorities);
    auto* keys = config.mutable_keys();
    for (const auto& [role, path] :
         std::map<std::string, std::string*>{{"log", keys->mutable_log()},
                                             {"teacher", keys->mutable_teacher()},
                                             {"policy", keys->mutable_policy()},
                                             {"jobs", keys->mutable_jobs()},
                                             {"trainer", keys->mutable_trainer()}}) {
      *path = folder_ + "/" + role + ".key";
      const auto key = ledger::SigningKey::Generate("retort.example/" + role);
      EXPECT_TRUE(key.ok() && key->Save(*path).ok());
      if (role == "log") continue;
      auto* trusted = config.add_trusted_keys();
      trusted->set_role(role);
      trusted->set_vkey(key->vkey());
    }
    keys->set_vault(folder_ + "/vault.key");
    std::ofstream(keys->vault()) << std::string(64, 'a');
    std::filesystem::permissions(keys->vault(), std::filesystem::perms(0600));
    auto* teacher = config.add_teachers();
    teacher->set_id("remote");
    teacher->set_provider("openai");
    teacher->set_channel(teacher::v1::CHANNEL_FIRST_PARTY_API);
    teacher->set_model("gpt-5");
    teacher->mutable_openai_chat()->set_base_url("https://127.0.0.1:1/v1");
    teacher->mutable_openai_chat()->set_api_key_env("RETORT_TEST_NO_SUCH_KEY");
    return config;
  }

  static std::string Read(const std::string& path) {
    std::stringstream bytes;
    bytes << std::ifstream(path).rdbuf();
    return bytes.str();
  }
  static std::shared_ptr<grpc::Channel> Connect(const TlsPaths& tls) {
    grpc::SslCredentialsOptions options{Read(tls.authorities),
                                        tls.private_key.empty() ? "" : Read(tls.private_key),
                                        tls.certificate.empty() ? "" : Read(tls.certificate)};
    return grpc::CreateChannel(address_, grpc::SslCredentials(options));
  }
  static std::shared_ptr<grpc::Channel> Channel(const std::string& name) {
    return Connect(authority_->Issue(name, {{Id(name)}}));
  }

  static const MethodDescriptor* Method(const std::string& service, const std::string& name) {
    return DescriptorPool::generated_pool()->FindServiceByName(service)->FindMethodByName(name);
  }

  // A request that names a resource of the project and nothing else.
  static std::string Request(const MethodDescriptor& method, const std::string& project) {
    auto* factory = google::protobuf::MessageFactory::generated_factory();
    const std::unique_ptr<google::protobuf::Message> request(
        factory->GetPrototype(method.input_type())->New());
    const auto rule = MethodRule::Of(method);
    EXPECT_TRUE(rule.ok()) << rule.status();
    if (rule->has_resource()) {
      google::protobuf::Message* message = request.get();
      std::string field = rule->resource_field();
      for (size_t dot = field.find('.'); dot != std::string::npos; dot = field.find('.')) {
        message = message->GetReflection()->MutableMessage(
            message, message->GetDescriptor()->FindFieldByName(field.substr(0, dot)));
        field = field.substr(dot + 1);
      }
      const auto below = Below().find(method.name());
      message->GetReflection()->SetString(
          message, message->GetDescriptor()->FindFieldByName(field),
          "projects/" + project + (below == Below().end() ? "" : below->second));
    }
    return request->SerializeAsString();
  }

  // Calls any method, streams included, and throws what it answers away.
  static grpc::Status CallBytes(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                                const std::string& request) {
    grpc::GenericStub stub(channel);
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    SetDeadline(context, std::chrono::seconds(20));
    const auto wait = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    const auto call = stub.PrepareCall(&context, path, &queue);
    call->StartCall(nullptr);
    if (wait()) {
      const grpc::Slice slice(request);
      call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
      wait();
      grpc::ByteBuffer answer;
      do {
        call->Read(&answer, nullptr);
      } while (wait());
    }
    grpc::Status status;
    call->Finish(&status, nullptr);
    wait();
    return status;
  }
  static grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel, const MethodDescriptor& method,
                           const std::string& project) {
    return CallBytes(channel, "/" + method.service()->full_name() + "/" + method.name(),
                     Request(method, project));
  }

  // ACCESS statements of a project's log.
  static std::vector<ledger::AccessStatement> Accesses(const std::string& project) {
    const auto stub = ledger::v1::LedgerService::NewStub(Channel("root"));
    std::vector<ledger::AccessStatement> found;
    ledger::v1::ListEntriesRequest request;
    request.set_parent("projects/" + project + "/ledgers/main");
    request.set_kind(ledger::v1::ENTRY_KIND_ACCESS);
    request.set_page_size(1000);
    do {
      grpc::ClientContext context;
      ledger::v1::ListEntriesResponse response;
      if (!stub->ListEntries(&context, request, &response).ok()) break;
      for (const auto& entry : response.entries()) {
        auto access = ledger::AccessStatement::Parse(entry.statements(0).statement());
        EXPECT_TRUE(access.ok()) << access.status();
        found.push_back(*access);
      }
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return found;
  }

  // Refusals are written by a thread of their own.
  static bool AwaitRefusal(const std::string& project, const std::string& identity,
                           const std::string& reason) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    do {
      for (const auto& access : Accesses(project)) {
        if (access.decision == "deny" && access.identity == identity && access.reason == reason) return true;
      }
    } while (std::chrono::steady_clock::now() < end);
    return false;
  }

  static inline std::string folder_, address_;
  static inline TestAuthority* authority_ = nullptr;
  static inline HostedRoles* hosted_ = nullptr;
  static inline EdgeServer* server_ = nullptr;
  static inline gateway::Gateway* gateway_ = nullptr;

  // Through the gateway, with a certificate of these files.
  static gateway::ConnectClient OverHttp(const TlsPaths& tls) {
    return gateway::ConnectClient("127.0.0.1:" + std::to_string(gateway_->port()), tls);
  }

  // What a call ends with, by the caller's role, the method and the project.
  using Caller = std::function<std::string(const MethodDescriptor& method, const std::string& project)>;
  static void ExpectMatrix(const std::function<Caller(const std::string& role)>& caller_of);
};

void AccessMatrixTest::ExpectMatrix(const std::function<Caller(const std::string& role)>& caller_of) {
  std::map<std::pair<std::string, std::string>, std::pair<std::string, std::string>> expected;
  std::ifstream file(std::string(RETORT_SOURCE_DIR) + "/tests/services/identity/access_matrix.txt");
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream row(line);
    std::string method, role, own, foreign, more;
    ASSERT_TRUE(row >> method >> role >> own >> foreign && !(row >> more)) << line;
    ASSERT_TRUE(expected.emplace(std::pair{method, role}, std::pair{own, foreign}).second)
        << line << ": twice";
  }
  for (const Role role : Roles()) {
    const Caller call = caller_of(RoleName(role));
    for (const char* service : kServices) {
      const auto* descriptor = DescriptorPool::generated_pool()->FindServiceByName(service);
      for (int i = 0; i < descriptor->method_count(); ++i) {
        const MethodDescriptor& method = *descriptor->method(i);
        const std::string name = descriptor->name() + "/" + method.name();
        const std::string row = name + " " + RoleName(role);
        const auto want = expected.find({name, RoleName(role)});
        const std::string own = call(method, "acme");
        const std::string foreign = call(method, "globex");
        if (want == expected.end()) {
          ADD_FAILURE() << "access_matrix.txt has no row for this method and role; decide and add: " << row
                        << " ? ?"
                        << " (the server says " << own << " " << foreign << ")";
          continue;
        }
        EXPECT_EQ(own + " " + foreign, want->second.first + " " + want->second.second) << row;
        expected.erase(want);
      }
    }
  }
  for (const auto& [key, codes] : expected)
    ADD_FAILURE() << key.first << " " << key.second << ": no such method or role";
}

TEST_F(AccessMatrixTest, EveryMethodAnswersEveryRoleAsTheMatrixSays) {
  ExpectMatrix([](const std::string& role) -> Caller {
    return [channel = Channel(role)](const MethodDescriptor& method, const std::string& project) {
      return CodeName(Call(channel, method, project).error_code());
    };
  });
}

TEST_F(AccessMatrixTest, TheGatewayAnswersEveryRoleAsTheMatrixSays) {
  ExpectMatrix([](const std::string& role) -> Caller {
    auto client = std::make_shared<gateway::ConnectClient>(OverHttp(authority_->Issue(role, {{Id(role)}})));
    return [client](const MethodDescriptor& method, const std::string& project) {
      return client->Call(method, Request(method, project));
    };
  });
}

TEST_F(AccessMatrixTest, TheGatewayTurnsAwayAPeerWithoutAnIdentity) {
  const MethodDescriptor& method = *Method("retort.jobs.v1.JobsService", "GetJob");
  const auto code = [&](const std::string& name, const TestAuthority::Leaf& leaf) {
    return OverHttp(authority_->Issue(name, leaf)).Call(method, Request(method, "acme"));
  };
  EXPECT_EQ(code("i", {{}}), "UNAUTHENTICATED");
  EXPECT_EQ(code("j", {{"https://retort.example/viewer"}}), "UNAUTHENTICATED");
  EXPECT_EQ(code("k", {{"spiffe://other.example/viewer"}}), "UNAUTHENTICATED");
  EXPECT_EQ(code("l", {{Id("viewer"), Id("root")}}), "UNAUTHENTICATED");
  EXPECT_EQ(code("m", {{Id("stranger")}}), "PERMISSION_DENIED");
  EXPECT_EQ(code("n", {{Id("viewer")}}), "NOT_FOUND");
  EXPECT_EQ(code("o", {{Id("viewer")}, std::chrono::seconds(-7200), std::chrono::seconds(-3600)}),
            "NO_CONNECTION");
  EXPECT_EQ(OverHttp({"", "", folder_ + "/ca.crt"}).Call(method, Request(method, "acme")), "NO_CONNECTION");
}

TEST_F(AccessMatrixTest, APeerWithoutAnIdentityIsTurnedAway) {
  const MethodDescriptor& method = *Method("retort.jobs.v1.JobsService", "GetJob");
  const auto code = [&](const std::string& name, const TestAuthority::Leaf& leaf) {
    return Call(Connect(authority_->Issue(name, leaf)), method, "acme").error_code();
  };
  EXPECT_EQ(code("a", {{}}), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(code("b", {{"https://retort.example/viewer"}}), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(code("c", {{"spiffe://other.example/viewer"}}), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(code("d", {{Id("viewer"), Id("root")}}), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(code("e", {{Id("viewer") + "/"}}), StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(code("f", {{Id("stranger")}}), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(code("g", {{Id("viewer")}}), StatusCode::NOT_FOUND);
  // Without a certificate, or with one that has ended, nobody even reaches the processor.
  EXPECT_EQ(code("h", {{Id("viewer")}, std::chrono::seconds(-7200), std::chrono::seconds(-3600)}),
            StatusCode::UNAVAILABLE);
  EXPECT_EQ(Call(Connect({"", "", folder_ + "/ca.crt"}), method, "acme").error_code(),
            StatusCode::UNAVAILABLE);
  EXPECT_TRUE(AwaitRefusal("deployment", "", "UNAUTHENTICATED"));
  EXPECT_TRUE(AwaitRefusal("deployment", Id("stranger"), "PERMISSION_DENIED"));
}

TEST_F(AccessMatrixTest, ReflectionAndUnknownMethodsAreForTheAdmittedOnly) {
  const std::string reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  EXPECT_EQ(CallBytes(Channel("stranger"), reflection, "").error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(CallBytes(Channel("stranger"), "/no.such.Service/Method", "").error_code(),
            StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(CallBytes(Channel("viewer"), "/no.such.Service/Method", "").error_code(),
            StatusCode::UNIMPLEMENTED);
  EXPECT_NE(CallBytes(Channel("viewer"), reflection, "").error_code(), StatusCode::PERMISSION_DENIED);
}

TEST_F(AccessMatrixTest, ARefusalTellsNothingOfWhatExists) {
  const auto channel = Channel("submitter");
  for (const char* service : kServices) {
    const auto* descriptor = DescriptorPool::generated_pool()->FindServiceByName(service);
    for (int i = 0; i < descriptor->method_count(); ++i) {
      const MethodDescriptor& method = *descriptor->method(i);
      if (!MethodRule::Of(method)->has_resource()) continue;
      const grpc::Status there = Call(channel, method, "globex"), nowhere = Call(channel, method, "initech");
      EXPECT_EQ(there.error_code(), StatusCode::PERMISSION_DENIED) << method.full_name();
      std::string message = there.error_message();
      message.replace(message.find("globex"), 6, "initech");
      EXPECT_EQ(message, nowhere.error_message());
      EXPECT_EQ(ReasonOf(FromGrpcStatus(there)), PERMISSION_DENIED);
      EXPECT_EQ(MetadataOf(FromGrpcStatus(there)).size(), MetadataOf(FromGrpcStatus(nowhere)).size());
    }
  }
}

TEST_F(AccessMatrixTest, APageTokenIsGoodInItsProjectOnly) {
  const auto root = policy::v1::PolicyService::NewStub(Channel("root"));
  const auto list = [](auto& stub, const std::string& project, const std::string& token, std::string* next) {
    grpc::ClientContext context;
    policy::v1::ListPoliciesRequest request;
    request.set_parent("projects/" + project);
    request.set_page_size(1);
    request.set_page_token(token);
    policy::v1::ListPoliciesResponse response;
    const grpc::Status status = stub.ListPolicies(&context, request, &response);
    *next = response.next_page_token();
    return FromGrpcStatus(status);
  };
  std::string token, next;
  ASSERT_TRUE(list(*root, "acme", "", &token).ok());
  ASSERT_NE(token, "");
  EXPECT_TRUE(list(*root, "acme", token, &next).ok());
  EXPECT_EQ(ReasonOf(list(*root, "globex", token, &next)), PAGE_TOKEN_INVALID);
  token.back() = token.back() == '0' ? '1' : '0';
  EXPECT_EQ(ReasonOf(list(*root, "acme", token, &next)), PAGE_TOKEN_INVALID);
  // And it opens nothing: the submitter of acme shows root's own token for globex.
  ASSERT_TRUE(list(*root, "globex", "", &token).ok());
  const auto submitter = policy::v1::PolicyService::NewStub(Channel("submitter"));
  EXPECT_EQ(list(*submitter, "globex", token, &next).code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(AccessMatrixTest, TheLedgerHasAllowancesAndRefusals) {
  const auto channel = Channel("operator");
  const MethodDescriptor& cancel = *Method("retort.jobs.v1.JobsService", "CancelJob");
  EXPECT_EQ(Call(channel, cancel, "acme").error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(Call(channel, cancel, "globex").error_code(), StatusCode::PERMISSION_DENIED);
  bool allowed = false;
  for (const auto& access : Accesses("acme")) {
    allowed = allowed || (access.decision == "allow" && access.identity == Id("operator") &&
                          access.method == "/retort.jobs.v1.JobsService/CancelJob" &&
                          access.resource == "projects/acme/jobs/none");
  }
  EXPECT_TRUE(allowed);  // written before the answer
  // And the same of calls through the gateway, as who the certificate says.
  const size_t before = Accesses("acme").size();
  EXPECT_EQ(OverHttp(authority_->Issue("operator", {{Id("operator")}})).Call(cancel, Request(cancel, "acme")),
            "NOT_FOUND");
  const auto after = Accesses("acme");
  ASSERT_GT(after.size(), before);
  EXPECT_TRUE(std::any_of(
      after.begin() + static_cast<std::ptrdiff_t>(before), after.end(),
      [&](const auto& access) { return access.decision == "allow" && access.identity == Id("operator"); }));
  EXPECT_TRUE(AwaitRefusal("globex", Id("operator"), "PERMISSION_DENIED"));
}

}  // namespace
}  // namespace retort::services
