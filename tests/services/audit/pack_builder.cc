#include "tests/services/audit/pack_builder.h"

#include <gtest/gtest.h>

#include <cassert>
#include <filesystem>
#include <fstream>

#include "ledger/checkpoint.h"
#include "ledger/dataset_manifest.h"
#include "ledger/hex.h"
#include "ledger/merkle.h"
#include "ledger/tile.h"
#include "ledger/uuid.h"
#include "ledger/verify/pack_manifest.h"
#include "policy/decision_statement.h"
#include "policy/facts.h"

namespace retort::services {
namespace {

namespace fs = std::filesystem;

constexpr char kProject[] = "projects/demo";
constexpr char kJob[] = "projects/demo/jobs/kitchen";
constexpr char kOrigin[] = "test/demo";
constexpr char kTime[] = "2026-01-02T03:04:05.000006Z";

std::string Uuid(const std::string& name) {
  return ledger::UuidFromDigest(ledger::Sha256(name));
}
std::string Sha(const std::string& text) {
  return ledger::HexEncode(ledger::Sha256(text));
}

ledger::SigningKey Key(const std::string& name) {
  return ledger::SigningKey::FromSeed(name, ledger::AsView(ledger::Sha256(name))).value();
}

void WriteFile(const fs::path& path, std::string_view bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

const char kTestPack[] = R"(id: test.licence
version: "1"
title: A licence for tests
kind: licence
confidence: read
source_url: https://example.com/licence
document_date: 2025-01-01
effective_from: 2025-01-01
applies_to:
  - provider: huggingface
rules:
  - id: may-train
    clause: section 1
    summary: Answers may train.
    effect: allow
  - id: personal-data
    clause: section 2
    summary: Personal data is looked at.
    when: { fact: screening.personal_data, at_least: 1 }
    effect: review
)";

PackBuilder::PackBuilder()
    : log_(Key(kOrigin)),
      teacher_(Key("test/teacher")),
      policy_(Key("test/policy")),
      trainer_(Key("test/trainer")) {
  AddKey("teacher", teacher_);
  AddKey("policy", policy_);
}

void PackBuilder::AddEntry(ledger::EntryKind kind, std::vector<ledger::SignedStatement> statements) {
  leaves_.push_back(ledger::EncodeEntry({kind, 1'700'000'000'000'000, std::move(statements)}).value());
}

void PackBuilder::AddKey(const std::string& role, const ledger::SigningKey& key) {
  const ledger::KeyStatement statement{kProject, Uuid("key " + role), role, key.vkey(), "add"};
  AddEntry(ledger::EntryKind::kKey, {SignStatement(log_, ledger::StatementType::kKey, statement.ToJson())});
}

void PackBuilder::AddPack(const std::string& yaml) {
  std::vector<std::pair<std::string, std::string>> all = {{"new", yaml}};
  for (const auto& pack : packs_.packs()) all.emplace_back(pack.pack().id(), pack.bytes());
  packs_ = policy::PackSet::FromPacks(std::move(all)).value();
  const policy::LoadedPack pack = policy::LoadedPack::Parse("new", yaml).value();
  attachments_[pack.sha256()] = yaml;
  const ledger::PolicyPackStatement statement{kProject,
                                              Uuid("pack " + pack.sha256()),
                                              pack.pack().id(),
                                              pack.pack().version(),
                                              pack.sha256(),
                                              pack.pack().source_url(),
                                              pack.pack().document_date(),
                                              std::string(pack.confidence())};
  AddEntry(ledger::EntryKind::kPolicyPack,
           {SignStatement(policy_, ledger::StatementType::kPolicyPack, statement.ToJson())});
}

ledger::CaptureStatement PackBuilder::Capture(int64_t index) {
  ledger::CaptureStatement capture;
  capture.project = kProject;
  capture.job = kJob;
  capture.job_uid = Uuid("job");
  capture.request_id = ledger::SampleRequestId(capture.job_uid, index, 1);
  capture.prompt_id = "prompt-" + std::to_string(index);
  capture.index = index;
  capture.split = "train";
  capture.teacher = "projects/demo/teachers/embedded";
  capture.provider = "huggingface";
  capture.channel = "open_weights";
  capture.model_requested = capture.model_answered = "SmolLM2-135M-Instruct";
  capture.endpoint = "local";
  capture.weights_sha256 = Sha("weights");
  capture.tokenizer_sha256 = Sha("tokenizer");
  capture.temperature = "0";
  capture.top_p = "1";
  capture.max_tokens = 64;
  capture.top_logprobs = 2;
  capture.requested_time = capture.completed_time = kTime;
  capture.finish_reason = "stop";
  capture.prompt_tokens = 9;
  capture.completion_tokens = 3;
  capture.payload_digest = Sha("payload " + std::to_string(index));
  capture.payload_bytes = 100;
  return capture;
}

policy::v1::Facts PackBuilder::Facts(int64_t index, const std::map<std::string, int>& findings) {
  policy::v1::Facts facts;
  const absl::Status filled = policy::FillFactsFromCapture(Capture(index), &facts);
  assert(filled.ok());
  (void)filled;
  facts.mutable_student()->set_distributed(true);
  facts.mutable_student()->set_hosted(false);
  *facts.mutable_decided_time() = policy::ParseTime(kTime).value();
  facts.mutable_screening()->set_finish_reason("stop");
  for (const auto& [kind, count] : findings) (*facts.mutable_screening()->mutable_findings())[kind] = count;
  return facts;
}

void PackBuilder::AddSample(int64_t index, const std::map<std::string, int>& findings,
                            const ChangeDecision& change) {
  const ledger::CaptureStatement capture = Capture(index);
  auto decision =
      policy::MakeDecisionStatement(packs_, Facts(index, findings),
                                    {kProject, policy::SampleDecisionRequestId(capture.request_id), "sample",
                                     Sha(capture.ToJson()), kJob, capture.job_uid});
  EXPECT_TRUE(decision.ok()) << decision.status();
  if (change) change(*decision);
  ++samples_;
  AddEntry(ledger::EntryKind::kSample,
           {SignStatement(teacher_, ledger::StatementType::kCapture, capture.ToJson()),
            SignStatement(policy_, ledger::StatementType::kDecision, decision->ToJson())});
}

void PackBuilder::AddJobDecision(const ChangeDecision& change) {
  policy::v1::Facts facts = Facts(0, {});
  facts.clear_screening();
  facts.mutable_teacher()->clear_model_answered();
  const std::string job_uid = Uuid("job");
  auto decision = policy::MakeDecisionStatement(
      packs_, facts, {kProject, policy::PreflightRequestId(job_uid), "job", "", kJob, job_uid});
  EXPECT_TRUE(decision.ok()) << decision.status();
  if (change) change(*decision);
  AddEntry(ledger::EntryKind::kDecision,
           {SignStatement(policy_, ledger::StatementType::kDecision, decision->ToJson())});
}

void PackBuilder::AddAttempt(const ledger::TrainingUsage& usage) {
  if (dataset_entry_ < 0) {
    AddKey("trainer", trainer_);
    dataset_entry_ = static_cast<int64_t>(leaves_.size());
    const std::string manifest = ledger::DatasetManifest{}.ToJson();
    attachments_[Sha(manifest)] = manifest;
    const ledger::DatasetStatement dataset{
        kProject, Uuid("dataset"), "projects/demo/datasets/d", kJob, Uuid("job"), Sha(manifest), 0,
        0,        samples_};
    AddEntry(ledger::EntryKind::kDataset,
             {SignStatement(log_, ledger::StatementType::kDataset, dataset.ToJson())});
    attachments_[Sha("{}")] = "{}";
  }
  ledger::TrainingStatement statement;
  statement.project = kProject;
  statement.request_id = Uuid("attempt " + std::to_string(usage.attempt));
  statement.job = kJob;
  statement.job_uid = Uuid("job");
  statement.run = "logits";
  statement.phase = "usage";
  statement.dataset_entry = dataset_entry_;
  statement.manifest_sha256 = Sha("{}");
  statement.usage = usage;
  AddEntry(ledger::EntryKind::kTraining,
           {SignStatement(trainer_, ledger::StatementType::kTraining, statement.ToJson())});
}

std::string PackBuilder::Write(const std::string& name) const {
  const fs::path folder = fs::path(testing::TempDir()) / ("pack_" + name);
  fs::remove_all(folder);
  std::vector<ledger::Digest> hashes;
  for (const std::string& leaf : leaves_) hashes.push_back(ledger::LeafHash(leaf));
  assert(leaves_.size() < ledger::kTileWidth);  // one bundle and one tile are enough here
  for (const ledger::TileId& tile : ledger::BundlesOf(leaves_.size())) {
    std::string bundle;
    for (const std::string& leaf : leaves_) ledger::AppendToBundle(bundle, leaf);
    WriteFile(folder / ledger::TilePath(tile), bundle);
  }
  for (const ledger::TileId& tile : ledger::TilesOf(leaves_.size())) {
    std::string bytes;
    for (const ledger::Digest& hash : hashes) bytes += ledger::AsView(hash);
    WriteFile(folder / ledger::TilePath(tile), bytes);
  }
  for (const auto& [sha256, bytes] : attachments_) WriteFile(folder / "attachments" / sha256, bytes);
  WriteFile(folder / "checkpoint",
            ledger::SignCheckpoint({kOrigin, leaves_.size(), ledger::RootOf(hashes)}, log_));
  const absl::Status written = ledger::WritePackManifest(folder.string(), std::nullopt);
  EXPECT_TRUE(written.ok()) << written;
  return folder.string();
}

}  // namespace retort::services
