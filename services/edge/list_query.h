// What every List method asks: page, filter and order, checked, with the position where the page begins
// (AIP-132, 158, 160).
//
//   auto query = ParseListQuery("jobs", {request.parent(), request.page_size(), request.page_token(),
//   request.filter(),
//                                        request.order_by()}, kRules, tokens);
//   if (!query.ok()) return query.status();
//   ... from query->position on, in query->order, those that query->filter matches, at most query->size ...
//   response.set_next_page_token(tokens.Seal(query->scope, last_position));
//
// A page token belongs to one listing: method, parent, filter and order are in its scope. Only page_size may
// change from page to page. Pure functions.
#ifndef SERVICES_EDGE_LIST_QUERY_H_
#define SERVICES_EDGE_LIST_QUERY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "services/edge/filter.h"
#include "services/edge/page_token.h"

namespace retort::services {

// What a listing offers.
struct ListRules {
  FilterFields fields;
  std::vector<std::string>
      orders;  // "create_time desc"; the first is the default; empty: order_by must be empty
};

// The fields of a List request.
struct ListRequest {
  std::string_view parent;
  int32_t page_size = 0;
  std::string_view page_token, filter, order_by;
};

struct ListQuery {
  int32_t size = 0;  // items to return at most, 1 to 1000
  Filter filter;
  std::string order;     // one of the rules'
  std::string position;  // as sealed into the token; empty on the first page
  std::string scope;     // for PageTokens::Seal

  bool descending() const { return order.ends_with(" desc"); }
};

// InvalidArgument: INVALID_FIELD for a negative page_size, FILTER_INVALID for a filter or an order,
// PAGE_TOKEN_INVALID for a token of another listing. `listing` names the method.
absl::StatusOr<ListQuery> ParseListQuery(std::string_view listing, const ListRequest& request,
                                         const ListRules& rules, const PageTokens& tokens);

// One page of items that are all in memory, each with a key of its own that its order goes by. `items` ascend
// by key. Calls `emit` for each item of the page and returns the token of the next, empty on the last.
template <class Item, class KeyOf, class MessageOf, class Emit>
std::string PageOfItems(const std::vector<Item>& items, const ListQuery& query, const PageTokens& tokens,
                        const KeyOf& key_of, const MessageOf& message_of, const Emit& emit) {
  int32_t taken = 0;
  std::string last;
  const size_t count = items.size();
  for (size_t i = 0; i < count; ++i) {
    const Item& item = items[query.descending() ? count - 1 - i : i];
    const std::string key = key_of(item);
    if (!query.position.empty() && (query.descending() ? key >= query.position : key <= query.position))
      continue;
    if (taken == query.size) return tokens.Seal(query.scope, last);
    last = key;
    auto message = message_of(item);
    if (!query.filter.Matches(message)) continue;
    emit(std::move(message));
    ++taken;
  }
  return "";
}

}  // namespace retort::services

#endif  // SERVICES_EDGE_LIST_QUERY_H_
