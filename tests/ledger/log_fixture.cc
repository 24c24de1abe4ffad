#include "tests/ledger/log_fixture.h"

#include <cassert>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include "ledger/hex.h"
#include "ledger/tile.h"
#include "ledger/uuid.h"
#include "retort/teacher/v1/payload.pb.h"

namespace retort::ledger {
namespace {

constexpr char kTime[] = "2026-01-02T03:04:05.000006Z";

SigningKey KeyFrom(const std::string& name, const std::string& seed) {
  absl::StatusOr<SigningKey> key = SigningKey::FromSeed(name, AsView(Sha256(seed)));
  assert(key.ok());
  return *std::move(key);
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  // Memory where there is some: these tests are about order and bytes, not about the speed of a disk.
  std::error_code error;
  const bool memory = std::filesystem::is_directory("/dev/shm", error);
  const std::filesystem::path parent = memory ? "/dev/shm" : std::filesystem::temp_directory_path();
  std::string pattern = (parent / "retort-ledger-XXXXXX").string();
  const char* made = mkdtemp(pattern.data());
  assert(made != nullptr);
  path_ = made;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string ReadWholeFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteWholeFile(const std::string& path, std::string_view bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

TestKeys TestKeys::Make() {
  return {.log = KeyFrom(kOrigin, "log"),
          .teacher = KeyFrom("test/teacher", "teacher"),
          .policy = KeyFrom("test/policy", "policy"),
          .jobs = KeyFrom("test/jobs", "jobs"),
          .trainer = KeyFrom("test/trainer", "trainer"),
          .reviewer = KeyFrom("test/reviewer", "reviewer")};
}

std::vector<TrustedKey> TestKeys::Trusted() const {
  return {{"teacher", teacher.vkey()},
          {"policy", policy.vkey()},
          {"jobs", jobs.vkey()},
          {"trainer", trainer.vkey()},
          {"reviewer", reviewer.vkey()}};
}

std::string UuidOf(const std::string& name) {
  return UuidFromDigest(Sha256("test\n" + name));
}

SampleParts MakeSampleParts(const SampleChoice& choice) {
  SampleParts parts;
  teacher::v1::SamplePayload payload;
  auto* turn = payload.add_messages();
  turn->set_role("user");
  turn->set_content("prompt " + std::to_string(choice.index));
  payload.set_completion(choice.completion);
  auto* trace = payload.mutable_trace();
  const Digest tokenizer = Sha256("tokenizer");
  trace->set_tokenizer_sha256(std::string(AsView(tokenizer)));
  trace->set_vocabulary_size(100);
  trace->add_prompt_ids(1);
  trace->set_k(2);
  for (uint32_t position = 0; position < 3; ++position) {
    trace->add_completion_ids(position + 5);
    trace->add_completion_logprobs(-0.5f);
    for (uint32_t i = 0; i < 2; ++i) {
      trace->add_top_ids(position + i);
      trace->add_top_logprobs(-0.5f - static_cast<float>(i));
    }
    trace->add_tail_logprobs(-3.0f);
  }
  parts.payload = payload.SerializeAsString();
  parts.salt = std::string(AsView(Sha256("salt " + std::to_string(choice.index))));

  CaptureStatement& capture = parts.capture;
  capture.project = kProject;
  capture.request_id = SampleRequestId(choice.job_uid, choice.index, choice.attempt);
  capture.job = kJob;
  capture.job_uid = choice.job_uid;
  capture.prompt_id = "prompt-" + std::to_string(choice.index);
  capture.index = choice.index;
  capture.attempt = choice.attempt;
  capture.split = choice.split;
  capture.teacher = "projects/demo/teachers/smol";
  capture.provider = "huggingface";
  capture.channel = "weights";
  capture.account_class = "consumer";
  capture.account_region = "DE";
  capture.model_requested = capture.model_answered = "SmolLM2-135M-Instruct";
  capture.endpoint = "local";
  capture.weights_sha256 = HexEncode(Sha256("weights"));
  capture.tokenizer_sha256 = HexEncode(tokenizer);
  capture.temperature = "0.7";
  capture.top_p = "1";
  capture.seed = 42;
  capture.max_tokens = 64;
  capture.top_logprobs = 2;
  capture.requested_time = capture.completed_time = kTime;
  capture.finish_reason = "stop";
  capture.prompt_tokens = 1;
  capture.completion_tokens = 3;
  capture.payload_digest = HexEncode(SaltedDigest(parts.salt, parts.payload));
  capture.payload_bytes = static_cast<int64_t>(parts.payload.size());

  DecisionStatement& decision = parts.decision;
  decision.project = kProject;
  decision.request_id = capture.request_id;
  decision.subject_kind = "sample";
  decision.subject_digest = HexEncode(Sha256(capture.ToJson()));
  decision.job = capture.job;
  decision.job_uid = capture.job_uid;
  decision.effect = choice.effect;
  decision.rules = {
      {.pack = "smollm2", .rule = "licence", .effect = choice.effect, .clause = "Apache-2.0 s. 2"}};
  decision.packs = {{.id = "smollm2", .version = "1", .sha256 = HexEncode(Sha256("pack"))}};
  decision.facts = "{\"channel\":\"weights\",\"provider\":\"huggingface\"}";
  decision.facts_digest = HexEncode(Sha256(decision.facts));
  decision.generated_time = decision.decided_time = kTime;
  return parts;
}

AppendRequest SignSample(const TestKeys& keys, SampleParts parts) {
  AppendRequest request{.kind = EntryKind::kSample};
  request.statements = {SignStatement(keys.teacher, StatementType::kCapture, parts.capture.ToJson()),
                        SignStatement(keys.policy, StatementType::kDecision, parts.decision.ToJson())};
  request.payload = std::move(parts.payload);
  request.salt = std::move(parts.salt);
  return request;
}

AppendRequest MakeSample(const TestKeys& keys, const SampleChoice& choice) {
  return SignSample(keys, MakeSampleParts(choice));
}

AppendRequest MakePolicyPack(const TestKeys& keys, const std::string& content) {
  const PolicyPackStatement statement{.project = kProject,
                                      .request_id = UuidOf("pack " + content),
                                      .id = "smollm2",
                                      .version = "1",
                                      .sha256 = HexEncode(Sha256(content)),
                                      .source_url = "https://example.com/licence",
                                      .document_date = "2024-11-01",
                                      .confidence = "high"};
  AppendRequest request{.kind = EntryKind::kPolicyPack};
  request.statements = {SignStatement(keys.policy, StatementType::kPolicyPack, statement.ToJson())};
  request.attachments = {content};
  return request;
}

AppendRequest MakeDecision(const TestKeys& keys, const std::string& subject, const std::string& effect,
                           int number) {
  DecisionStatement decision = MakeSampleParts({}).decision;
  decision.request_id = UuidOf("decision " + std::to_string(number));
  decision.subject_digest = subject;
  decision.effect = effect;
  AppendRequest request{.kind = EntryKind::kDecision};
  request.statements = {SignStatement(keys.policy, StatementType::kDecision, decision.ToJson())};
  return request;
}

AppendRequest MakeReview(const TestKeys& keys, uint64_t entry, const std::string& decision,
                         const std::string& verdict, int number) {
  const ReviewStatement review{.project = kProject,
                               .request_id = UuidOf("review " + std::to_string(number)),
                               .subject_entry = static_cast<int64_t>(entry),
                               .subject_digest = HexEncode(Sha256(decision)),
                               .verdict = verdict,
                               .reviewer = "somebody",
                               .reason = "found an address in it: \"\xc3\xa9\xe2\x82\xac\\\n\"",
                               .reviewed_time = kTime};
  return {.kind = EntryKind::kReview,
          .statements = {SignStatement(keys.reviewer, StatementType::kReview, review.ToJson())}};
}

TrainingStatement MakeTraining(uint64_t dataset_entry, const std::string& phase, int64_t step,
                               const std::string& previous_digest) {
  return {.project = kProject,
          .request_id = UuidOf("training " + phase + std::to_string(step)),
          .job = kJob,
          .job_uid = kJobUid,
          .run = "logits",
          .phase = phase,
          .dataset_entry = static_cast<int64_t>(dataset_entry),
          .manifest_sha256 = HexEncode(Sha256(kTrainingManifest)),
          .step = step,
          .checkpoint_digest = HexEncode(Sha256("state " + std::to_string(step))),
          .previous_digest = previous_digest,
          .transcript_digest = HexEncode(Sha256("transcript " + std::to_string(step))),
          .loss = phase == "start" ? "" : "1.25"};
}

TrainingStatement MakeUsage(uint64_t dataset_entry, int64_t attempt) {
  return {.project = kProject,
          .request_id = UuidOf("usage " + std::to_string(attempt)),
          .job = kJob,
          .job_uid = kJobUid,
          .run = "logits",
          .phase = "usage",
          .dataset_entry = static_cast<int64_t>(dataset_entry),
          .manifest_sha256 = HexEncode(Sha256(kTrainingManifest)),
          .usage = {.attempt = attempt,
                    .outcome = "finished",
                    .first_step = 0,
                    .last_step = 2,
                    .tokens = 256,
                    .begun_time = "2026-01-02T03:00:00.000000Z",
                    .ended_time = "2026-01-02T04:30:00.000000Z",
                    .device = "cpu, 2 threads",
                    .devices = 1,
                    .device_seconds = "5400",
                    .energy_source = "rapl",
                    .energy_kwh = "0.5",
                    .currency = "EUR",
                    .price_device_hour = "2.5",
                    .price_kwh = "0.3",
                    .device_cost = "3.75",
                    .energy_cost = "0.15"}};
}

AppendRequest SignTraining(const TestKeys& keys, const TrainingStatement& statement) {
  AppendRequest request{.kind = EntryKind::kTraining};
  request.statements = {SignStatement(keys.trainer, StatementType::kTraining, statement.ToJson())};
  if (statement.phase == "start") request.attachments = {kTrainingManifest};
  return request;
}

AppendRequest SignRelease(const TestKeys& keys, const ReleaseStatement& statement) {
  AppendRequest request{.kind = EntryKind::kRelease};
  request.statements = {SignStatement(keys.jobs, StatementType::kRelease, statement.ToJson())};
  return request;
}

AccessStatement MakeAccess(const std::string& decision, int64_t count) {
  const bool allowed = decision == "allow";
  return {.project = kProject,
          .request_id = UuidOf("access " + decision + std::to_string(count)),
          .identity = "spiffe://retort.example/people/anna",
          .method = "/retort.jobs.v1.JobsService/CancelJob",
          .resource = allowed ? kJob : "",
          .decision = decision,
          .reason = allowed ? "" : "PERMISSION_DENIED",
          .count = count,
          .first_time = "2026-01-02T03:04:05.000006Z",
          .last_time = "2026-01-02T03:04:05.000006Z"};
}

AppendRequest SignAccess(const SigningKey& key, const AccessStatement& statement) {
  AppendRequest request{.kind = EntryKind::kAccess};
  request.statements = {SignStatement(key, StatementType::kAccess, statement.ToJson())};
  return request;
}

void WriteEvidence(const Log& log, const std::string& folder) {
  const SignedCheckpoint checkpoint = log.CheckpointNote();
  WriteWholeFile(folder + "/checkpoint", checkpoint.note);
  for (const TileId& tile : BundlesOf(checkpoint.checkpoint.size)) {
    std::string bundle, hashes;
    const absl::Status status = log.ForEachEntry(
        tile.index * kTileWidth, tile.index * kTileWidth + tile.width, {}, [&](const StoredEntry& entry) {
          AppendToBundle(bundle, entry.leaf);
          hashes += AsView(entry.leaf_hash);
          return absl::OkStatus();
        });
    assert(status.ok());
    WriteWholeFile(folder + "/" + TilePath(tile), bundle);
    WriteWholeFile(folder + "/" + TilePath({.index = tile.index, .width = tile.width}), hashes);
  }
  const absl::Status status = log.ForEachAttachment([&](const Digest& sha256, std::string_view content) {
    WriteWholeFile(folder + "/attachments/" + HexEncode(sha256), content);
    return absl::OkStatus();
  });
  assert(status.ok());
}

LogOptions MakeOptions(const TestKeys& keys, const std::string& path) {
  LogOptions options{.path = path, .origin = kOrigin, .project = kProject, .log_key = &keys.log};
  options.vault_key.fill(7);
  options.trusted_keys = keys.Trusted();
  options.now_us = [] { return int64_t{1'767'323'045'000'006}; };
  return options;
}

}  // namespace retort::ledger
