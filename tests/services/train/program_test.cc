// The program itself against a ledger over mutual TLS: signals, exit statuses, and what they leave in the
// ledger.
#include <gtest/gtest.h>

#include <fstream>

#include "services/edge/dev_identity.h"
#include "services/edge/server.h"
#include "services/jobs/launcher.h"
#include "student/device/device.h"
#include "student/formats/gguf.h"
#include "tests/services/identity/test_access.h"
#include "tests/services/train/run_fixture.h"
#include "tests/student/formats/gguf_bytes.h"

namespace retort::train {
namespace {

using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr int kEndless = 1'000'000;  // steps

class ProgramTest : public RunFixture {
 protected:
  void SetUp() override {
    RunFixture::SetUp();
    ASSERT_TRUE(services::EnsureDevIdentity(folder_ + "/tls").ok());
    StopServer();
    access_ = std::make_unique<services::TestAccess>(folder_, services::kDevAccess);
    auto server = services::EdgeServer::Start(
        {.listen = "127.0.0.1:0", .tls = Tls("server"), .access = access_->guard()},
        {{service_.get(), "retort.ledger.v1.LedgerService"}});
    ASSERT_TRUE(server.ok()) << server.status();
    tls_server_ = *std::move(server);
    auto channel = services::ConnectTo(Host(), Tls("client"));
    ASSERT_TRUE(channel.ok()) << channel.status();
    stub_ = wire::LedgerService::NewStub(*channel);
    ASSERT_TRUE(trainer_.Save(folder_ + "/trainer.key").ok());
  }
  void TearDown() override {
    stub_.reset();
    tls_server_.reset();
    RunFixture::TearDown();
  }

  // The tokenizer goes through a file, as the program reads it.
  std::unique_ptr<student::Tokenizer> MakeTokenizer() override {
    const student::TokenizerParts parts = student::ByteTokenizerParts();
    student::GgufBytes file;
    file.String("general.architecture", "llama");
    file.String("tokenizer.ggml.model", "gpt2");
    file.String("tokenizer.ggml.pre", "smollm");
    file.Strings("tokenizer.ggml.tokens", parts.tokens);
    std::vector<int32_t> types;
    for (const bool special : parts.special) types.push_back(special ? 3 : 1);
    file.Ints("tokenizer.ggml.token_type", types);
    file.Strings("tokenizer.ggml.merges", {});
    file.Uint32("tokenizer.ggml.bos_token_id", 1);
    file.Uint32("tokenizer.ggml.eos_token_id", 2);
    file.Uint32("tokenizer.ggml.padding_token_id", 2);
    file.String("tokenizer.chat_template", parts.chat_template);
    const std::vector<uint8_t> bytes = file.Bytes();
    std::ofstream(folder_ + "/tokenizer.gguf", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    const auto gguf = student::GgufFile::Open(folder_ + "/tokenizer.gguf");
    EXPECT_TRUE(gguf.ok()) << gguf.status();
    auto tokenizer = student::Tokenizer::FromGguf(**gguf);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return *std::move(tokenizer);
  }

  services::TlsPaths Tls(const std::string& side) const {
    return {folder_ + "/tls/" + side + ".crt", folder_ + "/tls/" + side + ".key", folder_ + "/tls/ca.crt"};
  }
  std::string Host() const { return "127.0.0.1:" + std::to_string(tls_server_->port()); }

  // A run in the fixture's folder; `more` are further flags.
  jobs::ProgramRun Program(const student::TrainingManifest& manifest, std::vector<std::string> more) {
    std::ofstream(folder_ + "/manifest.json", std::ios::trunc) << manifest.ToJson();
    jobs::ProgramRun run;
    run.program = RETORT_TRAIN;
    const services::TlsPaths tls = Tls("client");
    run.arguments = {"--manifest",
                     folder_ + "/manifest.json",
                     "--run-dir",
                     folder_ + "/run",
                     "--ledger",
                     Host(),
                     "--log-vkey",
                     log_vkey_,
                     "--dataset-entry",
                     std::to_string(dataset_entry_),
                     "--tls-cert",
                     tls.certificate,
                     "--tls-key",
                     tls.private_key,
                     "--tls-ca",
                     tls.authorities,
                     "--key",
                     folder_ + "/trainer.key",
                     "--project",
                     kProject,
                     "--job",
                     kJob,
                     "--job-uid",
                     kJobUid,
                     "--run",
                     "logits",
                     "--threads",
                     "1",
                     "--tokenizer",
                     folder_ + "/tokenizer.gguf",
                     "--report-seconds",
                     "0",
                     "--declared-watts",
                     "50"};
    run.arguments.insert(run.arguments.end(), more.begin(), more.end());
    run.stderr_path = folder_ + "/train.log";
    run.grace = seconds(60);
    run.on_line = [this](std::string_view line) { events_.push_back(nlohmann::json::parse(line)); };
    return run;
  }
  student::TrainingManifest Manifest(int64_t steps) {
    student::TrainingManifest manifest = Options("run").manifest;
    manifest.steps = steps;
    return manifest;
  }
  jobs::ProgramEnd End(const jobs::ProgramRun& run) {
    const auto end = jobs::RunProgram(run);
    EXPECT_TRUE(end.ok()) << end.status();
    return end.ok() ? *end : jobs::ProgramEnd{};
  }
  std::string Log() const {
    std::ifstream in(folder_ + "/train.log");
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::unique_ptr<services::TestAccess> access_;
  std::unique_ptr<services::EdgeServer> tls_server_;
};

TEST_F(ProgramTest, CudaWithoutADeviceExplainsItself) {
  const std::string library = std::filesystem::path(RETORT_TRAIN).parent_path() / "libretort_cuda.so";
  const student::DeviceChoice choice = student::ChooseDevice("cuda", library);
  if (choice.ok) GTEST_SKIP() << "this machine has a device: " << choice.reason;
  const jobs::ProgramEnd end = End(Program(Manifest(4), {"--device", "cuda"}));
  EXPECT_EQ(end.exit_code, 1) << end.Describe() << "\n" << Log();
  ASSERT_EQ(Of("error").size(), 1u);
  EXPECT_NE(Of("error")[0].dump().find("--device=cuda: no CUDA device: "), std::string::npos)
      << Of("error")[0];
  EXPECT_NE(Log().find(choice.reason), std::string::npos) << Log();
}

TEST_F(ProgramTest, StopsAtACheckpointAndGoesOn) {
  jobs::ProgramRun run = Program(Manifest(kEndless),
                                 {"--currency", "EUR", "--price-device-hour", "2.50", "--price-kwh", "0.30"});
  run.should_stop = [this] { return Of("report").size() >= 3; };
  const jobs::ProgramEnd end = End(run);
  EXPECT_EQ(end.exit_code, 3) << end.Describe() << "\n" << Log();
  ASSERT_FALSE(Of("checkpoint").empty());
  const int64_t step = Of("checkpoint").back()["step"];
  EXPECT_GE(step, 3);
  EXPECT_TRUE(Of("error").empty());
  EXPECT_TRUE(Of("report").back().contains("mfu"));
  const auto attempts = TrainingEntries(/*usage=*/true);
  ASSERT_EQ(attempts.size(), 1u);
  EXPECT_EQ(attempts[0].usage.outcome, "stopped");
  EXPECT_EQ(attempts[0].usage.last_step, step);
  EXPECT_EQ(attempts[0].usage.currency, "EUR");
  EXPECT_FALSE(attempts[0].usage.device_cost.empty());
  EXPECT_NE(attempts[0].usage.energy_source, "none");

  events_.clear();
  run.should_stop = [this] { return Of("step").size() >= 1; };
  EXPECT_EQ(End(run).exit_code, 3);
  EXPECT_EQ(Of("started")[0]["resumed_step"], step);
}

// The real Open MPI, where it is installed: two ranks, stopped in the middle, and gone on to the end.
TEST_F(ProgramTest, RanksOfMpirunStopTogetherAndGoOn) {
  if (::access("/usr/bin/mpirun", X_OK) != 0)
    GTEST_SKIP() << "/usr/bin/mpirun is not installed (package openmpi-bin)";
  const auto ranks = [this](int64_t steps) {
    jobs::ProgramRun run = Program(Manifest(steps), {"--data-ranks", "2", "--stop-with-parent"});
    run.arguments.insert(run.arguments.begin(),
                         {"-n", "2", "--allow-run-as-root", "--oversubscribe", run.program});
    run.program = "/usr/bin/mpirun";
    run.stop_signal = SIGUSR1;
    return run;
  };
  jobs::ProgramRun run = ranks(kEndless);
  run.should_stop = [this] { return Of("report").size() >= 3; };
  const jobs::ProgramEnd end = End(run);
  EXPECT_EQ(end.exit_code, 3) << end.Describe() << "\n" << Log();
  ASSERT_FALSE(Of("checkpoint").empty());
  const int64_t step = Of("checkpoint").back()["step"];
  const auto attempts = TrainingEntries(/*usage=*/true);
  ASSERT_EQ(attempts.size(), 1u);
  EXPECT_EQ(attempts[0].usage.outcome, "stopped");

  events_.clear();
  run = ranks(kEndless);
  run.should_stop = [this] { return Of("report").size() >= 1; };
  EXPECT_EQ(End(run).exit_code, 3) << Log();
  ASSERT_EQ(Of("started").size(), 1u);
  EXPECT_EQ(Of("started")[0]["resumed_step"], step);
}

TEST_F(ProgramTest, WhatAKillLeavesIsSettled) {
  jobs::ProgramRun run = Program(Manifest(kEndless), {});
  run.must_stop = [this] { return Of("report").size() >= 3; };
  EXPECT_EQ(End(run).signal, SIGKILL);
  EXPECT_TRUE(TrainingEntries(/*usage=*/true).empty());

  for (int again = 0; again < 2; ++again) {
    EXPECT_EQ(End(Program(Manifest(kEndless), {"--settle-usage"})).exit_code, 0) << Log();
    const auto attempts = TrainingEntries(/*usage=*/true);
    ASSERT_EQ(attempts.size(), 1u);
    EXPECT_EQ(attempts[0].usage.outcome, "lost");
    EXPECT_GE(attempts[0].usage.last_step, 2);
  }
}

// One step of this run takes far longer than the grace.
TEST_F(ProgramTest, LeavesWhenTheGraceIsOver) {
  student::TrainingManifest manifest = Manifest(10);
  manifest.shape = "nano";
  manifest.batch_tokens = 262'144;
  jobs::ProgramRun run = Program(manifest, {"--grace-seconds", "1"});
  Clock::time_point asked{};
  run.should_stop = [&] {
    if (Of("checkpoint").empty()) return false;  // that of step 0: from here on the step runs
    if (asked == Clock::time_point()) asked = Clock::now();
    return Clock::now() - asked > seconds(3);
  };
  const jobs::ProgramEnd end = End(run);
  EXPECT_EQ(end.exit_code, 4) << end.Describe() << "\n" << Log();
  EXPECT_LT(Clock::now() - asked, seconds(30));
  EXPECT_TRUE(Of("step").empty());
  EXPECT_NE(Log().find("the grace is over"), std::string::npos) << Log();
}

TEST_F(ProgramTest, RefusesPricesThatAreNone) {
  EXPECT_EQ(End(Program(Manifest(2), {"--price-kwh", "0.30"})).exit_code, 1);
  ASSERT_EQ(Of("error").size(), 1u);
  EXPECT_EQ(Of("error")[0]["code"], "INVALID_ARGUMENT");
  EXPECT_NE(Of("error")[0]["message"].get<std::string>().find("--currency"), std::string::npos);
  EXPECT_EQ(End(Program(Manifest(2), {"--grace-seconds", "-1"})).exit_code, 2);
}

}  // namespace
}  // namespace retort::train
