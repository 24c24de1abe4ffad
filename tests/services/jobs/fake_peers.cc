#include "tests/services/jobs/fake_peers.h"

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/statement.h"
#include "ledger/uuid.h"
#include "services/edge/status.h"

namespace retort::jobs {
namespace {

constexpr char kTime[] = "2026-01-02T03:04:05.000006Z";
constexpr char kPackYaml[] = "id: test-pack\n";

std::string Hex(std::string_view bytes) {
  return ledger::HexEncode(ledger::Sha256(bytes));
}

ledger::CaptureStatement CaptureOf(const teacher::v1::ExtractRequest& request, const std::string& payload,
                                   const std::string& salt, bool local) {
  ledger::CaptureStatement capture;
  const auto& key = request.key();
  capture.project = request.teacher().substr(0, request.teacher().find("/teachers/"));
  capture.request_id = ledger::SampleRequestId(key.job_uid(), key.index(), key.attempt());
  capture.job = key.job();
  capture.job_uid = key.job_uid();
  capture.prompt_id = key.prompt_id();
  capture.index = key.index();
  capture.attempt = key.attempt();
  capture.split = key.split();
  capture.teacher = request.teacher();
  capture.provider = "huggingface";
  capture.channel = "open_weights";
  capture.model_requested = capture.model_answered = "test-model";
  capture.endpoint = "local";
  capture.weights_sha256 = local ? Hex("weights") : "";
  capture.tokenizer_sha256 = local ? Hex("tokenizer") : "";
  capture.temperature = "0";
  capture.top_p = "1";
  capture.max_tokens = request.sampling().max_tokens();
  capture.top_logprobs = request.sampling().top_logprobs();
  capture.requested_time = capture.completed_time = kTime;
  capture.finish_reason = "stop";
  capture.prompt_tokens = 5;
  capture.completion_tokens = 7;
  capture.payload_digest = ledger::HexEncode(ledger::SaltedDigest(salt, payload));
  capture.payload_bytes = static_cast<int64_t>(payload.size());
  return capture;
}

ledger::DecisionStatement Decision(const std::string& effect, const std::string& project) {
  ledger::DecisionStatement decision;
  decision.project = project;
  decision.effect = effect;
  decision.rules = {{"test-pack", "rule-1", effect, "clause 2.1"}};
  decision.packs = {{"test-pack", "1", Hex(kPackYaml)}};
  decision.facts = "{}";
  decision.facts_digest = Hex("{}");
  decision.generated_time = decision.decided_time = kTime;
  return decision;
}

void Fill(const ledger::DecisionStatement& decision, policy::v1::DecideResponse* response) {
  response->set_decision(decision.ToJson());
  response->set_signature(std::string(64, 's'));
  response->set_key_id(std::string(32, 'k'));
  response->set_effect(decision.effect);
}

}  // namespace

grpc::Status PeerError(grpc::StatusCode code, int reason, const std::string& message) {
  return services::ToGrpcStatus(services::WithReason(
      absl::Status(static_cast<absl::StatusCode>(code), message), static_cast<ErrorReason>(reason)));
}

#define RETURN_IF_TOLD(method, moment) \
  if (grpc::Status told = peers_.Ask(method, moment, *context); !told.ok()) return told

class FakePeers::Teacher final : public teacher::v1::TeacherService::Service {
 public:
  explicit Teacher(FakePeers& peers) : peers_(peers) {}

  grpc::Status GetTeacher(grpc::ServerContext* context, const teacher::v1::GetTeacherRequest* request,
                          teacher::v1::Teacher* response) override {
    RETURN_IF_TOLD("GetTeacher", Moment::kBefore);
    if (request->name() != "projects/p/teachers/smol")
      return PeerError(grpc::StatusCode::NOT_FOUND, NOT_FOUND, "no such teacher");
    response->set_name(request->name());
    response->set_provider("huggingface");
    response->set_channel(teacher::v1::CHANNEL_OPEN_WEIGHTS);
    response->set_model("test-model");
    if (peers_.local_teacher) response->set_weights_sha256(Hex("weights"));
    return grpc::Status::OK;
  }

  grpc::Status Extract(grpc::ServerContext* context, const teacher::v1::ExtractRequest* request,
                       teacher::v1::ExtractResponse* response) override {
    {
      std::lock_guard lock(peers_.mutex_);
      peers_.most_in_flight_ = std::max(peers_.most_in_flight_, ++peers_.in_flight_);
    }
    const grpc::Status status = Answer(context, request, response);
    std::lock_guard lock(peers_.mutex_);
    --peers_.in_flight_;
    return status;
  }

 private:
  grpc::Status Answer(grpc::ServerContext* context, const teacher::v1::ExtractRequest* request,
                      teacher::v1::ExtractResponse* response) {
    RETURN_IF_TOLD("Extract", Moment::kBefore);
    {
      std::lock_guard lock(peers_.mutex_);
      peers_.extracts_.emplace_back(request->key().index(), request->key().attempt());
    }
    if (peers_.on_extract) {
      if (grpc::Status told = peers_.on_extract(*request); !told.ok()) return told;
    }
    teacher::v1::SamplePayload payload;
    *payload.mutable_messages() = request->messages();
    payload.set_completion("answer to " + request->messages(request->messages_size() - 1).content());
    if (peers_.local_teacher) {
      payload.mutable_trace()->set_tokenizer_sha256(std::string(ledger::AsView(ledger::Sha256("tokenizer"))));
      payload.mutable_trace()->set_vocabulary_size(49152);
    }
    response->set_payload(payload.SerializeAsString());
    response->set_salt(std::string(32, 'x'));
    response->set_capture(
        CaptureOf(*request, response->payload(), response->salt(), peers_.local_teacher).ToJson());
    response->set_signature(std::string(64, 't'));
    response->set_key_id(std::string(32, 'k'));
    response->set_completion_tokens(7);
    RETURN_IF_TOLD("Extract", Moment::kAfter);
    return grpc::Status::OK;
  }

  FakePeers& peers_;
};

class FakePeers::Policy final : public policy::v1::PolicyService::Service {
 public:
  explicit Policy(FakePeers& peers) : peers_(peers) {}

  grpc::Status DecideJob(grpc::ServerContext* context, const policy::v1::DecideJobRequest* request,
                         policy::v1::DecideResponse* response) override {
    RETURN_IF_TOLD("DecideJob", Moment::kBefore);
    ledger::DecisionStatement decision =
        Decision(peers_.job_effect, request->job().substr(0, request->job().find("/jobs/")));
    decision.subject_kind = "job";
    decision.subject_digest = decision.facts_digest;
    decision.job = request->job();
    decision.job_uid = request->job_uid();
    decision.request_id = ledger::UuidFromDigest(ledger::Sha256("preflight" + request->job_uid()));
    decision.missing_inputs = peers_.job_missing;
    Fill(decision, response);
    RETURN_IF_TOLD("DecideJob", Moment::kAfter);
    return grpc::Status::OK;
  }

  // The effect is what the prompt asks for.
  grpc::Status DecideSample(grpc::ServerContext* context, const policy::v1::DecideSampleRequest* request,
                            policy::v1::DecideResponse* response) override {
    RETURN_IF_TOLD("DecideSample", Moment::kBefore);
    const auto capture = ledger::CaptureStatement::Parse(request->capture());
    teacher::v1::SamplePayload payload;
    if (!capture.ok() || !payload.ParseFromString(request->payload())) {
      return PeerError(grpc::StatusCode::INVALID_ARGUMENT, INVALID_FIELD,
                       std::string(capture.status().message()));
    }
    std::string effect = "allow";
    for (const std::string wanted : {"review", "deny"}) {
      if (payload.completion().find(wanted) != std::string::npos) effect = wanted;
    }
    ledger::DecisionStatement decision = Decision(effect, capture->project);
    decision.subject_kind = "sample";
    decision.subject_digest = Hex(request->capture());
    decision.job = capture->job;
    decision.job_uid = capture->job_uid;
    decision.request_id = ledger::UuidFromDigest(ledger::Sha256("decision" + capture->request_id));
    if (!peers_.obligation.first.empty()) {
      decision.obligations = {{"test-pack", "rule-1", peers_.obligation.first, "on_distribute_student",
                               peers_.obligation.second}};
    }
    Fill(decision, response);
    RETURN_IF_TOLD("DecideSample", Moment::kAfter);
    return grpc::Status::OK;
  }

  grpc::Status PreviewJob(grpc::ServerContext* context, const policy::v1::PreviewJobRequest* request,
                          policy::v1::PreviewJobResponse* response) override {
    RETURN_IF_TOLD("PreviewJob", Moment::kBefore);
    const auto fill = [](const std::string& effect, policy::v1::PreviewedDecision* decision) {
      decision->set_effect(effect);
      auto* rule = decision->add_rules();
      rule->set_pack("test-pack");
      rule->set_rule("rule-1");
      rule->set_effect(effect);
      rule->set_clause("clause 2.1");
    };
    fill(peers_.job_effect, response->mutable_job());
    for (const std::string& input : peers_.job_missing) response->mutable_job()->add_missing_inputs(input);
    std::map<std::string, policy::v1::PreviewedGroup*> groups;
    for (const auto& prompt : request->prompts()) {
      std::string effect = "allow";
      for (const std::string wanted : {"review", "deny"}) {
        if (prompt.texts(prompt.texts_size() - 1).find(wanted) != std::string::npos) effect = wanted;
      }
      policy::v1::PreviewedGroup*& group = groups[prompt.split() + effect];
      if (group == nullptr) {
        group = response->add_groups();
        group->set_split(prompt.split());
        fill(effect, group->mutable_decision());
      }
      group->set_prompt_count(group->prompt_count() + 1);
      group->add_first_prompt_ids(prompt.id());
    }
    return grpc::Status::OK;
  }

  grpc::Status SignReview(grpc::ServerContext* context, const policy::v1::SignReviewRequest* request,
                          policy::v1::SignReviewResponse* response) override {
    RETURN_IF_TOLD("SignReview", Moment::kBefore);
    ledger::ReviewStatement review;
    review.project = request->parent();
    review.request_id = request->request_id();
    review.subject_entry = request->subject_entry();
    review.subject_digest = Hex(request->decision());
    review.verdict = request->verdict();
    review.reviewer = request->reviewer();
    review.reason = request->reason();
    review.reviewed_time = "2026-01-02T03:04:05.000006Z";
    response->set_review(review.ToJson());
    response->set_signature(std::string(64, 'r'));
    response->set_key_id(std::string(32, 'k'));
    return grpc::Status::OK;
  }

  grpc::Status GetPolicy(grpc::ServerContext* context, const policy::v1::GetPolicyRequest* request,
                         policy::v1::Policy* response) override {
    RETURN_IF_TOLD("GetPolicy", Moment::kBefore);
    response->set_name(request->name());
    response->set_version("1");
    response->set_source_url("https://example.invalid/terms");
    response->set_document_date("2026-01-02");
    response->set_confidence("read");
    response->set_yaml(kPackYaml);
    return grpc::Status::OK;
  }

 private:
  FakePeers& peers_;
};

class FakePeers::Ledger final : public ledger::v1::LedgerService::Service {
 public:
  explicit Ledger(FakePeers& peers) : peers_(peers) {}

  grpc::Status AppendEntry(grpc::ServerContext* context, const ledger::v1::AppendEntryRequest* request,
                           ledger::v1::Entry* response) override {
    RETURN_IF_TOLD("AppendEntry", Moment::kBefore);
    Entry entry;
    entry.kind = request->kind();
    for (const auto& statement : request->statements()) entry.statements.push_back(statement.statement());
    if (request->attachments_size() > 0) entry.attachment = request->attachments(0).content();
    const grpc::Status read = Read(entry);
    if (!read.ok()) return read;
    {
      std::lock_guard lock(peers_.mutex_);
      const auto known = peers_.by_request_.find(entry.request_id);
      if (known != peers_.by_request_.end()) {
        if (peers_.entries_[known->second].statements != entry.statements) {
          return PeerError(grpc::StatusCode::ALREADY_EXISTS, REQUEST_ID_REUSED, "another body");
        }
        response->set_index(known->second);
      } else {
        response->set_index(static_cast<int64_t>(peers_.entries_.size()));
        peers_.by_request_[entry.request_id] = response->index();
        peers_.entries_.push_back(entry);
      }
    }
    RETURN_IF_TOLD("AppendEntry", Moment::kAfter);
    return grpc::Status::OK;
  }

  grpc::Status LookupRequests(grpc::ServerContext* context, const ledger::v1::LookupRequestsRequest* request,
                              ledger::v1::LookupRequestsResponse* response) override {
    RETURN_IF_TOLD("LookupRequests", Moment::kBefore);
    std::lock_guard lock(peers_.mutex_);
    for (const std::string& id : request->request_ids()) {
      if (const auto known = peers_.by_request_.find(id); known != peers_.by_request_.end()) {
        (*response->mutable_entries())[id] = known->second;
      }
    }
    return grpc::Status::OK;
  }

  grpc::Status CountSamples(grpc::ServerContext* context, const ledger::v1::CountSamplesRequest*,
                            ledger::v1::CountSamplesResponse* response) override {
    RETURN_IF_TOLD("CountSamples", Moment::kBefore);
    for (const auto& [index, entry] : Samples()) {
      response->set_asked(response->asked() + 1);
      const std::string effect = Admitted(index, entry) ? "allow" : entry.effect;
      if (effect == "allow") response->set_allowed(response->allowed() + 1);
      if (effect == "review") response->set_review(response->review() + 1);
      if (effect == "deny") response->set_denied(response->denied() + 1);
      if (entry.attempt > 1) response->set_repeats(response->repeats() + 1);
    }
    return grpc::Status::OK;
  }

  grpc::Status CreateDataset(grpc::ServerContext* context, const ledger::v1::CreateDatasetRequest* request,
                             ledger::v1::Entry* response) override {
    RETURN_IF_TOLD("CreateDataset", Moment::kBefore);
    ledger::DatasetStatement statement;
    statement.project = request->parent();
    statement.request_id = request->request_id();
    statement.dataset = request->parent() + "/datasets/" + request->dataset_id();
    statement.job = request->job();
    statement.job_uid = request->job_uid();
    statement.manifest_sha256 = Hex("manifest");
    for (const auto& [index, entry] : Samples()) {
      if (!Admitted(index, entry)) {
        ++statement.excluded_samples;
      } else {
        ++(entry.held_out ? statement.held_out_samples : statement.train_samples);
      }
    }
    if (statement.train_samples == 0)
      return PeerError(grpc::StatusCode::FAILED_PRECONDITION, DATASET_EMPTY, "nothing allowed");
    Entry entry{
        ledger::v1::ENTRY_KIND_DATASET, request->request_id(), {statement.ToJson()}, "", "", -1, 0, false};
    {
      std::lock_guard lock(peers_.mutex_);
      const auto known = peers_.by_request_.find(entry.request_id);
      if (known != peers_.by_request_.end()) {
        response->set_index(known->second);
      } else {
        response->set_index(static_cast<int64_t>(peers_.entries_.size()));
        peers_.by_request_[entry.request_id] = response->index();
        peers_.entries_.push_back(entry);
      }
      response->add_statements()->set_statement(peers_.entries_[response->index()].statements[0]);
    }
    RETURN_IF_TOLD("CreateDataset", Moment::kAfter);
    return grpc::Status::OK;
  }

  grpc::Status ListJobSamples(grpc::ServerContext* context, const ledger::v1::ListJobSamplesRequest* request,
                              ledger::v1::ListJobSamplesResponse* response) override {
    RETURN_IF_TOLD("ListJobSamples", Moment::kBefore);
    for (const auto& [index, entry] : Samples()) {
      ledger::v1::Sample sample = Shown(request->parent(), index, entry);
      if (request->filter().empty() || sample.standing() == ledger::v1::Sample::STANDING_ADMITTED)
        *response->add_samples() = std::move(sample);
    }
    return grpc::Status::OK;
  }

  grpc::Status GetJobSample(grpc::ServerContext* context, const ledger::v1::GetJobSampleRequest* request,
                            ledger::v1::Sample* response) override {
    RETURN_IF_TOLD("GetJobSample", Moment::kBefore);
    const size_t slash = request->name().rfind("/samples/s");
    for (const auto& [index, entry] : Samples()) {
      if (std::to_string(index) != request->name().substr(slash + 10)) continue;
      *response = Shown(request->name().substr(0, slash), index, entry);
      return grpc::Status::OK;
    }
    return PeerError(grpc::StatusCode::NOT_FOUND, NOT_FOUND);
  }

  grpc::Status GetEntry(grpc::ServerContext* context, const ledger::v1::GetEntryRequest* request,
                        ledger::v1::Entry* response) override {
    RETURN_IF_TOLD("GetEntry", Moment::kBefore);
    const auto index = std::stoul(request->name().substr(request->name().rfind('/') + 1));
    const auto entries = peers_.entries();
    if (index >= entries.size()) return PeerError(grpc::StatusCode::NOT_FOUND, NOT_FOUND);
    response->set_index(static_cast<int64_t>(index));
    response->set_kind(entries[index].kind);
    for (const std::string& statement : entries[index].statements)
      response->add_statements()->set_statement(statement);
    return grpc::Status::OK;
  }

  grpc::Status GetCheckpoint(grpc::ServerContext* context, const ledger::v1::GetCheckpointRequest*,
                             ledger::v1::Checkpoint* response) override {
    RETURN_IF_TOLD("GetCheckpoint", Moment::kBefore);
    response->set_note("test.invalid/p\n3\nroot\n\nsignature\n");
    response->set_vkey("test.invalid/p+00000000+key");
    return grpc::Status::OK;
  }

 private:
  std::map<int64_t, Entry> Samples() const {
    std::map<int64_t, Entry> samples;
    const auto entries = peers_.entries();
    for (size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].kind == ledger::v1::ENTRY_KIND_SAMPLE) samples[static_cast<int64_t>(i)] = entries[i];
    }
    return samples;
  }

  // The verdict of the newest review of the entry; empty without one.
  std::string Verdict(int64_t index, int64_t* at = nullptr) const {
    std::string verdict;
    const auto entries = peers_.entries();
    for (size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].kind != ledger::v1::ENTRY_KIND_REVIEW) continue;
      const auto review = ledger::ReviewStatement::Parse(entries[i].statements.at(0));
      if (!review.ok() || review->subject_entry != index) continue;
      verdict = review->verdict;
      if (at != nullptr) *at = static_cast<int64_t>(i);
    }
    return verdict;
  }

  bool Admitted(int64_t index, const Entry& entry) const {
    return entry.effect == "allow" || (entry.effect == "review" && Verdict(index) == "approve");
  }

  ledger::v1::Sample Shown(const std::string& job, int64_t index, const Entry& entry) const {
    ledger::v1::Sample sample;
    int64_t newest = index;
    const std::string verdict = Verdict(index, &newest);
    sample.set_name(job + "/samples/s" + std::to_string(index));
    sample.set_entry(index);
    sample.set_decision_entry(index);
    sample.set_effect(entry.effect);
    sample.set_etag("\"" + std::to_string(newest) + "\"");
    sample.set_standing(Admitted(index, entry)     ? ledger::v1::Sample::STANDING_ADMITTED
                        : verdict == "reject"      ? ledger::v1::Sample::STANDING_REJECTED
                        : entry.effect == "review" ? ledger::v1::Sample::STANDING_IN_REVIEW
                                                   : ledger::v1::Sample::STANDING_DENIED);
    if (!verdict.empty()) {
      sample.mutable_review()->set_verdict(verdict);
      sample.mutable_review()->set_entry(newest);
    }
    return sample;
  }

  // Fills what the entry is about from its statements, which must parse.
  static grpc::Status Read(Entry& entry) {
    absl::Status status;
    auto take = [&](const auto& parsed) {
      status = parsed.status();
      if (parsed.ok()) entry.request_id = parsed->request_id;
    };
    switch (entry.kind) {
      case ledger::v1::ENTRY_KIND_SAMPLE: {
        const auto capture = ledger::CaptureStatement::Parse(entry.statements.at(0));
        const auto decision = ledger::DecisionStatement::Parse(entry.statements.at(1));
        take(capture);
        if (!capture.ok() || !decision.ok()) break;
        entry.effect = decision->effect;
        entry.prompt = static_cast<int32_t>(capture->index);
        entry.attempt = static_cast<int32_t>(capture->attempt);
        entry.held_out = capture->split == "held_out";
        break;
      }
      case ledger::v1::ENTRY_KIND_POLICY_PACK:
        take(ledger::PolicyPackStatement::Parse(entry.statements.at(0)));
        break;
      case ledger::v1::ENTRY_KIND_DECISION:
        take(ledger::DecisionStatement::Parse(entry.statements.at(0)));
        break;
      case ledger::v1::ENTRY_KIND_REVIEW:
        take(ledger::ReviewStatement::Parse(entry.statements.at(0)));
        break;
      case ledger::v1::ENTRY_KIND_RELEASE:
        take(ledger::ReleaseStatement::Parse(entry.statements.at(0)));
        break;
      default:
        status = absl::InvalidArgumentError("kind");
    }
    return services::ToGrpcStatus(status);
  }

  FakePeers& peers_;
};

FakePeers::FakePeers()
    : teacher_(std::make_unique<Teacher>(*this)),
      policy_(std::make_unique<Policy>(*this)),
      ledger_(std::make_unique<Ledger>(*this)) {
  grpc::ServerBuilder builder;
  builder.RegisterService(teacher_.get());
  builder.RegisterService(policy_.get());
  builder.RegisterService(ledger_.get());
  server_ = builder.BuildAndStart();
}

FakePeers::~FakePeers() {
  server_->Shutdown(std::chrono::system_clock::now());
}

Peers FakePeers::Stubs() {
  const auto channel = server_->InProcessChannel({});
  return {teacher::v1::TeacherService::NewStub(channel), policy::v1::PolicyService::NewStub(channel),
          ledger::v1::LedgerService::NewStub(channel)};
}

void FakePeers::SetHook(Hook hook) {
  std::lock_guard lock(mutex_);
  hook_ = std::move(hook);
}

grpc::Status FakePeers::Ask(const std::string& method, Moment moment, grpc::ServerContext& context) {
  Hook hook;
  {
    std::lock_guard lock(mutex_);
    hook = hook_;
  }
  return hook ? hook(method, moment, context) : grpc::Status::OK;
}

std::vector<FakePeers::Entry> FakePeers::entries() const {
  std::lock_guard lock(mutex_);
  return entries_;
}

std::vector<FakePeers::Entry> FakePeers::entries(ledger::v1::EntryKind kind) const {
  std::vector<Entry> found;
  for (const Entry& entry : entries()) {
    if (entry.kind == kind) found.push_back(entry);
  }
  return found;
}

std::vector<std::pair<int32_t, int32_t>> FakePeers::extracts() const {
  std::lock_guard lock(mutex_);
  return extracts_;
}

}  // namespace retort::jobs
