// The long-running operations of the ledger: exporting evidence and verifying the log. Each reads the whole
// log and changes nothing, so that it may be begun anew after a restart.
#ifndef SERVICES_LEDGER_LEDGER_OPERATIONS_H_
#define SERVICES_LEDGER_LEDGER_OPERATIONS_H_

#include "services/ledger/project_logs.h"
#include "services/operations/operation_host.h"

namespace retort::services {

inline constexpr char kExportEvidence[] = "ExportEvidence";
inline constexpr char kVerifyLedger[] = "VerifyLedger";

// What an OperationHost of the ledger is opened with. `logs` is not owned and outlives the host.
//   ExportEvidence  digests every file of the pack of the newest checkpoint.
//   VerifyLedger    audits every entry under it. DataLoss (LEDGER_CORRUPT) with the first finding when it
//   does not hold.
OperationHost::Verbs LedgerVerbs(ProjectLogs* logs);

}  // namespace retort::services

#endif  // SERVICES_LEDGER_LEDGER_OPERATIONS_H_
