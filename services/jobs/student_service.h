// Students as resources: read from the jobs that released them, whose signed statements the store keeps.
//
// A student is named by its job's spec and keeps its name for ever, so it has one version, `v1`, as long as
// no other job may release under the same name. A thin adapter, thread-safe.
#ifndef SERVICES_JOBS_STUDENT_SERVICE_H_
#define SERVICES_JOBS_STUDENT_SERVICE_H_

#include "retort/student/v1/student.grpc.pb.h"
#include "services/edge/page_token.h"
#include "services/jobs/store.h"

namespace retort::jobs {

class StudentService final : public student::v1::StudentService::Service {
 public:
  // Both outlive the service.
  StudentService(const JobStore& store, const services::PageTokens& tokens)
      : store_(store), tokens_(tokens) {}

  grpc::Status GetStudent(grpc::ServerContext* context, const student::v1::GetStudentRequest* request,
                          student::v1::Student* response) override;
  grpc::Status ListStudents(grpc::ServerContext* context, const student::v1::ListStudentsRequest* request,
                            student::v1::ListStudentsResponse* response) override;
  grpc::Status GetStudentVersion(grpc::ServerContext* context,
                                 const student::v1::GetStudentVersionRequest* request,
                                 student::v1::StudentVersion* response) override;
  grpc::Status ListStudentVersions(grpc::ServerContext* context,
                                   const student::v1::ListStudentVersionsRequest* request,
                                   student::v1::ListStudentVersionsResponse* response) override;

 private:
  // The record of the job that released the student. NotFound.
  absl::StatusOr<v1::JobRecord> Released(const std::string& student) const;

  const JobStore& store_;
  const services::PageTokens& tokens_;
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_STUDENT_SERVICE_H_
