#include "services/cli/entry_pages.h"

namespace retort::services {
namespace {

constexpr int kEntriesPerPage = 100;

}  // namespace

absl::Status ForEachEntry(Client& client, const std::string& project, retort::ledger::v1::EntryKind kind,
                          const std::function<absl::Status(const retort::ledger::v1::Entry& entry)>& take) {
  retort::ledger::v1::ListEntriesRequest request;
  request.set_parent(project + "/ledgers/main");
  request.set_kind(kind);
  request.set_page_size(kEntriesPerPage);
  do {
    auto page = client.Call(client.ledger(), &Client::Ledger::Stub::ListEntries, request);
    if (absl::IsNotFound(page.status())) return absl::OkStatus();
    if (!page.ok()) return page.status();
    for (const auto& entry : page->entries()) {
      if (entry.statements().empty() || entry.index() < 0)
        return absl::DataLossError("the server listed an entry without a statement");
      if (auto s = take(entry); !s.ok()) return s;
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  return absl::OkStatus();
}

}  // namespace retort::services
