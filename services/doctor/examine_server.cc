#include "services/doctor/examine_server.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <iterator>

#include "ledger/private_file.h"
#include "ledger/signing.h"
#include "policy/pack.h"
#include "services/doctor/examine_tls.h"
#include "services/edge/address.h"
#include "services/edge/disk_room.h"
#include "services/identity/access_file.h"
#include "services/identity/clock_check.h"
#include "services/ledger/project_logs.h"
#include "student/inference/teacher_gguf.h"

namespace retort::services {
namespace {

using server::v1::ServerConfig;

// What a process that will be started, or one that runs, has of an address of its own.
enum class Port { kFree, kServed, kUnusable };

Port LookAtPort(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  std::string host = listen.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), listen.c_str() + colon + 1, &wanted, &found) != 0) return Port::kUnusable;
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  Port port = Port::kUnusable;
  if (fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0) {
    port = Port::kFree;
  } else if (fd >= 0 && errno == EADDRINUSE) {
    port = Port::kServed;
  }
  if (fd >= 0) close(fd);
  freeaddrinfo(found);
  return port;
}

Finding ExamineDataDir(const std::string& folder) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error))
    return Bad("data_dir", folder + " is no folder",
               "make it, owned by the user of the server, with mode 0700");
  if (::access(folder.c_str(), R_OK | W_OK | X_OK) != 0)
    return Bad("data_dir", folder + " cannot be written by this user",
               "run this as the user of the server, or give that user the folder");
  return FromStatus("data_dir", CheckDiskRoom(folder), folder + " has room",
                    "free space or enlarge the disk");
}

Finding ExamineTeacher(const server::v1::TeacherConfig& teacher) {
  const std::string what = "teacher " + teacher.id();
  if (teacher.has_local()) {
    std::error_code error;
    if (!teacher.local().gguf().empty()) {
      if (std::filesystem::is_regular_file(teacher.local().gguf(), error))
        return Good(what, teacher.local().gguf());
      return Bad(what, teacher.local().gguf() + " is no file", "put the GGUF file there");
    }
    const auto file = student::FindTeacherGguf();
    return FromStatus(what, file.status(), file.value_or(""), "run the set-up, or set RETORT_TEACHER_GGUF");
  }
  const auto& chat = teacher.openai_chat();
  if (!chat.api_key_file().empty()) {
    return FromStatus(what, ledger::CheckPrivateFile(chat.api_key_file()),
                      chat.base_url() + ", with a key from a file", "put the key there, with mode 0600");
  }
  if (!chat.api_key_env().empty()) {
    if (getenv(chat.api_key_env().c_str()) != nullptr)
      return Good(what, chat.base_url() + ", with a key from " + chat.api_key_env());
    return Warning(what, chat.api_key_env() + " is not set here", "it must be set for the server");
  }
  return Good(what, chat.base_url() + ", without a key");
}

void ExamineKeys(const ServerConfig& config, std::vector<Finding>& findings) {
  const auto& keys = config.keys();
  for (const auto& [name, path] : {std::pair<const char*, const std::string&>{"keys.log", keys.log()},
                                   {"keys.teacher", keys.teacher()},
                                   {"keys.policy", keys.policy()},
                                   {"keys.jobs", keys.jobs()},
                                   {"keys.trainer", keys.trainer()},
                                   {"keys.reviewer", keys.reviewer()}}) {
    if (path.empty()) continue;
    const auto key = ledger::SigningKey::Load(path);
    findings.push_back(
        FromStatus(name, key.status(), key.ok() ? key->name() : "",
                   "restore it from where keys are kept, with mode 0600; a new key is another signer"));
  }
  if (!keys.vault().empty()) {
    findings.push_back(
        FromStatus("keys.vault", LoadVaultKey(keys.vault()).status(), "64 hex digits, closed to others",
                   "restore it from where keys are kept: without it no text of the ledger can be read"));
  }
}

void ExaminePorts(const ServerConfig& config, const Examination& examination, const TlsPaths& tls,
                  std::vector<Finding>& findings) {
  for (const auto& [name, listen] : {std::pair<const char*, const std::string&>{"listen", config.listen()},
                                     {"health_listen", config.health_listen()},
                                     {"metrics_listen", config.metrics_listen()}}) {
    if (listen.empty()) continue;
    const Port port = LookAtPort(listen);
    if (port == Port::kFree) {
      findings.push_back(Good(name, listen + " is free: the server does not run"));
    } else if (port == Port::kUnusable) {
      findings.push_back(Bad(name, listen + " cannot be bound", "give an address of this machine"));
    } else if (name == std::string_view("listen")) {
      findings.push_back(ExaminePeer(name, AddressWithin(listen), tls, examination.patience));
    } else {
      findings.push_back(Good(name, listen + " is served"));
    }
  }
}

}  // namespace

std::vector<Finding> ExamineServer(const ServerConfig& config, const Examination& examination) {
  const TlsPaths tls{config.tls().certificate(), config.tls().private_key(), config.tls().authorities()};
  std::vector<Finding> findings;
  findings.push_back(
      FromStatus("clock", CheckClock(examination.now, BuildDay(), "the day this program was built"),
                 "after the day this program was built", "set the clock; entries are signed with it"));
  findings.push_back(ExamineDataDir(config.data_dir()));
  auto files = ExamineTlsFiles(tls, examination.now);
  std::move(files.begin(), files.end(), std::back_inserter(findings));
  findings.push_back(FromStatus("access_file", AccessFile::Open({.path = config.access_file()}).status(),
                                config.access_file() + " is valid", "mend what the message names"));
  ExamineKeys(config, findings);
  if (!config.packs_dir().empty()) {
    const auto packs = policy::PackSet::LoadFolder(config.packs_dir());
    findings.push_back(FromStatus("packs_dir", packs.status(),
                                  packs.ok() ? std::to_string(packs->packs().size()) + " packs" : "",
                                  "mend what the message names"));
  }
  for (const auto& teacher : config.teachers()) findings.push_back(ExamineTeacher(teacher));
  for (const auto& [name, address] :
       {std::pair<const char*, const std::string&>{"peers.ledger", config.peers().ledger()},
        {"peers.policy", config.peers().policy()},
        {"peers.teacher", config.peers().teacher()}}) {
    if (!address.empty()) findings.push_back(ExaminePeer(name, address, tls, examination.patience));
  }
  ExaminePorts(config, examination, tls, findings);
  return findings;
}

}  // namespace retort::services
