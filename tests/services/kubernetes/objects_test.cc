#include "services/kubernetes/objects.h"

#include <gtest/gtest.h>

#include "services/kubernetes/api_error.h"

namespace retort::kubernetes {
namespace {

// As kube-apiserver 1.37 prints them, shortened.
constexpr char kPodList[] =
    R"({"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"812"},"items":[
{"metadata":{"name":"a-0-x","uid":"u1","resourceVersion":"800","labels":{"retort.dev/launch":"1"},
  "annotations":{"batch.kubernetes.io/job-completion-index":"0"}},
 "status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable",
  "message":"0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}]}},
{"metadata":{"name":"a-1-y","uid":"u2","resourceVersion":"801","deletionTimestamp":"2026-11-22T14:00:00Z",
  "annotations":{"batch.kubernetes.io/job-completion-index":"1"}},
 "status":{"phase":"Failed","containerStatuses":[{"state":{"terminated":{"exitCode":137,"reason":"OOMKilled",
  "message":"last words"}}}]}},
{"metadata":{"name":"a-2-z","uid":"u3","resourceVersion":"802"},
 "status":{"phase":"Pending","containerStatuses":[{"state":{"waiting":{"reason":"ImagePullBackOff",
  "message":"Back-off pulling image"}}}]}}]})";

TEST(ObjectsTest, ReadsPods) {
  const auto list = ParseList(kPodList);
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(list->resource_version, "812");
  ASSERT_EQ(list->items.size(), 3u);
  const auto& waits = std::get<PodState>(list->items[0].state);
  EXPECT_EQ(waits.index, 0);
  EXPECT_FALSE(waits.started);
  EXPECT_EQ(waits.waiting, "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.");
  EXPECT_EQ(list->items[0].labels.at("retort.dev/launch"), "1");
  EXPECT_FALSE(list->items[0].deleting);
  const auto& ended = std::get<PodState>(list->items[1].state);
  EXPECT_TRUE(list->items[1].deleting);
  EXPECT_TRUE(ended.started);
  ASSERT_TRUE(ended.end.has_value());
  EXPECT_EQ(ended.end->Describe(), "signal 9 (OOMKilled)");
  EXPECT_EQ(ended.end->message, "last words");
  const auto& pulls = std::get<PodState>(list->items[2].state);
  EXPECT_EQ(pulls.index, -1);
  EXPECT_EQ(pulls.waiting, "ImagePullBackOff: Back-off pulling image");
}

TEST(ObjectsTest, ReadsWatchLines) {
  const auto failed = ParseWatchLine(
      R"({"type":"MODIFIED","object":{"kind":"Job","metadata":{"name":"j","uid":"u","resourceVersion":"9"},)"
      R"("spec":{"suspend":true},"status":{"conditions":[{"type":"FailureTarget","status":"True"},)"
      R"({"type":"Failed","status":"True","reason":"DeadlineExceeded","message":"too long"}]}}})");
  ASSERT_TRUE(failed.ok()) << failed.status();
  EXPECT_EQ(failed->resource_version, "9");
  const auto& job = std::get<JobState>(failed->object->state);
  EXPECT_TRUE(job.failed);
  EXPECT_TRUE(job.suspended);
  EXPECT_FALSE(job.complete);
  EXPECT_EQ(job.reason, "DeadlineExceeded");
  EXPECT_EQ(job.message, "too long");

  const auto bookmark = ParseWatchLine(
      R"({"type":"BOOKMARK","object":{"kind":"Job","metadata":{"resourceVersion":"77","creationTimestamp":null}}})");
  ASSERT_TRUE(bookmark.ok()) << bookmark.status();
  EXPECT_EQ(bookmark->resource_version, "77");
  EXPECT_FALSE(bookmark->object.has_value());

  const auto gone = ParseWatchLine(
      R"({"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old resource version: 1",)"
      R"("reason":"Expired","code":410}})");
  EXPECT_EQ(gone.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ParseWatchLine(R"({"type":"ERROR","object":{"code":42}})").status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(ObjectsTest, RefusesEverythingElse) {
  const std::string deep(100'000, '[');
  for (
      const std::string& line : std::initializer_list<std::string>{
          "", "{", "[]", "null", "{}", R"({"type":"ADDED"})", R"({"type":"ADDED","object":[]})",
          R"({"type":"WHAT","object":{}})", R"({"type":"ADDED","object":{"kind":"Node"}})",
          R"({"type":"ADDED","object":{"kind":"Job","metadata":{"name":"j","uid":"u"}}})",
          R"({"type":"ADDED","object":{"kind":"Job","metadata":{"name":7,"uid":"u","resourceVersion":"1"}}})",
          R"({"type":"ADDED","object":{"kind":"Job","metadata":{"name":"j","uid":"u","resourceVersion":"1"},"spec":[]}})",
          R"({"type":"ADDED","object":{"kind":"Job","metadata":{"name":"j","uid":"u","resourceVersion":"1","labels":{"a":1}}}})",
          R"({"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"j","uid":"u","resourceVersion":"1"},)"
          R"("status":{"containerStatuses":[{"state":{"terminated":{"exitCode":99999999999}}}]}}})",
          R"({"type":"BOOKMARK","object":{"metadata":{}}})", deep,
          std::string(kWatchLineBytesMax + 1, ' ')}) {
    EXPECT_EQ(ParseWatchLine(line).status().code(), absl::StatusCode::kUnknown) << line.substr(0, 120);
  }
  for (const char* body :
       {R"({"kind":"PodList","items":[]})",
        R"({"kind":"NodeList","metadata":{"resourceVersion":"1"},"items":[]})",
        R"({"kind":"PodList","metadata":{"resourceVersion":"1","continue":"more"},"items":[]})",
        R"({"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[1]})"}) {
    EXPECT_EQ(ParseList(body).status().code(), absl::StatusCode::kUnknown) << body;
  }
  std::string many = R"({"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[{})";
  for (size_t i = 0; i < kListItemsMax; ++i) many += ",{}";
  EXPECT_NE(ParseList(many + "]}").status().message().find("4096"), std::string::npos);
}

TEST(ObjectsTest, ReadsWhatKueueSays) {
  const auto waits = ParseWorkloadWaits(
      R"({"items":[{"status":{"conditions":[)"
      R"({"type":"QuotaReserved","status":"False","reason":"Pending","message":"8 more needed"},)"
      R"({"type":"Evicted","status":"True","reason":"Preempted"},{"type":"Admitted","status":"False"}]}}]})");
  ASSERT_TRUE(waits.ok()) << waits.status();
  EXPECT_EQ(*waits, "no quota is reserved (Pending): 8 more needed; evicted (Preempted)");
  EXPECT_EQ(*ParseWorkloadWaits(R"({"items":[]})"), "");
}

TEST(LineSplitterTest, CutsAndSaysSo) {
  LineSplitter splitter(4);
  std::vector<std::string> lines;
  splitter.Add("ab", lines);
  splitter.Add("cd\ne", lines);
  EXPECT_EQ(lines, std::vector<std::string>{"abcd"});
  EXPECT_FALSE(splitter.TakeWasCut());
  splitter.Add("fghij\n\nx", lines);
  EXPECT_EQ(lines, (std::vector<std::string>{"abcd", "efgh", ""}));
  EXPECT_TRUE(splitter.TakeWasCut());
  EXPECT_FALSE(splitter.TakeWasCut());
  EXPECT_EQ(splitter.TakeRest(), "x");
  EXPECT_EQ(splitter.TakeRest(), "");
}

TEST(ApiErrorTest, OneCodeForEachThingToDo) {
  const std::pair<int, absl::StatusCode> codes[] = {
      {400, absl::StatusCode::kInvalidArgument},  {401, absl::StatusCode::kUnauthenticated},
      {403, absl::StatusCode::kPermissionDenied}, {404, absl::StatusCode::kNotFound},
      {409, absl::StatusCode::kAborted},          {410, absl::StatusCode::kOutOfRange},
      {422, absl::StatusCode::kInvalidArgument},  {429, absl::StatusCode::kUnavailable},
      {500, absl::StatusCode::kUnavailable},      {504, absl::StatusCode::kUnavailable},
      {302, absl::StatusCode::kUnknown}};
  for (const auto& [http, code] : codes)
    EXPECT_EQ(ErrorOf("do", http, "", std::nullopt).code(), code) << http;
  const auto taken =
      ErrorOf("create jobs", 409, R"({"reason":"AlreadyExists","message":"it\nis"})", std::nullopt);
  EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(taken.message(), "the API server refused to create jobs: HTTP 409 AlreadyExists: it is");
  EXPECT_EQ(RetryAfter(taken), std::nullopt);
  EXPECT_EQ(RetryAfter(ErrorOf("x", 429, "", std::chrono::seconds(7))), std::chrono::seconds(7));
  EXPECT_EQ(RetryAfter(ErrorOf("x", 429, R"({"details":{"retryAfterSeconds":3}})", std::nullopt)),
            std::chrono::seconds(3));
  EXPECT_EQ(RetryAfter(ErrorOf("x", 429, R"({"details":{"retryAfterSeconds":-3}})", std::nullopt)),
            std::nullopt);
  const std::string long_message = R"({"message":")" + std::string(5000, 'x') + "\"}";
  EXPECT_LT(ErrorOf("x", 500, long_message, std::nullopt).message().size(), 1100u);
  EXPECT_EQ(Readable("ab\xC3\xA4", 3), "ab...");  // no half character
}

}  // namespace
}  // namespace retort::kubernetes
