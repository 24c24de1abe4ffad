#include "services/operations/operation_host.h"

#include <google/protobuf/wrappers.pb.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "services/edge/status.h"

namespace retort::services {
namespace {

using google::longrunning::ListOperationsRequest;
using google::longrunning::Operation;
using google::protobuf::StringValue;

constexpr char kId[] = "6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10";

// A verb that waits for a word, and one that fails.
class OperationHostTest : public testing::Test {
 protected:
  OperationHostTest() : folder_(testing::TempDir() + "/operations_" + std::to_string(getpid())) {
    std::filesystem::remove_all(folder_);
    Open();
  }
  ~OperationHostTest() override {
    host_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Open() {
    OperationHost::Verbs verbs;
    verbs["Wait"] = {[this](const google::protobuf::Any& request, OperationProgress& progress) {
                       return DoWait(request, progress);
                     },
                     Describe};
    verbs["Fail"] = {
        [](const google::protobuf::Any&, OperationProgress&) -> absl::StatusOr<google::protobuf::Any> {
          return WithReason(absl::DataLossError("entry 5 is damaged"), LEDGER_CORRUPT, {{"entry", "5"}});
        },
        Describe};
    auto host = OperationHost::Open({.folder = folder_, .now = [this] { return now_; }}, std::move(verbs));
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
  }

  absl::StatusOr<google::protobuf::Any> DoWait(const google::protobuf::Any& request,
                                               OperationProgress& progress) {
    ++begun_;
    progress.Set(1, 2);
    while (!go_) {
      if (progress.Stopped()) return absl::CancelledError("told to stop");
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    StringValue word;
    request.UnpackTo(&word);
    word.set_value(word.value() + "!");
    google::protobuf::Any any;
    any.PackFrom(word);
    return any;
  }

  static google::protobuf::Any Describe(const operations::v1::OperationRecord& record) {
    StringValue text;
    text.set_value(record.verb() + " " + std::to_string(record.done_count()) + "/" +
                   std::to_string(record.total_count()) + (record.cancel_requested() ? " cancelled" : ""));
    google::protobuf::Any any;
    any.PackFrom(text);
    return any;
  }

  static std::string TextOf(const google::protobuf::Any& any) {
    StringValue text;
    any.UnpackTo(&text);
    return text.value();
  }

  absl::StatusOr<Operation> Begin(const std::string& verb, const std::string& word,
                                  const std::string& id = "", const std::string& project = "projects/p") {
    StringValue request;
    request.set_value(word);
    return host_->Begin(project, verb, request, {id, std::string(32, word.empty() ? 'x' : word[0])});
  }

  Operation Done(const std::string& name) {
    auto operation = host_->Wait(name, std::chrono::seconds(20), [] { return false; });
    EXPECT_TRUE(operation.ok() && operation->done()) << name;
    return operation.ok() ? *operation : Operation();
  }

  void AwaitBegun(int count) {
    while (begun_ < count) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  const std::string folder_;
  std::chrono::system_clock::time_point now_{std::chrono::hours(500'000)};
  std::atomic<bool> go_{false};
  std::atomic<int> begun_{0};
  std::unique_ptr<OperationHost> host_;
};

TEST_F(OperationHostTest, RunsToItsResponse) {
  const auto begun = Begin("Wait", "hello");
  ASSERT_TRUE(begun.ok()) << begun.status();
  EXPECT_FALSE(begun->done());
  EXPECT_EQ(begun->name().rfind("projects/p/operations/op-", 0), 0u);
  AwaitBegun(1);
  EXPECT_EQ(TextOf(host_->Get(begun->name())->metadata()), "Wait 1/2");
  go_ = true;
  const Operation done = Done(begun->name());
  EXPECT_EQ(TextOf(done.response()), "hello!");
  EXPECT_FALSE(done.has_error());
}

TEST_F(OperationHostTest, FailureKeepsItsReason) {
  const Operation done = Done(Begin("Fail", "x")->name());
  ASSERT_TRUE(done.has_error());
  EXPECT_EQ(done.error().code(), static_cast<int>(absl::StatusCode::kDataLoss));
  EXPECT_EQ(done.error().details_size(), 1);
}

TEST_F(OperationHostTest, SameRequestIsOneOperation) {
  const auto first = Begin("Wait", "hello", kId);
  const auto again = Begin("Wait", "hello", kId);
  ASSERT_TRUE(first.ok() && again.ok());
  EXPECT_EQ(first->name(), again->name());
  const auto other = Begin("Wait", "other", kId);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(other.status()), REQUEST_ID_REUSED);
  EXPECT_NE(Begin("Wait", "hello", kId, "projects/q")->name(), first->name());
  go_ = true;
}

TEST_F(OperationHostTest, RestartBeginsAnewWhatWasNotDone) {
  const std::string name = Begin("Wait", "hello", kId)->name();
  AwaitBegun(1);
  host_.reset();
  go_ = true;
  Open();
  EXPECT_EQ(TextOf(Done(name).response()), "hello!");
  EXPECT_EQ(begun_, 2);
  EXPECT_EQ(Begin("Wait", "hello", kId)->name(), name) << "the request id outlives the process";
}

TEST_F(OperationHostTest, CancelEndsItAsCancelled) {
  const std::string name = Begin("Wait", "hello")->name();
  AwaitBegun(1);
  ASSERT_TRUE(host_->Cancel(name).ok());
  const Operation done = Done(name);
  ASSERT_TRUE(done.has_error());
  EXPECT_EQ(done.error().code(), static_cast<int>(absl::StatusCode::kCancelled));
  EXPECT_EQ(TextOf(done.metadata()), "Wait 1/2 cancelled");
  EXPECT_TRUE(host_->Cancel(name).ok()) << "nothing is left to cancel";
}

TEST_F(OperationHostTest, DeleteForgetsOnlyWhatIsDone) {
  const std::string name = Begin("Wait", "hello")->name();
  const absl::Status running = host_->Delete(name);
  EXPECT_EQ(running.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(running), OPERATION_RUNNING);
  go_ = true;
  Done(name);
  ASSERT_TRUE(host_->Delete(name).ok());
  EXPECT_EQ(host_->Get(name).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(host_->Delete(name).code(), absl::StatusCode::kNotFound);
}

TEST_F(OperationHostTest, WaitEndsWithItsTime) {
  const std::string name = Begin("Wait", "hello")->name();
  EXPECT_FALSE(host_->Wait(name, std::chrono::milliseconds(20), [] { return false; })->done());
  EXPECT_FALSE(host_->Wait(name, std::chrono::hours(1), [] { return true; })->done());
  go_ = true;
}

TEST_F(OperationHostTest, ListsOneProjectNewestFirst) {
  go_ = true;
  std::vector<std::string> names;
  for (int i = 0; i < 5; ++i) {
    now_ += std::chrono::seconds(1);
    names.push_back(Begin(i == 2 ? "Fail" : "Wait", "w")->name());
    Done(names.back());
  }
  Done(Begin("Wait", "w", "", "projects/q")->name());
  ListOperationsRequest request;
  request.set_name("projects/p");
  request.set_page_size(2);
  std::vector<std::string> seen;
  do {
    auto page = host_->List(request);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const Operation& operation : page->operations()) seen.push_back(operation.name());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(seen, std::vector<std::string>(names.rbegin(), names.rend()));
  request.Clear();
  request.set_name("projects/p");
  request.set_filter("done = false");
  EXPECT_EQ(host_->List(request)->operations_size(), 0);
  request.set_filter("verb = Wait");
  EXPECT_EQ(ReasonOf(host_->List(request).status()), FILTER_INVALID);
}

TEST_F(OperationHostTest, FinishedOnesLiveThirtyDays) {
  go_ = true;
  const std::string old = Begin("Wait", "a", kId)->name();
  Done(old);
  now_ += kOperationsLive - std::chrono::hours(1);
  const std::string young = Begin("Wait", "b")->name();
  Done(young);
  EXPECT_TRUE(host_->Get(old).ok());
  now_ += std::chrono::hours(2);
  Done(Begin("Wait", "c")->name());
  EXPECT_EQ(host_->Get(old).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(host_->Get(young).ok());
}

TEST_F(OperationHostTest, TooManyUnfinishedAreRefused) {
  for (int i = 0; i < kOperationsUnfinishedMax; ++i) ASSERT_TRUE(Begin("Wait", "w").ok());
  const auto more = Begin("Wait", "w");
  EXPECT_EQ(more.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(more.status()), LIMIT_EXCEEDED);
  EXPECT_TRUE(Begin("Wait", "w", "", "projects/q").ok()) << "another project has room of its own";
  go_ = true;
}

}  // namespace
}  // namespace retort::services
