#include "services/jobs/student_service.h"

#include "ledger/digest.h"
#include "ledger/statement.h"
#include "ledger/uuid.h"
#include "services/edge/list_query.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"

namespace retort::jobs {
namespace {

using services::ToGrpcStatus;
using services::WithReason;
using student::v1::Student;
using student::v1::StudentVersion;

constexpr char kOnlyVersion[] = "v1";

const services::ListRules& StudentRules() {
  static const services::ListRules rules{
      services::FilterFields(*Student::descriptor(),
                             {"name", "create_time", "display_name", "labels", "job"}),
      {"name", "name desc"}};
  return rules;
}

const services::ListRules& VersionRules() {
  static const services::ListRules rules{services::FilterFields(*StudentVersion::descriptor(), {}), {}};
  return rules;
}

absl::Status NotReleased(const std::string& name) {
  return WithReason(absl::NotFoundError("there is no released student " + name), NOT_FOUND, {{"name", name}});
}

std::string Etag(const v1::Job& job) {
  return "\"" + std::to_string(job.entries().release()) + "\"";
}

// Records from before release times were kept had the release as their last change.
const google::protobuf::Timestamp& ReleaseTime(const v1::JobRecord& record) {
  return record.has_release_time() ? record.release_time() : record.job().update_time();
}

Student Describe(const v1::JobRecord& record) {
  const v1::Job& job = record.job();
  Student student;
  student.set_name(job.student());
  student.set_uid(ledger::UuidFromDigest(ledger::Sha256("retort/student/v1\n" + job.uid())));
  *student.mutable_create_time() = ReleaseTime(record);
  *student.mutable_update_time() = ReleaseTime(record);
  student.set_etag(Etag(job));
  *student.mutable_labels() = job.labels();
  student.set_display_name(job.display_name());
  student.set_newest_version(job.student() + "/versions/" + kOnlyVersion);
  student.set_job(job.name());
  return student;
}

absl::StatusOr<StudentVersion> DescribeVersion(const v1::JobRecord& record, bool whole) {
  const v1::Job& job = record.job();
  auto release = ledger::ReleaseStatement::Parse(record.release().statement());
  if (!release.ok()) return absl::DataLossError("the stored release statement cannot be read");
  StudentVersion version;
  version.set_name(job.student() + "/versions/" + kOnlyVersion);
  version.set_uid(release->request_id);
  *version.mutable_create_time() = ReleaseTime(record);
  version.set_etag(Etag(job));
  version.set_job(job.name());
  version.set_release_entry(job.entries().release());
  version.set_dataset_entry(release->dataset_entry);
  version.set_checkpoint_digest(release->checkpoint_digest);
  if (!whole) return version;
  for (const auto& file : release->files) {
    auto* row = version.add_files();
    row->set_path(file.path);
    row->set_sha256(file.sha256);
    row->set_size_bytes(file.bytes);
  }
  for (const auto& measured : release->quality) {
    auto* row = version.add_quality();
    row->set_student(measured.student);
    row->set_kl(measured.kl);
    row->set_agreement(measured.agreement);
    row->set_perplexity(measured.perplexity);
    row->set_token_count(measured.tokens);
  }
  for (const auto& duty : release->obligations) {
    auto* row = version.add_duties();
    row->set_pack(duty.pack);
    row->set_rule(duty.rule);
    row->set_kind(duty.kind);
    row->set_trigger(duty.trigger);
    row->set_text(duty.text);
  }
  return version;
}

}  // namespace

absl::StatusOr<v1::JobRecord> StudentService::Released(const std::string& student) const {
  auto owner = store_.JobOfStudent(student);
  if (absl::IsNotFound(owner.status())) return NotReleased(student);
  if (!owner.ok()) return owner.status();
  auto record = store_.Read(*owner);
  if (absl::IsNotFound(record.status())) return NotReleased(student);
  if (!record.ok()) return record.status();
  if (record->job().student() != student) return NotReleased(student);
  return record;
}

grpc::Status StudentService::GetStudent(grpc::ServerContext*, const student::v1::GetStudentRequest* request,
                                        Student* response) {
  if (auto name = services::ParseResourceName("name", request->name(), "projects/*/students/@"); !name.ok())
    return ToGrpcStatus(name.status());
  auto record = Released(request->name());
  if (!record.ok()) return ToGrpcStatus(record.status());
  *response = Describe(*record);
  return grpc::Status::OK;
}

grpc::Status StudentService::ListStudents(grpc::ServerContext*,
                                          const student::v1::ListStudentsRequest* request,
                                          student::v1::ListStudentsResponse* response) {
  if (auto parent = services::ParseResourceName("parent", request->parent(), "projects/*"); !parent.ok())
    return ToGrpcStatus(parent.status());
  auto query = services::ParseListQuery("students",
                                        {request->parent(), request->page_size(), request->page_token(),
                                         request->filter(), request->order_by()},
                                        StudentRules(), tokens_);
  if (!query.ok()) return ToGrpcStatus(query.status());
  auto students = store_.Students(request->parent());
  if (!students.ok()) return ToGrpcStatus(students.status());
  std::vector<Student> released;
  for (const auto& [name, job] : *students) {
    auto record = store_.Read(job);
    if (absl::IsNotFound(record.status())) continue;
    if (!record.ok()) return ToGrpcStatus(record.status());
    if (record->job().student() == name) released.push_back(Describe(*record));
  }
  response->set_next_page_token(services::PageOfItems(
      released, *query, tokens_, [](const Student& student) { return student.name(); },
      [](const Student& student) { return student; },
      [&](Student student) { *response->add_students() = std::move(student); }));
  return grpc::Status::OK;
}

grpc::Status StudentService::GetStudentVersion(grpc::ServerContext*,
                                               const student::v1::GetStudentVersionRequest* request,
                                               StudentVersion* response) {
  auto ids = services::ParseResourceName("name", request->name(), "projects/*/students/@/versions/*");
  if (!ids.ok()) return ToGrpcStatus(ids.status());
  if (ids->back() != kOnlyVersion) return ToGrpcStatus(NotReleased(request->name()));
  auto record = Released(request->name().substr(0, request->name().rfind("/versions/")));
  if (!record.ok()) return ToGrpcStatus(record.status());
  auto version = DescribeVersion(*record, /*whole=*/true);
  if (!version.ok()) return ToGrpcStatus(version.status());
  *response = *std::move(version);
  return grpc::Status::OK;
}

grpc::Status StudentService::ListStudentVersions(grpc::ServerContext*,
                                                 const student::v1::ListStudentVersionsRequest* request,
                                                 student::v1::ListStudentVersionsResponse* response) {
  if (auto parent = services::ParseResourceName("parent", request->parent(), "projects/*/students/@");
      !parent.ok())
    return ToGrpcStatus(parent.status());
  auto query = services::ParseListQuery(
      "student versions", {request->parent(), request->page_size(), request->page_token(), "", ""},
      VersionRules(), tokens_);
  if (!query.ok()) return ToGrpcStatus(query.status());
  auto record = Released(request->parent());
  if (!record.ok()) return ToGrpcStatus(record.status());
  auto version = DescribeVersion(*record, /*whole=*/false);
  if (!version.ok()) return ToGrpcStatus(version.status());
  *response->add_student_versions() = *std::move(version);
  return grpc::Status::OK;
}

}  // namespace retort::jobs
