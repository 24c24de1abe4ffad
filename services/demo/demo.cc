#include "services/demo/demo.h"

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "services/cli/evidence_export.h"
#include "services/cli/exit_code.h"
#include "services/cli/job_file.h"
#include "services/cli/output.h"
#include "services/cli/progress.h"
#include "services/demo/file_bytes.h"
#include "services/demo/tamper.h"
#include "student/inference/deepseek.h"

namespace retort::services {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using retort::jobs::v1::Job;

constexpr auto kStartTimeout = std::chrono::seconds(90);  // loading the teacher on a slow disk included
constexpr auto kCallTimeout = std::chrono::seconds(60);
constexpr auto kVerifyTimeout = std::chrono::seconds(120);
constexpr auto kDrainGrace = std::chrono::seconds(20);
constexpr char kPlantedPrefix[] = "planted-";

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

absl::Status WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  out.close();
  if (!out) return absl::UnavailableError(path + ": cannot be written");
  return absl::OkStatus();
}

nlohmann::json ParseJson(const std::string& text) {
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

// A string member, or empty.
std::string Text(const nlohmann::json& object, const char* member) {
  if (!object.is_object() || !object.contains(member) || !object[member].is_string()) return "";
  return object[member].get<std::string>();
}

std::string LastLines(const std::string& text, int lines) {
  size_t at = text.size();
  while (lines-- > 0 && at != std::string::npos && at > 0) at = text.rfind('\n', at - 1);
  return at == std::string::npos ? text : text.substr(at == 0 ? 0 : at + 1);
}

std::string FirstLine(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

}  // namespace

Demo::Demo(DemoOptions options, Interrupt& interrupt, std::ostream& out, std::ostream& err)
    : options_(std::move(options)), interrupt_(interrupt), out_(out), err_(err) {}

Demo::~Demo() = default;

absl::Status Demo::Run() {
  const auto begin = Clock::now();
  const std::pair<const char*, absl::Status (Demo::*)()> stages[] = {
      {"start", &Demo::StartServer},     {"distil", &Demo::Distil},
      {"planted", &Demo::CheckPlanted},  {"refusal", &Demo::ShowRefusal},
      {"export", &Demo::Export},         {"talk", &Demo::Talk},
      {"verify", &Demo::VerifyEvidence}, {"verify_damaged", &Demo::VerifyDamagedCopies},
  };
  if (auto s = Prepare(); !s.ok()) return s;
  for (const auto& [stage, step] : stages) {
    if (interrupt_.requested()) return absl::CancelledError("interrupted");
    if (auto s = Timed(stage, step); !s.ok()) {
      if (interrupt_.requested()) return absl::CancelledError("interrupted");
      if (server_ != nullptr && server_->Poll()) {
        err_ << "the server has ended; its last words:\n"
             << LastLines(ReadFile(options_.out + "/server.log"), 8) << std::endl;
      }
      return s;
    }
  }
  summary_.seconds.emplace_back("total", SecondsSince(begin));
  return Finish();
}

absl::Status Demo::Timed(const std::string& stage, absl::Status (Demo::*step)()) {
  const auto begin = Clock::now();
  absl::Status status = (this->*step)();
  summary_.seconds.emplace_back(stage, SecondsSince(begin));
  return status;
}

void Demo::Title(const std::string& text) {
  out_ << "\n== " << text << "\n" << std::flush;
}

void Demo::Expect(bool holds, const std::string& expectation) {
  out_ << (holds ? "  ok    " : "  UNMET ") << Printable(expectation) << std::endl;
  if (!holds) summary_.unmet.push_back(expectation);
}

absl::Status Demo::Prepare() {
  std::error_code error;
  fs::create_directories(options_.out, error);
  if (error) return absl::UnavailableError(options_.out + ": cannot be made: " + error.message());
  for (const char* made :
       {"state", "student", "evidence", "damaged", "log.vkey", "summary.json", "server.log", "server.out"}) {
    fs::remove_all(fs::path(options_.out) / made, error);
    if (error)
      return absl::UnavailableError(options_.out + "/" + made + ": cannot be removed: " + error.message());
  }
  return absl::OkStatus();
}

absl::Status Demo::StartServer() {
  const std::string state = options_.out + "/state";
  out_ << "Starting retortd --dev with its state in " << state << std::endl;
  auto server = ChildProcess::Start(
      {options_.programs + "/retortd", "--dev", "--data-dir", state, "--listen", "127.0.0.1:0"},
      options_.out + "/server.out", options_.out + "/server.log");
  if (!server.ok()) return server.status();
  server_ = *std::move(server);

  ConnectionOptions connection;
  connection.dev_dir = state + "/dev";
  const auto deadline = Clock::now() + kStartTimeout;
  absl::Status last = absl::UnavailableError("it has not written its address");
  while (Clock::now() < deadline && !interrupt_.requested()) {
    if (auto exit = server_->Poll()) {
      return absl::UnavailableError("retortd ended with " + std::to_string(*exit) + " before it served");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    // No variable of the environment may lead the demo to another server.
    auto resolved = ResolveConnection(connection, [](std::string_view) { return std::nullopt; });
    if (!resolved.ok()) continue;
    auto client = Client::Connect(*resolved, kCallTimeout);
    if (!client.ok()) {
      last = client.status();
      continue;
    }
    retort::jobs::v1::ListJobsRequest request;
    request.set_parent("projects/" + options_.project);
    auto jobs = (*client)->Call((*client)->jobs(), &Client::Jobs::Stub::ListJobs, request);
    if (jobs.ok()) {
      out_ << "Serving on " << resolved->server << std::endl;
      client_ = *std::move(client);
      return absl::OkStatus();
    }
    last = jobs.status();
  }
  return absl::UnavailableError("retortd does not serve: " + std::string(last.message()));
}

absl::StatusOr<Job> Demo::RunJob(const std::string& file) {
  auto spec = LoadJobFile(options_.examples + "/" + file);
  if (!spec.ok()) return spec.status();
  retort::jobs::v1::CreateJobRequest request;
  request.set_parent("projects/" + options_.project);
  *request.mutable_spec() = *std::move(spec);
  request.set_job_id(file.substr(0, file.find('.')));
  request.set_request_id(NewRequestId());
  auto created = client_->Call(client_->jobs(), &Client::Jobs::Stub::CreateJob, request);
  if (!created.ok()) return created.status();
  ProgressPrinter progress(err_, IsTerminal(STDERR_FILENO), TerminalWidth(STDERR_FILENO));
  auto job = WatchJob(*client_, created->name(), &interrupt_, [&](const Job& now, const std::string& event) {
    if (!event.empty()) progress.Note(Printable(event));
    progress.Update(now, Clock::now());
  });
  progress.Finish();
  return job;
}

absl::Status Demo::Distil() {
  Title("Distilling a student from the embedded teacher (cooking.yaml)");
  auto job = RunJob("cooking.yaml");
  if (!job.ok()) return job.status();
  job_ = *std::move(job);
  if (job_.state() != Job::STATE_SUCCEEDED) {
    return absl::FailedPreconditionError("the job ended " + StateName(job_.state()) + " (" +
                                         job_.state_reason() + "): " + job_.state_message());
  }
  const auto& p = job_.progress();
  summary_.asked = p.samples_done();
  summary_.allowed = p.samples_allowed();
  summary_.review = p.samples_review();
  summary_.denied = p.samples_denied();
  summary_.failed = p.samples_failed();
  summary_.parameters = p.student_parameters();
  summary_.active_parameters = p.student_active_parameters();
  summary_.steps = job_.spec().training().steps();
  summary_.quality.assign(job_.quality().begin(), job_.quality().end());
  if (p.extraction_seconds() > 0) {
    summary_.teacher_tokens_per_second = static_cast<double>(p.teacher_tokens()) / p.extraction_seconds();
  }
  if (p.training_seconds() > 0) {
    summary_.trainer_tokens_per_second = static_cast<double>(p.training_tokens()) / p.training_seconds();
  }
  summary_.seconds.emplace_back("extraction", p.extraction_seconds());
  summary_.seconds.emplace_back("training", p.training_seconds());
  summary_.seconds.emplace_back("evaluation", p.evaluation_seconds());

  Expect(summary_.asked >= 160, "at least 160 prompts were asked: " + std::to_string(summary_.asked));
  Expect(summary_.allowed + summary_.review + summary_.denied == summary_.asked,
         "every sample has one decision");
  const auto* untrained = summary_.QualityOf("untrained");
  const auto* text_only = summary_.QualityOf("text_only");
  const auto* logits = summary_.QualityOf("logits");
  if (untrained == nullptr || text_only == nullptr || logits == nullptr) {
    Expect(false, "the job measured the untrained, the text_only and the logits student");
    return absl::OkStatus();
  }
  Expect(logits->kl() <= untrained->kl() / 2,
         "training at least halves the KL to the teacher: " + Decimal(untrained->kl(), 3) + " to " +
             Decimal(logits->kl(), 3));
  Expect(logits->kl() < text_only->kl(), "learning from logits beats learning from text alone: KL " +
                                             Decimal(logits->kl(), 3) + " against " +
                                             Decimal(text_only->kl(), 3));
  return absl::OkStatus();
}

absl::Status Demo::CheckPlanted() {
  Title("Samples with planted personal data");
  std::set<std::string> planted;
  {
    auto spec = LoadJobFile(options_.examples + "/cooking.yaml");
    if (!spec.ok()) return spec.status();
    for (const auto& prompt : spec->prompts()) {
      if (prompt.id().rfind(kPlantedPrefix, 0) == 0) planted.insert(prompt.id());
    }
  }
  std::set<std::string> in_review, elsewhere;
  retort::ledger::v1::ListEntriesRequest request;
  request.set_parent("projects/" + options_.project + "/ledgers/main");
  request.set_kind(retort::ledger::v1::ENTRY_KIND_SAMPLE);
  request.set_page_size(100);
  do {
    auto page = client_->Call(client_->ledger(), &Client::Ledger::Stub::ListEntries, request);
    if (!page.ok()) return page.status();
    for (const auto& entry : page->entries()) {
      if (entry.statements_size() != 2) continue;
      const std::string prompt = Text(ParseJson(entry.statements(0).statement()), "prompt_id");
      if (prompt.rfind(kPlantedPrefix, 0) != 0) continue;
      const std::string effect = Text(ParseJson(entry.statements(1).statement()), "effect");
      (effect == "review" ? in_review : elsewhere).insert(prompt);
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  Expect(!planted.empty() && in_review == planted && elsewhere.empty(),
         "all " + std::to_string(planted.size()) + " are in the ledger, in review: saw " +
             std::to_string(in_review.size()));
  return absl::OkStatus();
}

absl::Status Demo::ShowRefusal() {
  Title("A job that policy refuses (refused-openai.yaml)");
  auto job = RunJob("refused-openai.yaml");
  if (!job.ok()) return job.status();
  summary_.refused_before_sending = job->progress().samples_refused_before_sending();
  out_ << "  " << Printable(job->state_message()) << "\n";
  Expect(job->state() == Job::STATE_FAILED && job->state_reason() == "POLICY_DENIED",
         "the job ends failed, POLICY_DENIED: saw " + StateName(job->state()) + ", " + job->state_reason());
  Expect(summary_.refused_before_sending > 0 && job->progress().samples_done() == 0,
         std::to_string(summary_.refused_before_sending) +
             " prompts were refused before sending, none was sent");

  retort::ledger::v1::CountSamplesRequest count;
  count.set_parent("projects/" + options_.project);
  count.set_job_uid(job->uid());
  auto counted = client_->Call(client_->ledger(), &Client::Ledger::Stub::CountSamples, count);
  if (!counted.ok()) return counted.status();
  Expect(counted->asked() == 0, "the ledger holds no sample of it");

  if (!job->has_entries() || job->entries().preflight() < 0) {
    Expect(false, "the refusal is in the ledger");
    return absl::OkStatus();
  }
  retort::ledger::v1::GetEntryRequest get;
  get.set_name("projects/" + options_.project + "/ledgers/main/entries/" +
               std::to_string(job->entries().preflight()));
  auto entry = client_->Call(client_->ledger(), &Client::Ledger::Stub::GetEntry, get);
  if (!entry.ok()) return entry.status();
  const nlohmann::json decision =
      entry->statements_size() == 1 ? ParseJson(entry->statements(0).statement()) : nlohmann::json();
  bool named = false;
  if (decision.is_object() && decision.contains("rules") && decision["rules"].is_array()) {
    for (const auto& rule : decision["rules"]) {
      if (Text(rule, "effect") != "deny") continue;
      named = named || !Text(rule, "clause").empty();
      out_ << "  denied by " << Printable(Text(rule, "pack")) << ", rule " << Printable(Text(rule, "rule"))
           << ", clause " << Printable(Text(rule, "clause")) << "\n";
    }
  }
  Expect(Text(decision, "effect") == "deny" && named, "the refusal is entry " +
                                                          std::to_string(job->entries().preflight()) +
                                                          " of the ledger, with rule and clause");
  return absl::OkStatus();
}

absl::Status Demo::Export() {
  Title("Student and evidence");
  if (auto s = DownloadStudentFolder(*client_, job_.student(), options_.out + "/student"); !s.ok()) return s;
  if (auto s = ExportEvidencePack(*client_, options_.project, job_.name(), options_.out + "/evidence");
      !s.ok())
    return s;
  retort::ledger::v1::GetCheckpointRequest get;
  get.set_name("projects/" + options_.project + "/ledgers/main");
  auto checkpoint = client_->Call(client_->ledger(), &Client::Ledger::Stub::GetCheckpoint, get);
  if (!checkpoint.ok()) return checkpoint.status();
  summary_.ledger_size = checkpoint->tree_size();
  summary_.ledger_root = Hex(checkpoint->root());
  // An auditor has this key from the operator in person. Here the operator is this process.
  if (auto s = WriteFile(options_.out + "/log.vkey", checkpoint->vkey() + "\n"); !s.ok()) return s;
  if (auto s = CheckDataset(); !s.ok()) return s;

  client_.reset();
  server_->Stop(kDrainGrace);
  out_ << "Wrote student/, evidence/ and log.vkey in " << options_.out << "; the server is stopped."
       << std::endl;
  return absl::OkStatus();
}

absl::Status Demo::CheckDataset() {
  retort::ledger::v1::GetEntryRequest get;
  get.set_name("projects/" + options_.project + "/ledgers/main/entries/" +
               std::to_string(job_.entries().dataset()));
  auto entry = client_->Call(client_->ledger(), &Client::Ledger::Stub::GetEntry, get);
  if (!entry.ok()) return entry.status();
  const std::string sha256 = entry->statements_size() == 1
                                 ? Text(ParseJson(entry->statements(0).statement()), "manifest_sha256")
                                 : "";
  const nlohmann::json manifest = ParseJson(ReadFile(options_.out + "/evidence/attachments/" + sha256));
  if (!manifest.is_object() || !manifest.contains("samples") || !manifest["samples"].is_array()) {
    Expect(false, "the evidence holds the manifest of the dataset");
    return absl::OkStatus();
  }
  size_t planted = 0, held_out = 0;
  for (const auto& sample : manifest["samples"]) {
    planted += Text(sample, "prompt_id").rfind(kPlantedPrefix, 0) == 0;
    held_out += Text(sample, "split") == "held_out";
  }
  Expect(planted == 0,
         "none of the planted samples is in the dataset of " + std::to_string(manifest["samples"].size()));
  Expect(held_out >= 1, std::to_string(held_out) + " samples of it are held out");
  return absl::OkStatus();
}

absl::Status Demo::Talk() {
  Title("The student, on prompts that it never saw");
  // One thread: a few tokens of a small model are not worth waking others.
  auto model = student::StudentModel::Load(options_.out + "/student", {.threads = 1});
  if (!model.ok()) return model.status();
  auto spec = LoadJobFile(options_.examples + "/cooking.yaml");
  if (!spec.ok()) return spec.status();
  int shown = 0;
  for (const auto& prompt : spec->prompts()) {
    if (prompt.split() != "held_out" || shown == 2) continue;
    ++shown;
    student::SamplingOptions generation;
    generation.max_tokens = 32;
    auto reply =
        (*model)->Generate({{"system", prompt.system()}, {"user", prompt.text()}}, generation, nullptr);
    if (!reply.ok()) return reply.status();
    out_ << "  > " << prompt.text() << "\n    " << Printable(reply->text) << "\n";
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Demo::Verdict(const std::string& pack, int* exit_code) {
  auto result = RunCommand(
      {options_.programs + "/retort", "audit", "verify", pack, "--key", options_.out + "/log.vkey"},
      options_.out + "/damaged", kVerifyTimeout);
  if (!result.ok()) return result.status();
  *exit_code = result->exit_code;
  const std::string verdict = FirstLine(result->out);
  if (verdict.empty()) return FirstLine(result->err);
  return verdict;
}

absl::Status Demo::VerifyEvidence() {
  Title("retort audit verify, with no server");
  std::error_code error;
  fs::create_directory(options_.out + "/damaged", error);
  int exit_code = 0;
  auto verdict = Verdict(options_.out + "/evidence", &exit_code);
  if (!verdict.ok()) return verdict.status();
  summary_.verify.emplace_back("evidence", *verdict);
  Expect(*verdict == "VERIFIED" && exit_code == kExitOk, "the evidence: " + *verdict);
  return absl::OkStatus();
}

absl::Status Demo::VerifyDamagedCopies() {
  Title("Copies of the evidence with one byte flipped, or cut short");
  using Damage = absl::StatusOr<std::string> (*)(const std::string&);
  const std::pair<const char*, Damage> damages[] = {
      {"tampered_entry",
       [](const std::string& pack) { return FlipInSample(pack, ledger::StatementType::kCapture); }},
      {"tampered_weights",
       [](const std::string& pack) { return FlipInFile(pack, "student/model.safetensors"); }},
      {"tampered_decision",
       [](const std::string& pack) { return FlipInSample(pack, ledger::StatementType::kDecision); }},
      {"truncated", [](const std::string& pack) { return TruncateEntries(pack); }},
  };
  std::error_code ignored;
  for (const auto& [name, damage] : damages) {
    const std::string copy = options_.out + "/damaged/" + name;
    if (auto s = CopyPack(options_.out + "/evidence", copy); !s.ok()) return s;
    auto place = damage(copy);
    if (!place.ok()) return place.status();
    int exit_code = 0;
    auto verdict = Verdict(copy, &exit_code);
    if (!verdict.ok()) return verdict.status();
    summary_.verify.emplace_back(name, *verdict);
    Expect(verdict->rfind("FAILED: ", 0) == 0 && verdict->find(*place) != std::string::npos &&
               exit_code == kExitRefused,
           std::string(name) + ": " + *verdict);
    fs::remove_all(copy, ignored);
  }
  fs::remove_all(options_.out + "/damaged", ignored);
  return absl::OkStatus();
}

absl::Status Demo::Finish() {
  Title("Summary");
  summary_.Print(out_);
  if (auto s = WriteFile(options_.out + "/summary.json", summary_.ToJson()); !s.ok()) return s;
  out_ << "\nWrote " << options_.out << "/summary.json" << std::endl;
  if (summary_.unmet.empty()) return absl::OkStatus();
  std::string message = std::to_string(summary_.unmet.size()) + " expectations are unmet:";
  for (const std::string& expectation : summary_.unmet) message += "\n  " + expectation;
  return absl::FailedPreconditionError(message);
}

}  // namespace retort::services
