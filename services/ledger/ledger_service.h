// The gRPC face of the ledger: validate, convert, call the log of the project, map. The rules are
// ledger/log.h's.
#ifndef SERVICES_LEDGER_LEDGER_SERVICE_H_
#define SERVICES_LEDGER_LEDGER_SERVICE_H_

#include "retort/ledger/v1/ledger.grpc.pb.h"
#include "services/edge/page_token.h"
#include "services/ledger/project_logs.h"
#include "services/operations/operation_host.h"

namespace retort::services {

// Thread-safe. Every method answers INVALID_ARGUMENT (INVALID_FIELD) for a malformed name, NOT_FOUND for a
// project without a log, DATA_LOSS (LEDGER_CORRUPT) when stored bytes do not match, UNAVAILABLE
// (LEDGER_UNAVAILABLE) when the log cannot append.
class LedgerServiceImpl final : public ledger::v1::LedgerService::Service {
 public:
  // `logs` and `operations`, which has the verbs of LedgerVerbs, are not owned and outlive the service.
  LedgerServiceImpl(ProjectLogs* logs, OperationHost* operations, PageTokens page_tokens);

  // Makes the project's log when there is none. INVALID_ARGUMENT (SIGNATURE_INVALID, REQUEST_ID_REUSED as
  // ALREADY_EXISTS).
  grpc::Status AppendEntry(grpc::ServerContext* context, const ledger::v1::AppendEntryRequest* request,
                           ledger::v1::Entry* response) override;
  // A project without a log has none of the requests: an empty answer.
  grpc::Status LookupRequests(grpc::ServerContext* context, const ledger::v1::LookupRequestsRequest* request,
                              ledger::v1::LookupRequestsResponse* response) override;
  grpc::Status GetEntry(grpc::ServerContext* context, const ledger::v1::GetEntryRequest* request,
                        ledger::v1::Entry* response) override;
  grpc::Status ListEntries(grpc::ServerContext* context, const ledger::v1::ListEntriesRequest* request,
                           ledger::v1::ListEntriesResponse* response) override;
  grpc::Status GetCheckpoint(grpc::ServerContext* context, const ledger::v1::GetCheckpointRequest* request,
                             ledger::v1::Checkpoint* response) override;
  grpc::Status GetInclusionProof(grpc::ServerContext* context,
                                 const ledger::v1::GetInclusionProofRequest* request,
                                 ledger::v1::Proof* response) override;
  grpc::Status GetConsistencyProof(grpc::ServerContext* context,
                                   const ledger::v1::GetConsistencyProofRequest* request,
                                   ledger::v1::Proof* response) override;
  // FAILED_PRECONDITION (DATASET_EMPTY) when no train sample of the job is allowed.
  grpc::Status CreateDataset(grpc::ServerContext* context, const ledger::v1::CreateDatasetRequest* request,
                             ledger::v1::Entry* response) override;
  grpc::Status ReadDataset(grpc::ServerContext* context, const ledger::v1::ReadDatasetRequest* request,
                           grpc::ServerWriter<ledger::v1::ReadDatasetResponse>* writer) override;
  grpc::Status CountSamples(grpc::ServerContext* context, const ledger::v1::CountSamplesRequest* request,
                            ledger::v1::CountSamplesResponse* response) override;
  // A project without a log has no samples: an empty answer.
  grpc::Status ListJobSamples(grpc::ServerContext* context, const ledger::v1::ListJobSamplesRequest* request,
                              ledger::v1::ListJobSamplesResponse* response) override;
  grpc::Status GetJobSample(grpc::ServerContext* context, const ledger::v1::GetJobSampleRequest* request,
                            ledger::v1::Sample* response) override;
  grpc::Status ExportEvidence(grpc::ServerContext* context, const ledger::v1::ExportEvidenceRequest* request,
                              google::longrunning::Operation* response) override;
  grpc::Status VerifyLedger(grpc::ServerContext* context, const ledger::v1::VerifyLedgerRequest* request,
                            google::longrunning::Operation* response) override;
  // Everything of an evidence pack but manifest.json and student/, which whoever assembles the pack adds.
  grpc::Status ReadEvidence(grpc::ServerContext* context, const ledger::v1::ReadEvidenceRequest* request,
                            grpc::ServerWriter<ledger::v1::FileChunk>* writer) override;

 private:
  template <class Request>
  grpc::Status Begin(const char* verb, const std::string& name, const Request& request,
                     google::longrunning::Operation* response);

  ProjectLogs* const logs_;
  OperationHost* const operations_;
  const PageTokens page_tokens_;
};

}  // namespace retort::services

#endif  // SERVICES_LEDGER_LEDGER_SERVICE_H_
