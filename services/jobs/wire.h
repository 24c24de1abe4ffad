// Conversions between the libraries' values and the messages that carry them. Pure.
#ifndef SERVICES_JOBS_WIRE_H_
#define SERVICES_JOBS_WIRE_H_

#include <chrono>
#include <string>

#include "ledger/signed_statement.h"
#include "ledger/statement.h"
#include "retort/jobs/v1/job_record.pb.h"
#include "retort/ledger/v1/ledger.pb.h"
#include "retort/policy/v1/facts.pb.h"
#include "retort/policy/v1/policy.pb.h"
#include "retort/teacher/v1/teacher.pb.h"

namespace retort::jobs {

ledger::v1::SignedStatement ToProto(const ledger::SignedStatement& statement);
// The signed decision in a response.
ledger::v1::SignedStatement ToProto(const policy::v1::DecideResponse& response);

v1::Obligation ToProto(const ledger::DecidedObligation& obligation);
ledger::DecidedObligation FromProto(const v1::Obligation& obligation);

// The facts of a job: what the operator's configuration says about the teacher and the submitter about the
// student. Nothing is guessed; what neither says stays unset. `mode` is interactive or scripted. Students are
// trained from scratch, so base_model is empty unless the spec says otherwise.
policy::v1::Facts FactsOf(const teacher::v1::Teacher& teacher, const v1::JobSpec& spec, std::string mode,
                          std::chrono::system_clock::time_point now);

// One line: rules that decided with their clauses, and the facts that are missing.
std::string Explain(const ledger::DecisionStatement& decision);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_WIRE_H_
