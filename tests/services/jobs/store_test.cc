#include "services/jobs/store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "rocksdb/db.h"
#include "services/edge/status.h"
#include "tests/services/jobs/example_job.h"

namespace retort::jobs {
namespace {

class JobStoreTest : public testing::Test {
 protected:
  JobStoreTest() { Reopen(); }

  void Reopen() {
    store_.reset();
    auto store =
        JobStore::Open(folder_.path() / "db", [this] { return now_ += std::chrono::microseconds(1); });
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  static v1::JobRecord RecordOf(const std::string& id, const std::string& student = "") {
    v1::JobRecord record;
    record.mutable_job()->set_name("projects/p/jobs/" + id);
    record.mutable_job()->set_uid("uid-" + id);
    record.mutable_job()->set_state(v1::Job::STATE_QUEUED);
    record.mutable_job()->mutable_spec()->mutable_student()->set_name(student);
    return record;
  }

  static v1::PromptSet Prompts() {
    v1::PromptSet prompts;
    prompts.add_prompts()->set_id("a");
    return prompts;
  }

  absl::StatusOr<v1::Job> Create(const std::string& id, const RequestKey& request = {},
                                 const std::string& student = "") {
    return store_->Create(RecordOf(id, student), Prompts(), request);
  }

  absl::StatusOr<v1::JobRecord> SetState(const std::string& id, v1::Job::State state,
                                         const RequestKey& request = {}) {
    return store_->Change(
        "projects/p/jobs/" + id, "event of " + id,
        [&](v1::JobRecord& record) {
          record.mutable_job()->set_state(state);
          return absl::OkStatus();
        },
        request);
  }

  TestFolder folder_;
  std::chrono::system_clock::time_point now_{std::chrono::seconds(1'700'000'000)};
  std::unique_ptr<JobStore> store_;
};

TEST_F(JobStoreTest, AnOlderFormatIsTakenOverAndANewerOneRefused) {
  ASSERT_TRUE(Create("one").ok());
  store_.reset();
  const auto folder = folder_.path() / "db";
  const auto put = [&](const char* format) {
    rocksdb::DB* db = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(rocksdb::Options(), folder.string(), &db).ok());
    const std::unique_ptr<rocksdb::DB> owned(db);
    ASSERT_TRUE(
        (format == nullptr ? db->Delete({}, "meta/format") : db->Put({}, "meta/format", format)).ok());
  };
  put(nullptr);  // as programs wrote it that knew no formats
  Reopen();
  EXPECT_TRUE(store_->Read("projects/p/jobs/one").ok());
  store_.reset();
  put("2");
  const auto refused = JobStore::Open(folder, std::chrono::system_clock::now);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(refused.status().message().find("saw storage format 2, wanted 1 or older"), std::string::npos)
      << refused.status();
  put("one");
  EXPECT_EQ(JobStore::Open(folder, std::chrono::system_clock::now).status().code(),
            absl::StatusCode::kDataLoss);
  put("1");
  Reopen();
}

TEST_F(JobStoreTest, KeepsJobsAcrossReopening) {
  ASSERT_TRUE(Create("one").ok());
  Reopen();
  const auto record = store_->Read("projects/p/jobs/one");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->revision(), 1);
  EXPECT_EQ(record->job().etag(), "\"1\"");
  EXPECT_EQ(record->job().create_time().seconds(), 1'700'000'000);
  const auto prompts = store_->ReadPrompts("uid-one");
  ASSERT_TRUE(prompts.ok());
  EXPECT_EQ(prompts->prompts(0).id(), "a");
}

TEST_F(JobStoreTest, ReadsOfUnknownNamesAreNotFound) {
  EXPECT_EQ(store_->Read("projects/p/jobs/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->ReadPrompts("none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->JobOfStudent("projects/p/students/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(SetState("none", v1::Job::STATE_FAILED).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(JobStoreTest, RefusesTakenName) {
  ASSERT_TRUE(Create("one").ok());
  EXPECT_EQ(Create("one").status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(JobStoreTest, StudentNameBelongsToOneLivingJob) {
  ASSERT_TRUE(Create("one", {}, "Student").ok());
  const absl::Status taken = Create("two", {}, "Student").status();
  EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(
      taken.message(),
      "spec.student.name: projects/p/students/Student belongs to projects/p/jobs/one, wanted a name that no "
      "other job has");
  EXPECT_EQ(*store_->JobOfStudent("projects/p/students/Student"), "projects/p/jobs/one");
  ASSERT_TRUE(SetState("one", v1::Job::STATE_FAILED).ok());
  ASSERT_TRUE(Create("two", {}, "Student").ok());
  EXPECT_EQ(*store_->JobOfStudent("projects/p/students/Student"), "projects/p/jobs/two");
}

TEST_F(JobStoreTest, RepeatedRequestGetsFirstAnswer) {
  const RequestKey request{"projects/p", "CreateJob", "id-1", std::string(32, 'h')};
  const auto first = Create("one", request);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(SetState("one", v1::Job::STATE_EXTRACTING).ok());
  Reopen();
  const auto again = Create("one", request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->SerializeAsString(), first->SerializeAsString());
}

TEST_F(JobStoreTest, RequestIdWithAnotherBodyIsRefused) {
  ASSERT_TRUE(Create("one", {"projects/p", "CreateJob", "id-1", std::string(32, 'h')}).ok());
  const auto other = Create("two", {"projects/p", "CreateJob", "id-1", std::string(32, 'i')});
  EXPECT_EQ(other.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(services::ReasonOf(other.status()), REQUEST_ID_REUSED);
  EXPECT_FALSE(store_->Read("projects/p/jobs/two").ok());
}

TEST_F(JobStoreTest, RepeatedChangeChangesNothing) {
  ASSERT_TRUE(Create("one").ok());
  const RequestKey request{"projects/p", "CancelJob", "id-1", std::string(32, 'h')};
  ASSERT_TRUE(SetState("one", v1::Job::STATE_CANCELLING, request).ok());
  ASSERT_TRUE(SetState("one", v1::Job::STATE_CANCELLED).ok());
  const auto again = SetState("one", v1::Job::STATE_CANCELLING, request);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->job().state(), v1::Job::STATE_CANCELLING);
  EXPECT_EQ(store_->Read("projects/p/jobs/one")->job().state(), v1::Job::STATE_CANCELLED);
}

TEST_F(JobStoreTest, RefusedChangeStoresNothing) {
  ASSERT_TRUE(Create("one").ok());
  const auto changed = store_->Change("projects/p/jobs/one", "", [](v1::JobRecord& record) {
    record.mutable_job()->set_state(v1::Job::STATE_FAILED);
    return absl::AbortedError("no");
  });
  EXPECT_EQ(changed.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(store_->Read("projects/p/jobs/one")->revision(), 1);
}

TEST_F(JobStoreTest, ListsNewestFirstInPages) {
  for (const char* id : {"one", "two", "three"}) ASSERT_TRUE(Create(id).ok());
  auto page = store_->List({.project = "projects/p", .size = 2});
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->jobs.size(), 2u);
  EXPECT_EQ(page->jobs[0].name(), "projects/p/jobs/three");
  EXPECT_EQ(page->jobs[1].name(), "projects/p/jobs/two");
  page = store_->List({.project = "projects/p", .position = page->next_position, .size = 2});
  ASSERT_EQ(page->jobs.size(), 1u);
  EXPECT_EQ(page->jobs[0].name(), "projects/p/jobs/one");
  EXPECT_EQ(page->next_position, "");
  EXPECT_TRUE(store_->List({.project = "projects/q", .size = 2})->jobs.empty());
}

TEST_F(JobStoreTest, UnfinishedLeavesOutTheResting) {
  for (const char* id : {"done", "waits", "new", "busy"}) ASSERT_TRUE(Create(id).ok());
  ASSERT_TRUE(SetState("done", v1::Job::STATE_SUCCEEDED).ok());
  ASSERT_TRUE(SetState("waits", v1::Job::STATE_AWAITING_REVIEW).ok());
  ASSERT_TRUE(SetState("busy", v1::Job::STATE_TRAINING).ok());
  EXPECT_EQ(*store_->Unfinished(), (std::vector<std::string>{"projects/p/jobs/new", "projects/p/jobs/busy"}));
}

TEST_F(JobStoreTest, KeepsNewestIntents) {
  v1::SampleIntent first, second;
  first.set_attempt(1);
  second.set_attempt(2);
  ASSERT_TRUE(store_->WriteIntents("uid", {{300, first}, {2, first}}).ok());
  ASSERT_TRUE(store_->WriteIntents("uid", {{2, second}}).ok());
  ASSERT_TRUE(store_->WriteIntents("uid-other", {{9, first}}).ok());
  Reopen();
  const auto intents = store_->ReadIntents("uid");
  ASSERT_TRUE(intents.ok());
  ASSERT_EQ(intents->size(), 2u);
  EXPECT_EQ((*intents)[0].first, 2);
  EXPECT_EQ((*intents)[0].second.attempt(), 2);
  EXPECT_EQ((*intents)[1].first, 300);
}

TEST_F(JobStoreTest, ReplaysEventsAfterRevision) {
  ASSERT_TRUE(Create("one").ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(SetState("one", v1::Job::STATE_EXTRACTING).ok());
  const auto events = store_->EventsAfter("uid-one", 2, 10);
  ASSERT_TRUE(events.ok());
  ASSERT_EQ(events->size(), 2u);
  EXPECT_EQ((*events)[0].revision(), 3);
  EXPECT_EQ((*events)[0].text(), "event of one");
  EXPECT_EQ((*events)[1].revision(), 4);
  EXPECT_TRUE(store_->EventsAfter("uid-one", 4, 10)->empty());
  EXPECT_EQ(store_->EventsAfter("uid-one", 5, 10).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(JobStoreTest, SecondOpenerIsTurnedAway) {
  const auto second = JobStore::Open(folder_.path() / "db", std::chrono::system_clock::now);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition) << second.status();
}

TEST_F(JobStoreTest, FolderThatIsAFileIsUnavailable) {
  std::ofstream(folder_.path() / "file") << "x";
  const auto opened = JobStore::Open(folder_.path() / "file" / "db", std::chrono::system_clock::now);
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kUnavailable) << opened.status();
}

TEST_F(JobStoreTest, DamagedDatabaseIsDataLoss) {
  ASSERT_TRUE(Create("one").ok());
  store_.reset();
  // CURRENT names the manifest; damage both it and what it points to.
  for (const auto& file : std::filesystem::directory_iterator(folder_.path() / "db")) {
    if (file.path().filename().string().rfind("MANIFEST", 0) != 0) continue;
    std::fstream bytes(file.path(), std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(20);
    bytes << "damaged damaged damaged";
  }
  const auto opened = JobStore::Open(folder_.path() / "db", std::chrono::system_clock::now);
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kDataLoss) << opened.status();
}

TEST_F(JobStoreTest, TokenKeySurvivesReopening) {
  const std::string key = store_->token_key();
  EXPECT_EQ(key.size(), 32u);
  Reopen();
  EXPECT_EQ(store_->token_key(), key);
}

TEST_F(JobStoreTest, LogKeepsEventsAndCollapsesWhatOnlyCounts) {
  ASSERT_TRUE(Create("one").ok());
  const auto say = [&](const std::string& text) {
    ASSERT_TRUE(
        store_->Change("projects/p/jobs/one", text, [](v1::JobRecord&) { return absl::OkStatus(); }).ok());
  };
  say("logits step 1 of 30, loss 4.10");
  say("logits step 2 of 30, loss 4.05");
  now_ += std::chrono::seconds(11);
  say("logits step 9 of 30, loss 3.90");
  say("");
  say("two\nlines");
  Reopen();
  const auto lines = store_->LogAfter("uid-one", 0, 100);
  ASSERT_TRUE(lines.ok()) << lines.status();
  std::vector<std::string> texts;
  for (const auto& line : *lines) texts.push_back(line.text());
  EXPECT_EQ(texts, (std::vector<std::string>{"accepted", "logits step 1 of 30, loss 4.10",
                                             "logits step 9 of 30, loss 3.90", "two lines"}));
  say("after the restart");
  const auto more = store_->LogAfter("uid-one", lines->back().sequence(), 100);
  ASSERT_EQ(more->size(), 1u);
  EXPECT_EQ((*more)[0].sequence(), lines->back().sequence() + 1);
}

TEST_F(JobStoreTest, LogIsBounded) {
  ASSERT_TRUE(Create("one").ok());
  std::vector<v1::JobLogLine> lines(1000);
  for (auto& line : lines) {
    line.set_component("trainer");
    line.set_text(std::string(5000, 'x'));
  }
  for (int i = 0; i < 11; ++i) ASSERT_TRUE(store_->AppendLog("uid-one", lines).ok());
  const auto kept = store_->LogAfter("uid-one", 0, 100'000);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->size(), static_cast<size_t>(kLogLinesKept));
  EXPECT_EQ(kept->front().text().size(), kLogLineBytesMax);
  const auto dropped = store_->LogAfter("uid-one", 5, 10);
  EXPECT_EQ(dropped.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(services::ReasonOf(dropped.status()), RESUME_TOKEN_EXPIRED);
}

TEST_F(JobStoreTest, LogTextIsAlwaysUtf8) {
  ASSERT_TRUE(Create("one").ok());
  std::vector<v1::JobLogLine> lines(2);
  lines[0].set_text(std::string(kLogLineBytesMax - 1, 'x') + "\xc3\xa9");  // cut inside a character
  lines[1].set_text("caf\xc3\xa9");
  ASSERT_TRUE(store_->AppendLog("uid-one", lines).ok());
  const auto kept = store_->LogAfter("uid-one", 1, 10);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ((*kept)[0].text().back(), '?');
  EXPECT_EQ((*kept)[1].text(), "caf\xc3\xa9");
}

TEST_F(JobStoreTest, AnswersLiveAWeek) {
  const RequestKey key{"projects/p", "CreateJob", "6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10",
                       std::string(32, 's')};
  ASSERT_TRUE(Create("one", key).ok());
  now_ += std::chrono::hours(25);
  Reopen();
  EXPECT_TRUE(store_->AnswerOf(key)->has_value()) << "at least a day";
  now_ += kAnswersLive;
  Reopen();
  EXPECT_FALSE(store_->AnswerOf(key)->has_value());
}

TEST_F(JobStoreTest, DeleteLeavesNothingOfTheJob) {
  ASSERT_TRUE(Create("one", {}, "S").ok());
  v1::SampleIntent intent;
  intent.set_attempt(1);
  ASSERT_TRUE(store_->WriteIntents("uid-one", {{0, intent}}).ok());
  const auto refused =
      store_->Delete("projects/p/jobs/one",
                     [](const v1::JobRecord&) { return absl::FailedPreconditionError("not yet"); }, {});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(store_->Read("projects/p/jobs/one").ok());
  const auto deleted =
      store_->Delete("projects/p/jobs/one", [](const v1::JobRecord&) { return absl::OkStatus(); }, {});
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(*deleted, "uid-one");
  EXPECT_EQ(store_->Read("projects/p/jobs/one").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->ReadPrompts("uid-one").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(store_->ReadIntents("uid-one")->empty());
  EXPECT_TRUE(store_->LogAfter("uid-one", 0, 10)->empty());
  EXPECT_TRUE(store_->List({.project = "projects/p", .size = 5})->jobs.empty());
  EXPECT_EQ(store_->JobOfStudent("projects/p/students/S").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace retort::jobs
