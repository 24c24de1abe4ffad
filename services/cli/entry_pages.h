// All entries of one kind of a project's log, page by page.
#ifndef SERVICES_CLI_ENTRY_PAGES_H_
#define SERVICES_CLI_ENTRY_PAGES_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "services/cli/client.h"

namespace retort::services {

// Calls `take` for every entry of the kind in log order, each with a first statement, until it returns an
// error, which is returned. `project` is projects/{project}; one whose log does not exist yet has no entries.
// DataLoss when the server lists an entry without a statement or with a negative index; otherwise the errors
// of the call.
absl::Status ForEachEntry(Client& client, const std::string& project, retort::ledger::v1::EntryKind kind,
                          const std::function<absl::Status(const retort::ledger::v1::Entry& entry)>& take);

}  // namespace retort::services

#endif  // SERVICES_CLI_ENTRY_PAGES_H_
