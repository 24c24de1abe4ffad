#include "services/jobs/training.h"

#include <algorithm>

#include "ledger/hex.h"
#include "services/edge/channel.h"
#include "services/jobs/durable_file.h"

namespace retort::jobs {
namespace {

constexpr int kCheckpointsPerRun = 10;  // when the spec does not say

std::string ProjectOf(const v1::JobRecord& record) {
  return record.job().name().substr(0, record.job().name().find("/jobs/"));
}

}  // namespace

std::vector<std::string> RunsOf(const v1::JobRecord& record) {
  const bool logits = record.has_tokenizer() && record.job().spec().sampling().top_logprobs() > 0;
  if (!logits) return {"text_only"};
  if (record.job().spec().training().text_only_baseline()) return {"logits", "text_only"};
  return {"logits"};
}

absl::StatusOr<student::TrainingManifest> ManifestOf(const v1::JobRecord& record, const std::string& run,
                                                     const TrainerProgram& program) {
  const v1::JobSpec& spec = record.job().spec();
  const v1::TrainingSpec& training = spec.training();
  student::TrainingManifest manifest;
  manifest.run = run;
  manifest.student = spec.student().name();
  manifest.shape = spec.student().shape();
  manifest.tokenizer_sha256 =
      record.has_tokenizer() ? ledger::HexEncode(record.tokenizer().sha256()) : program.tokenizer_sha256;
  manifest.vocabulary_size =
      record.has_tokenizer() ? record.tokenizer().vocabulary_size() : program.vocabulary_size;
  manifest.steps = training.steps();
  manifest.batch_tokens = training.batch_tokens();
  manifest.sequence_length = training.sequence_length();
  manifest.warmup_steps = training.warmup_steps();
  manifest.checkpoint_every = training.checkpoint_every() > 0
                                  ? training.checkpoint_every()
                                  : std::max(1, training.steps() / kCheckpointsPerRun);
  manifest.seed = training.seed();
  manifest.learning_rate = training.learning_rate();
  manifest.cross_entropy_weight = run == "text_only" ? 1.0 : training.cross_entropy_weight();
  manifest.weight_decay = training.weight_decay();
  manifest.prediction_layers = training.prediction_layers();
  manifest.prediction_loss_weight = training.prediction_loss_weight();
  if (auto valid = manifest.Validate(); !valid.ok()) return valid;
  return manifest;
}

absl::StatusOr<std::filesystem::path> PrepareRunFolder(const std::filesystem::path& folder,
                                                       const student::TrainingManifest& manifest) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::UnavailableError(folder.string() + ": " + error.message());
  const std::filesystem::path path = folder / "manifest.json";
  const std::string wanted = manifest.ToJson();
  if (std::filesystem::exists(path, error)) {
    auto present = services::ReadSmallFile(path.string(), student::kManifestBytesMax);
    if (!present.ok()) return present.status();
    if (*present != wanted) {
      return absl::FailedPreconditionError(path.string() + " belongs to another run; its digest is not " +
                                           manifest.Digest());
    }
    return path;
  }
  if (auto written = WriteDurably(path, wanted); !written.ok()) return written;
  return path;
}

int RanksOf(const v1::JobRecord& record) {
  const v1::TrainingSpec& training = record.job().spec().training();
  return std::max(1, training.data_ranks()) * std::max(1, training.expert_ranks());
}

std::filesystem::path MetricsPath(const v1::JobRecord& record, const std::string& run,
                                  const TrainerProgram& program) {
  if (program.metrics_dir.empty()) return {};
  return program.metrics_dir / ("retort_train_" + record.job().uid() + "_" + run + ".prom");
}

std::vector<std::string> SettleArguments(const v1::JobRecord& record, const std::string& run,
                                         const std::filesystem::path& folder, const TrainerProgram& program) {
  const std::string project = ProjectOf(record);
  return {"--settle-usage",
          "--manifest",
          (folder / "manifest.json").string(),
          "--run-dir",
          folder.string(),
          "--ledger",
          program.ledger_address,
          "--dataset-entry",
          project + "/ledgers/main/entries/" + std::to_string(record.job().entries().dataset()),
          "--tls-cert",
          program.tls.certificate,
          "--tls-key",
          program.tls.private_key,
          "--tls-ca",
          program.tls.authorities,
          "--key",
          program.key_file,
          "--project",
          project,
          "--job",
          record.job().name(),
          "--job-uid",
          record.job().uid(),
          "--run",
          run};
}

std::vector<std::string> TrainerArguments(const v1::JobRecord& record, const std::string& run,
                                          const std::filesystem::path& folder, const std::string& log_vkey,
                                          const TrainerProgram& program) {
  const std::string project = ProjectOf(record);
  std::vector<std::string> arguments;
  auto add = [&](const char* flag, std::string value) {
    arguments.push_back(flag);
    arguments.push_back(std::move(value));
  };
  add("--manifest", (folder / "manifest.json").string());
  add("--run-dir", folder.string());
  add("--ledger", program.ledger_address);
  add("--log-vkey", log_vkey);
  add("--dataset-entry",
      project + "/ledgers/main/entries/" + std::to_string(record.job().entries().dataset()));
  add("--tls-cert", program.tls.certificate);
  add("--tls-key", program.tls.private_key);
  add("--tls-ca", program.tls.authorities);
  add("--key", program.key_file);
  add("--project", project);
  add("--job", record.job().name());
  add("--job-uid", record.job().uid());
  add("--run", run);
  add("--threads", std::to_string(record.job().spec().training().threads()));
  if (!program.tokenizer_gguf.empty()) add("--tokenizer", program.tokenizer_gguf);
  const TrainingCosts& costs = program.costs;
  if (!costs.currency.empty()) add("--currency", costs.currency);
  if (!costs.price_device_hour.empty()) add("--price-device-hour", costs.price_device_hour);
  if (!costs.price_kwh.empty()) add("--price-kwh", costs.price_kwh);
  if (!costs.declared_watts.empty()) add("--declared-watts", costs.declared_watts);
  if (!program.device.empty()) add("--device", program.device);
  if (program.grace_seconds > 0) add("--grace-seconds", std::to_string(program.grace_seconds));
  if (const auto metrics = MetricsPath(record, run, program); !metrics.empty())
    add("--metrics-file", metrics.string());
  if (RanksOf(record) > 1) {
    const v1::TrainingSpec& training = record.job().spec().training();
    add("--data-ranks", std::to_string(std::max(1, training.data_ranks())));
    add("--expert-ranks", std::to_string(std::max(1, training.expert_ranks())));
    if (!program.jobs_address.empty()) add("--jobs", program.jobs_address);
  }
  return arguments;
}

}  // namespace retort::jobs
