// The services that a job is carried through. Reached over gRPC even when the same process hosts them, so
// that there is one path to test; tests put fakes behind the same stubs.
#ifndef SERVICES_JOBS_PEERS_H_
#define SERVICES_JOBS_PEERS_H_

#include <memory>

#include "retort/ledger/v1/ledger.grpc.pb.h"
#include "retort/policy/v1/policy.grpc.pb.h"
#include "retort/teacher/v1/teacher.grpc.pb.h"

namespace retort::jobs {

// One stub for each service; none may be null. Stubs are safe on any thread.
struct Peers {
  std::unique_ptr<teacher::v1::TeacherService::StubInterface> teacher;
  std::unique_ptr<policy::v1::PolicyService::StubInterface> policy;
  std::unique_ptr<ledger::v1::LedgerService::StubInterface> ledger;
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_PEERS_H_
