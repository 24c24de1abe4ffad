#include "services/edge/list_query.h"

#include <gtest/gtest.h>

#include "retort/teacher/v1/teacher.pb.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

using teacher::v1::Teacher;

const ListRules& Rules() {
  static const ListRules rules{FilterFields(*Teacher::descriptor(), {"name", "provider"}),
                               {"name", "name desc"}};
  return rules;
}

const PageTokens& Tokens() {
  static const PageTokens tokens(std::string(32, 'k'));
  return tokens;
}

std::vector<Teacher> Teachers() {
  std::vector<Teacher> teachers;
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    teachers.emplace_back().set_name(name);
    teachers.back().set_provider(*name % 2 == 0 ? "even" : "odd");
  }
  return teachers;
}

struct Page {
  std::string names, token;
};

Page PageOf(const ListQuery& query) {
  Page page;
  page.token = PageOfItems(
      Teachers(), query, Tokens(), [](const Teacher& t) { return t.name(); },
      [](const Teacher& t) { return t; }, [&](const Teacher& t) { page.names += t.name(); });
  return page;
}

absl::StatusOr<ListQuery> Parse(const ListRequest& request, const std::string& listing = "teachers") {
  return ParseListQuery(listing, request, Rules(), Tokens());
}

// All pages of a listing, joined by |.
std::string Walk(ListRequest request) {
  std::string all, token;
  for (int i = 0; i < 20; ++i) {
    request.page_token = token;
    auto query = Parse(request);
    EXPECT_TRUE(query.ok()) << query.status();
    if (!query.ok()) return all;
    const Page page = PageOf(*query);
    all += page.names;
    if (page.token.empty()) return all;
    all += "|";
    token = page.token;
  }
  return all + "...";
}

TEST(ListQueryTest, PagesMeetEveryItemOnce) {
  EXPECT_EQ(Walk({"projects/p", 2, "", "", ""}), "ab|cd|e");
  EXPECT_EQ(Walk({"projects/p", 5, "", "", ""}), "abcde");
  EXPECT_EQ(Walk({"projects/p", 1000, "", "", ""}), "abcde");
  EXPECT_EQ(Walk({"projects/p", 2, "", "", "name desc"}), "ed|cb|a");
  EXPECT_EQ(Walk({"projects/p", 2, "", "provider = odd", ""}), "ac|e");
  EXPECT_EQ(Walk({"projects/p", 2, "", "provider = none", ""}), "");
}

TEST(ListQueryTest, PageSizeHasItsRules) {
  EXPECT_EQ(Parse({"projects/p", 0, "", "", ""})->size, 50);
  EXPECT_EQ(Parse({"projects/p", 5000, "", "", ""})->size, 1000);
  const auto negative = Parse({"projects/p", -1, "", "", ""});
  EXPECT_EQ(negative.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(negative.status()), INVALID_FIELD);
}

TEST(ListQueryTest, TokenBelongsToItsListing) {
  const std::string token = PageOf(*Parse({"projects/p", 2, "", "provider = odd", "name desc"})).token;
  EXPECT_TRUE(Parse({"projects/p", 1, token, "provider = odd", "name desc"}).ok()) << "page_size may change";
  EXPECT_TRUE(Parse({"projects/p", 1, token, "provider = odd", " name   desc "}).ok()) << "the same order";
  for (const ListRequest& other :
       {ListRequest{"projects/q", 2, token, "provider = odd", "name desc"},
        ListRequest{"projects/p", 2, token, "provider = even", "name desc"},
        ListRequest{"projects/p", 2, token, "provider = odd", "name"},
        ListRequest{"projects/p", 2, "00" + token, "provider = odd", "name desc"}}) {
    const auto refused = Parse(other);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReasonOf(refused.status()), PAGE_TOKEN_INVALID);
  }
  EXPECT_FALSE(Parse({"projects/p", 2, token, "provider = odd", "name desc"}, "students").ok());
}

TEST(ListQueryTest, OrderIsOneOfThoseOffered) {
  EXPECT_EQ(Parse({"projects/p", 0, "", "", ""})->order, "name");
  EXPECT_TRUE(Parse({"projects/p", 0, "", "", "name desc"})->descending());
  for (const char* order : {"provider", "name asc", "name,", "desc", "name desc, provider"}) {
    const auto refused = Parse({"projects/p", 0, "", "", order});
    EXPECT_EQ(ReasonOf(refused.status()), FILTER_INVALID) << order;
    EXPECT_NE(std::string(refused.status().message()).find("name, name desc"), std::string::npos);
  }
}

}  // namespace
}  // namespace retort::services
