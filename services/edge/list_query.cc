#include "services/edge/list_query.h"

#include <algorithm>
#include <utility>

#include "services/edge/status.h"

namespace retort::services {
namespace {

constexpr size_t kOrderBytesMax = 256;

std::string OrdersText(const std::vector<std::string>& orders) {
  std::string text;
  for (const std::string& order : orders) text += (text.empty() ? "" : ", ") + order;
  return text.empty() ? "nothing" : text;
}

// The order in its one form: single spaces, a space after each comma.
std::string Canonical(std::string_view order_by) {
  std::string text;
  bool gap = false;
  for (const char c : order_by) {
    if (c == ' ' || c == '\t') {
      gap = true;
      continue;
    }
    if (c == ',') {
      text += ", ";
      gap = false;
      continue;
    }
    if (gap && !text.empty() && text.back() != ' ') text += ' ';
    gap = false;
    text += c;
  }
  return text;
}

absl::StatusOr<std::string> OrderOf(std::string_view order_by, const ListRules& rules) {
  const std::string order = order_by.size() > kOrderBytesMax ? "" : Canonical(order_by);
  if (order_by.empty()) return rules.orders.empty() ? "" : rules.orders.front();
  if (std::find(rules.orders.begin(), rules.orders.end(), order) != rules.orders.end()) return order;
  const std::string seen(order_by.substr(0, 64));
  return WithReason(
      absl::InvalidArgumentError("order_by: saw '" + seen + "', wanted one of: " + OrdersText(rules.orders)),
      FILTER_INVALID, {{"field", "order_by"}, {"seen", seen}, {"wanted", OrdersText(rules.orders)}});
}

// Each part with its length before it, so that no two listings share a scope.
void AddPart(std::string& scope, std::string_view part) {
  scope += std::to_string(part.size()) + ":";
  scope += part;
}

}  // namespace

absl::StatusOr<ListQuery> ParseListQuery(std::string_view listing, const ListRequest& request,
                                         const ListRules& rules, const PageTokens& tokens) {
  ListQuery query;
  auto size = PageSize(request.page_size);
  if (!size.ok()) return size.status();
  query.size = *size;
  auto order = OrderOf(request.order_by, rules);
  if (!order.ok()) return order.status();
  query.order = *std::move(order);
  auto filter = Filter::Parse(request.filter, rules.fields);
  if (!filter.ok()) return filter.status();
  query.filter = *std::move(filter);
  for (const std::string_view part : {listing, request.parent, request.filter, std::string_view(query.order)})
    AddPart(query.scope, part);
  if (!request.page_token.empty()) {
    auto position = tokens.Open(query.scope, request.page_token);
    if (!position.ok()) return position.status();
    query.position = *std::move(position);
  }
  return query;
}

}  // namespace retort::services
