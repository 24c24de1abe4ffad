// retort-train: flags in, one run, an exit status. README.md lists the flags.
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "services/edge/channel.h"
#include "services/train/run.h"
#include "student/formats/atomic_file.h"
#include "student/inference/teacher_gguf.h"

namespace retort::train {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitError = 1;
constexpr int kExitFlags = 2;

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set by a signal handler");

void OnSignal(int) {
  stop_requested = true;
}

struct Flags {
  std::string manifest, run_dir, ledger, log_vkey, dataset_entry, key, project, job, job_uid, run, tokenizer;
  std::string device = "auto";
  services::TlsPaths tls;
  int threads = 0;
};

void Declare(CLI::App& app, Flags& flags) {
  app.add_option("--manifest", flags.manifest, "Training manifest, canonical JSON")->required();
  app.add_option("--run-dir", flags.run_dir, "Folder of checkpoints and of the finished student")->required();
  app.add_option("--ledger", flags.ledger, "host:port of the ledger service")->required();
  app.add_option("--log-vkey", flags.log_vkey, "C2SP vkey of the project's log")->required();
  app.add_option("--dataset-entry", flags.dataset_entry, "Index or name of the DATASET entry")->required();
  app.add_option("--tls-cert", flags.tls.certificate, "PEM certificate chain of this trainer")->required();
  app.add_option("--tls-key", flags.tls.private_key, "PEM private key of that certificate")->required();
  app.add_option("--tls-ca", flags.tls.authorities, "PEM certificates of the authorities")->required();
  app.add_option("--key", flags.key, "Signing key of this trainer")->required();
  app.add_option("--project", flags.project, "projects/{project}")->required();
  app.add_option("--job", flags.job, "projects/{project}/jobs/{job}")->required();
  app.add_option("--job-uid", flags.job_uid, "uid of the job")->required();
  app.add_option("--run", flags.run, "logits or text_only, as in the manifest")->required();
  app.add_option("--tokenizer", flags.tokenizer, "GGUF file of the tokenizer; default the embedded teacher");
  app.add_option("--threads", flags.threads, "0 means all cores; the result does not depend on it")
      ->check(CLI::Range(0, 4096));
  app.add_option("--device", flags.device, "auto or cpu; both mean the CPU")
      ->check(CLI::IsMember({"auto", "cpu"}));
}

// An index, alone or as the last part of projects/P/ledgers/main/entries/N.
std::optional<uint64_t> EntryIndex(std::string text, const std::string& project) {
  const std::string prefix = project + "/ledgers/main/entries/";
  if (text.starts_with(prefix)) text.erase(0, prefix.size());
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoull(text);
}

absl::StatusOr<std::unique_ptr<student::Tokenizer>> LoadTokenizer(const Flags& flags) {
  std::string path = flags.tokenizer;
  if (path.empty()) {
    auto found = student::FindTeacherGguf();
    if (!found.ok()) return found.status();
    path = *std::move(found);
  }
  const auto file = student::GgufFile::Open(path);
  if (!file.ok()) return file.status();
  return student::Tokenizer::FromGguf(**file);
}

absl::Status Main(const Flags& flags, Events& events) {
  RunOptions options;
  const auto manifest = student::ReadWholeFile(flags.manifest, student::kManifestBytesMax);
  if (!manifest.ok()) return manifest.status();
  auto parsed = student::TrainingManifest::Parse(*manifest);
  if (!parsed.ok()) return parsed.status();
  options.manifest = *std::move(parsed);
  if (options.manifest.run != flags.run) {
    return absl::InvalidArgumentError("--run " + flags.run.substr(0, 64) + "; the manifest wants " +
                                      options.manifest.run);
  }
  const auto entry = EntryIndex(flags.dataset_entry, flags.project);
  if (!entry) {
    return absl::InvalidArgumentError("--dataset-entry " + flags.dataset_entry.substr(0, 64) +
                                      "; wanted an index or " + flags.project.substr(0, 64) +
                                      "/ledgers/main/entries/{index}");
  }
  options.dataset_entry = *entry;
  options.run_dir = flags.run_dir;
  options.project = flags.project;
  options.job = flags.job;
  options.job_uid = flags.job_uid;
  options.log_vkey = flags.log_vkey;
  options.threads = flags.threads;
  options.stop = [] { return stop_requested.load(); };
  options.log = [](std::string_view line) { std::cerr << "retort-train: " << line << std::endl; };

  const auto key = ledger::SigningKey::Load(flags.key);
  if (!key.ok()) return key.status();
  const auto tokenizer = LoadTokenizer(flags);
  if (!tokenizer.ok()) return tokenizer.status();
  const auto channel = services::ConnectTo(flags.ledger, flags.tls);
  if (!channel.ok()) return channel.status();
  LedgerClient client(retort::ledger::v1::LedgerService::NewStub(*channel), options.stop, options.log);
  return Run(options, **tokenizer, *key, client, events);
}

}  // namespace
}  // namespace retort::train

int main(int argc, char** argv) {
  using namespace retort::train;  // the program is this namespace
  CLI::App app("One training run of Retort: reads a dataset from the ledger, trains a student, attests it.",
               "retort-train");
  Flags flags;
  Declare(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitFlags;
  }
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  signal(SIGPIPE,
         SIG_IGN);  // a launcher that went away ends the run by its own signal, not in the middle of a write

  Events events(std::cout);
  const absl::Status status = Main(flags, events);
  if (status.ok()) return kExitOk;
  if (absl::IsCancelled(status) && stop_requested) {
    std::cerr << "retort-train: " << status.message() << std::endl;
    return kExitOk;
  }
  events.Error(status);
  std::cerr << "retort-train: " << status << std::endl;
  return kExitError;
}
