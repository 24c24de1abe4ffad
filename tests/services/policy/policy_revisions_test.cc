#include "services/policy/policy_revisions.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "services/edge/status.h"

namespace retort::services {
namespace {

using policy::v1::PolicyRevision;

constexpr char kParent[] = "projects/p/policies/acme.terms";
constexpr char kId[] = "6f1d7a6e-3b1c-4b8e-9a52-0c6a3f1c9d10";
constexpr char kAnn[] = "spiffe://example/ann";
constexpr char kBob[] = "spiffe://example/bob";

std::string Pack(const std::string& version, const std::string& more = "",
                 const std::string& id = "acme.terms") {
  return "id: " + id + "\nversion: \"" + version + "\"\ntitle: Terms\nkind: terms\nconfidence: read\n" +
         "source_url: https://example.com\ndocument_date: 2026-01-01\neffective_from: 2026-01-01\n" +
         "applies_to:\n  - { provider: acme }\n" + more +
         "rules:\n  - { id: may, clause: section 1, summary: May train., effect: allow }\n";
}

class PolicyRevisionsTest : public testing::Test {
 protected:
  PolicyRevisionsTest() : folder_(testing::TempDir() + "/revisions_" + std::to_string(getpid())) {
    std::filesystem::remove_all(folder_);
    Open();
  }
  ~PolicyRevisionsTest() override {
    revisions_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Open() {
    revisions_.reset();
    auto shipped = policy::PackSet::FromPacks({{"shipped", Pack("1")}});
    ASSERT_TRUE(shipped.ok()) << shipped.status();
    auto opened = PolicyRevisions::Open(folder_, *std::move(shipped),
                                        [this] { return now_ += std::chrono::seconds(1); });
    ASSERT_TRUE(opened.ok()) << opened.status();
    revisions_ = *std::move(opened);
  }

  absl::StatusOr<PolicyRevision> Create(const std::string& yaml, const std::string& id = "",
                                        bool only_check = false) {
    return revisions_->Create(
        kParent, yaml, kAnn,
        {"CreatePolicyRevision", id, std::string(31, 'x') + yaml.substr(yaml.find("version") + 10, 1)},
        only_check);
  }

  absl::StatusOr<PolicyRevision> Activate(const std::string& name, const std::string& actor = kBob,
                                          const std::string& etag = "", const std::string& id = "",
                                          bool only_check = false) {
    return revisions_->Activate(name, etag, actor, {"ActivatePolicyRevision", id, std::string(32, 'a')},
                                only_check,
                                [this](const PolicyRevision& revision) -> absl::StatusOr<int64_t> {
                                  entered_.push_back(revision.version());
                                  if (!ledger_.ok()) return ledger_;
                                  return 40 + static_cast<int64_t>(entered_.size());
                                });
  }

  std::string VersionIn(const std::string& project) {
    return revisions_->ActiveFor(project)->Find("acme.terms")->pack().version();
  }

  const std::string folder_;
  std::chrono::system_clock::time_point now_{std::chrono::hours(500'000)};
  absl::Status ledger_;
  std::vector<std::string> entered_;
  std::unique_ptr<PolicyRevisions> revisions_;
};

TEST_F(PolicyRevisionsTest, DraftDecidesNothingAndActiveOneDoes) {
  const auto draft = Create(Pack("2"));
  ASSERT_TRUE(draft.ok()) << draft.status();
  EXPECT_EQ(draft->state(), PolicyRevision::STATE_DRAFT);
  EXPECT_EQ(draft->name().rfind(std::string(kParent) + "/revisions/r", 0), 0u);
  EXPECT_EQ(draft->author(), kAnn);
  EXPECT_EQ(draft->entry(), -1);
  EXPECT_EQ(VersionIn("projects/p"), "1");
  const auto active = Activate(draft->name());
  ASSERT_TRUE(active.ok()) << active.status();
  EXPECT_EQ(active->state(), PolicyRevision::STATE_ACTIVE);
  EXPECT_EQ(active->activator(), kBob);
  EXPECT_EQ(active->entry(), 41);
  EXPECT_NE(active->etag(), draft->etag());
  EXPECT_EQ(VersionIn("projects/p"), "2");
  EXPECT_EQ(VersionIn("projects/q"), "1") << "projects are walls";
  EXPECT_EQ(revisions_->ActiveRevision("projects/p", "acme.terms"), draft->name());
  EXPECT_EQ(revisions_->ActiveRevision("projects/q", "acme.terms"), "");
}

TEST_F(PolicyRevisionsTest, OutlivesTheProcess) {
  const std::string name = Create(Pack("2"))->name();
  ASSERT_TRUE(Activate(name).ok());
  Open();
  EXPECT_EQ(VersionIn("projects/p"), "2");
  EXPECT_EQ(revisions_->Get(name)->state(), PolicyRevision::STATE_ACTIVE);
}

TEST_F(PolicyRevisionsTest, FormerOneIsSupersededAndMayReturn) {
  const std::string second = Create(Pack("2"))->name(), third = Create(Pack("3"))->name();
  ASSERT_TRUE(Activate(second).ok());
  ASSERT_TRUE(Activate(third).ok());
  EXPECT_EQ(revisions_->Get(second)->state(), PolicyRevision::STATE_SUPERSEDED);
  ASSERT_TRUE(Activate(second).ok());
  EXPECT_EQ(VersionIn("projects/p"), "2");
  EXPECT_EQ(revisions_->Get(third)->state(), PolicyRevision::STATE_SUPERSEDED);
  const auto list = revisions_->List(kParent);
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[0].version(), "2");
  EXPECT_EQ((*list)[1].yaml(), "");
}

TEST_F(PolicyRevisionsTest, AuthorDoesNotActivate) {
  const std::string name = Create(Pack("2"))->name();
  for (const char* actor : {kAnn, ""}) {
    const auto refused = Activate(name, actor);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied);
    EXPECT_EQ(ReasonOf(refused.status()), SEPARATION_OF_DUTIES);
  }
  EXPECT_TRUE(entered_.empty());
  EXPECT_EQ(VersionIn("projects/p"), "1");
}

TEST_F(PolicyRevisionsTest, NothingIsActiveThatIsNotEntered) {
  const std::string name = Create(Pack("2"))->name();
  ledger_ = absl::UnavailableError("the ledger is away");
  EXPECT_EQ(Activate(name).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(VersionIn("projects/p"), "1");
  EXPECT_EQ(revisions_->Get(name)->state(), PolicyRevision::STATE_DRAFT);
}

TEST_F(PolicyRevisionsTest, WrongPacksAreRefused) {
  for (const std::string& yaml :
       {std::string("id: acme.terms\nnonsense: really, this is no pack"), Pack("2", "", "other.terms")}) {
    const auto refused = Create(yaml);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << yaml;
    EXPECT_EQ(ReasonOf(refused.status()), POLICY_INVALID);
  }
  // It parses, but names a usage policy that is not there.
  const auto lonely = Create(Pack("2", "incorporates: [acme.usage]\n"));
  ASSERT_TRUE(lonely.ok()) << lonely.status();
  const auto refused = Activate(lonely->name());
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused.status()), POLICY_INVALID);
}

TEST_F(PolicyRevisionsTest, OneVersionHasOneText) {
  ASSERT_TRUE(Create(Pack("2")).ok());
  EXPECT_EQ(Create(Pack("2")).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Create(Pack("2") + "# other bytes\n").status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(PolicyRevisionsTest, OnlyCheckingKeepsNothing) {
  const auto checked = Create(Pack("2"), "", /*only_check=*/true);
  ASSERT_TRUE(checked.ok());
  EXPECT_EQ(revisions_->Get(checked->name()).status().code(), absl::StatusCode::kNotFound);
  const std::string name = Create(Pack("2"))->name();
  ASSERT_TRUE(Activate(name, kBob, "", "", /*only_check=*/true).ok());
  EXPECT_TRUE(entered_.empty());
  EXPECT_EQ(VersionIn("projects/p"), "1");
}

TEST_F(PolicyRevisionsTest, EtagAndStateAreChecked) {
  const auto draft = *Create(Pack("2"));
  const auto stale = Activate(draft.name(), kBob, "\"9\"");
  EXPECT_EQ(stale.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(stale.status()), ETAG_MISMATCH);
  ASSERT_TRUE(Activate(draft.name(), kBob, draft.etag()).ok());
  const auto again = Activate(draft.name());
  EXPECT_EQ(again.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(again.status()), REVISION_STATE);
  EXPECT_EQ(Activate(std::string(kParent) + "/revisions/r0").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PolicyRevisionsTest, RepeatedRequestsGiveTheFirstAnswer) {
  const auto first = Create(Pack("2"), kId);
  const auto again = Create(Pack("2"), kId);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->name(), first->name());
  const auto other = Create(Pack("3"), kId);
  EXPECT_EQ(ReasonOf(other.status()), REQUEST_ID_REUSED);
  ASSERT_TRUE(Activate(first->name(), kBob, "", kId).ok());
  ASSERT_TRUE(Activate(first->name(), kBob, "", kId).ok()) << "a repeat is no second activation";
  EXPECT_EQ(entered_.size(), 1u);
}

}  // namespace
}  // namespace retort::services
