// retort-train: flags in, one run, an exit status. README.md lists the flags.
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "services/edge/channel.h"
#include "services/identity/private_process.h"
#include "services/train/account.h"
#include "services/train/device.h"
#include "services/train/follow.h"
#include "services/train/ranks.h"
#include "services/train/run.h"
#include "services/train/sensors.h"
#include "student/formats/atomic_file.h"
#include "student/inference/teacher_gguf.h"

namespace retort::train {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitError = 1;
constexpr int kExitFlags = 2;
constexpr int kExitStopped =
    3;  // by SIGTERM or SIGINT; the run goes on where it was when it is started again
constexpr int kExitGraceOver = 4;  // a stop took longer than the grace; the newest checkpoint stands

constexpr double kReportSecondsMax = 3600;

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set by a signal handler");

unsigned grace_seconds = 0;  // set before the handlers are

// The first signal starts the clock; a step that does not end in time is given up with the process.
void OnSignal(int) {
  if (!stop_requested.exchange(true) && grace_seconds > 0) alarm(grace_seconds);
}

void OnGraceOver(int) {
  constexpr char kText[] = "retort-train: the grace is over; leaving without a new checkpoint\n";
  if (write(STDERR_FILENO, kText, sizeof kText - 1) < 0) _exit(kExitGraceOver);
  _exit(kExitGraceOver);
}

struct Flags {
  std::string manifest, run_dir, ledger, log_vkey, dataset_entry, key, project, job, job_uid, run, tokenizer;
  std::string device = "auto", compute;
  std::string metrics_file, currency, price_device_hour, price_kwh, declared_watts;
  services::TlsPaths tls;
  int threads = 0;
  int data_ranks = 1, expert_ranks = 1;
  double rank_patience_seconds = 120;
  std::string jobs;
  unsigned grace_seconds = 15;
  double report_seconds = 10;
  bool settle_usage = false, stop_with_parent = false;
};

void Declare(CLI::App& app, Flags& flags) {
  app.add_option("--manifest", flags.manifest, "Training manifest, canonical JSON")->required();
  app.add_option("--run-dir", flags.run_dir, "Folder of checkpoints and of the finished student")->required();
  app.add_option("--ledger", flags.ledger, "host:port of the ledger service")->required();
  app.add_option("--log-vkey", flags.log_vkey,
                 "C2SP vkey of the project's log; needed unless --settle-usage");
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
  app.add_option("--device", flags.device,
                 "auto, cpu, cuda or cuda:<n>; auto takes the first CUDA device that is there")
      ->capture_default_str();
  app.add_option("--compute", flags.compute,
                 "fp32 or bf16: inputs of matrix products on a CUDA device; default bf16");
  app.add_option("--data-ranks", flags.data_ranks, "Processes that share the rows of a step out")
      ->check(CLI::Range(1, student::kRanksMax))
      ->capture_default_str();
  app.add_option("--expert-ranks", flags.expert_ranks, "Processes that share the routed experts of each out")
      ->check(CLI::Range(1, student::kRanksMax))
      ->capture_default_str();
  app.add_option("--jobs", flags.jobs,
                 "host:port of the jobs service, where the ranks meet; default: by name on this machine");
  app.add_option("--rank-patience", flags.rank_patience_seconds, "Seconds to wait until all ranks have come")
      ->check(CLI::Range(1.0, 600.0))
      ->capture_default_str();
  app.add_option("--grace-seconds", flags.grace_seconds,
                 "Longest time from SIGTERM to leaving; 0 means as long as it takes")
      ->check(CLI::Range(0u, 86400u))
      ->capture_default_str();
  app.add_option("--report-seconds", flags.report_seconds, "Seconds between reports; 0 means with each step")
      ->check(CLI::Range(0.0, kReportSecondsMax))
      ->capture_default_str();
  app.add_option("--metrics-file", flags.metrics_file,
                 "File of the newest report in the Prometheus text format");
  app.add_option("--currency", flags.currency, "Currency of the prices, for example EUR");
  app.add_option("--price-device-hour", flags.price_device_hour, "Price of an hour of one device");
  app.add_option("--price-kwh", flags.price_kwh, "Price of a kilowatt-hour");
  app.add_option("--declared-watts", flags.declared_watts,
                 "Power of one device, for machines that do not measure it; recorded as declared");
  app.add_flag("--stop-with-parent", flags.stop_with_parent,
               "Stop, as by SIGTERM, once the process that started this one has gone");
  app.add_flag("--settle-usage", flags.settle_usage,
               "Only bring what earlier attempts used into the ledger, and exit");
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

// The ranks of the run, or null when there is one process.
absl::StatusOr<std::unique_ptr<student::World>> Join(const Flags& flags,
                                                     const student::RankEnvironment& environment,
                                                     const student::DeviceChoice& device,
                                                     const RunOptions& run) {
  RankOptions options;
  options.layout = {flags.data_ranks, flags.expert_ranks};
  options.environment = environment;
  options.device = device;
  options.job = flags.job;
  options.job_uid = flags.job_uid;
  options.join_patience = std::chrono::milliseconds(static_cast<int64_t>(flags.rank_patience_seconds * 1000));
  auto digest = DigestOfPrograms(device);
  if (!digest.ok()) return digest.status();
  options.binary_sha256 = *std::move(digest);
  std::unique_ptr<jobs::v1::JobsService::Stub> jobs;
  if (!flags.jobs.empty()) {
    auto channel = services::ConnectTo(flags.jobs, flags.tls);
    if (!channel.ok()) return channel.status();
    jobs = jobs::v1::JobsService::NewStub(*channel);
  }
  return JoinRanks(options, run.manifest, jobs.get(), run.log);
}

absl::Status Main(const Flags& flags, const student::RankEnvironment& environment, Events& events) {
  RunOptions options;
  if (flags.log_vkey.empty() && !flags.settle_usage) {
    return absl::InvalidArgumentError("--log-vkey: nothing; wanted the C2SP vkey of the project's log");
  }
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
  options.stop = [parent = flags.stop_with_parent ? getppid() : 0] {
    if (parent != 0 && getppid() != parent) stop_requested = true;
    return stop_requested.load();
  };
  const std::string speaker =
      environment.world > 1 ? "retort-train[" + std::to_string(environment.rank) + "]: " : "retort-train: ";
  options.log = [speaker](std::string_view line) {
    std::cerr << speaker + std::string(line) + "\n" << std::flush;
  };

  options.report_every_seconds = flags.report_seconds;
  options.metrics_file = flags.metrics_file;
  auto prices = ParsePrices(flags.currency, flags.price_device_hour, flags.price_kwh);
  if (!prices.ok()) return prices.status();
  options.prices = *std::move(prices);

  const auto key = ledger::SigningKey::Load(flags.key);
  if (!key.ok()) return key.status();
  const auto channel = services::ConnectTo(flags.ledger, flags.tls);
  if (!channel.ok()) return channel.status();
  LedgerClient client(retort::ledger::v1::LedgerService::NewStub(*channel), options.stop, options.log);
  if (flags.settle_usage) return SettleRun(options, *key, client);
  const auto tokenizer = LoadTokenizer(flags);
  if (!tokenizer.ok()) return tokenizer.status();
  const auto device = OpenTrainingDevice(
      {.device = flags.device, .compute = flags.compute, .local_rank = environment.local_rank}, options.log);
  if (!device.ok()) return device.status();
  options.backend = device->backend.get();
  const auto world = Join(flags, environment, device->choice, options);
  if (!world.ok()) return world.status();
  options.world = world->get();
  if (options.world != nullptr && flags.threads == 0) {
    options.threads = std::max(1, student::ThreadPool::DefaultThreads() / environment.world);
  }
  if (environment.rank > 0) {
    const absl::Status status = Follow(options, **tokenizer, client);
    if (!status.ok() && !absl::IsCancelled(status)) options.world->Abort(std::string(status.message()));
    return status;
  }
  SensorOptions sensor_options;
  sensor_options.threads = options.threads;
  sensor_options.devices = environment.world;
  if (options.backend != nullptr) {
    const student::DeviceDescription& description = options.backend->description();
    sensor_options.cuda_device = description.pci_bus_id;
    sensor_options.cuda_name = description.name;
    sensor_options.cuda_bf16 = description.compute == "bf16";
  }
  sensor_options.declared_watts = flags.declared_watts;
  const auto sensors = Sensors::Open(sensor_options, options.log);
  if (!sensors.ok()) return sensors.status();
  options.instruments = (*sensors)->instruments();
  options.declared_watts = (*sensors)->declared_watts();
  const absl::Status status = Run(options, **tokenizer, *key, client, events);
  if (!status.ok() && !absl::IsCancelled(status) && options.world != nullptr) {
    options.world->Abort(std::string(status.message()));
  }
  return status;
}

}  // namespace
}  // namespace retort::train

int main(int argc, char** argv) {
  using namespace retort::train;  // the program is this namespace
  if (const absl::Status status = retort::services::KeepMemoryPrivate(); !status.ok()) {
    std::cerr << "retort-train: " << status << std::endl;
    return kExitError;
  }
  CLI::App app("One training run of Retort: reads a dataset from the ledger, trains a student, attests it.",
               "retort-train");
  Flags flags;
  Declare(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitFlags;
  }
  grace_seconds = flags.grace_seconds;
  struct sigaction action {};
  action.sa_handler = OnSignal;
  for (const int stop : {SIGTERM, SIGINT, SIGUSR1})
    sigaction(stop, &action, nullptr);  // mpirun passes on the last
  action.sa_handler = OnGraceOver;
  sigaction(SIGALRM, &action, nullptr);
  signal(SIGPIPE,
         SIG_IGN);  // a launcher that went away ends the run by its own signal, not in the middle of a write

  retort::student::RankEnvironment environment;
  const std::string problem = retort::student::ReadRankEnvironment(getenv, &environment);
  Events events(std::cout);
  const absl::Status status =
      problem.empty() ? Main(flags, environment, events) : absl::InvalidArgumentError(problem);
  if (status.ok()) return kExitOk;
  if (absl::IsCancelled(status) && (stop_requested || environment.world > 1)) {
    std::cerr << "retort-train: " << status.message() << std::endl;
    // The first status that is not 0 makes mpirun end the ranks that are left, and rank 0 may still be
    // writing.
    return environment.mpirun && environment.rank > 0 ? kExitOk : kExitStopped;
  }
  if (environment.rank == 0) events.Error(status);
  std::cerr << "retort-train: " << status << std::endl;
  return kExitError;
}
