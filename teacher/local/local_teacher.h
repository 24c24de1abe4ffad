// A teacher that runs on this machine: a GGUF model on Retort's own engine, with exact token ids and
// log-probabilities.
//
// Calls from many threads share the engine's steps, so asking sixteen questions at once costs little more
// than one. Answers repeat bit for bit for the same request, whatever else runs.
#ifndef TEACHER_LOCAL_LOCAL_TEACHER_H_
#define TEACHER_LOCAL_LOCAL_TEACHER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "student/inference/llama.h"
#include "teacher/teacher.h"

namespace retort::teacher {

class LocalTeacher : public Teacher {
 public:
  // Loads the model at `gguf_path`; empty finds the embedded teacher (student::FindTeacherGguf). Takes about
  // a second. Errors as student::LlamaModel::Load and student::LlamaEngine::Create; FailedPrecondition when
  // the model's chat template is not one that is known here.
  static absl::StatusOr<std::unique_ptr<LocalTeacher>> Create(
      const std::string& gguf_path, const student::LlamaEngineOptions& options = {});

  // Blocks the caller; thread-safe. Errors as Teacher: InvalidArgument also for a prompt that leaves no room
  // in the context, ResourceExhausted when the engine's queue is full.
  absl::StatusOr<Completion> Complete(const CompletionRequest& request, const CallLimits& limits) override;

  // endpoint "local"; weights_sha256 of the file as loaded; up to 64 alternatives.
  const TeacherIdentity& identity() const override { return identity_; }

  // general.name of the file: what Completion::model_answered says.
  const std::string& model_name() const { return engine_->model().name(); }
  const student::Tokenizer& tokenizer() const { return engine_->model().tokenizer(); }
  student::LlamaEngine& engine() { return *engine_; }

 private:
  explicit LocalTeacher(std::unique_ptr<student::LlamaEngine> engine);

  std::unique_ptr<student::LlamaEngine> engine_;
  TeacherIdentity identity_;
};

}  // namespace retort::teacher

#endif  // TEACHER_LOCAL_LOCAL_TEACHER_H_
