#include "services/jobs/model_card.h"

#include <charconv>
#include <sstream>

namespace retort::jobs {
namespace {

const char* Remote(const teacher::v1::Teacher& teacher) {
  return teacher.weights_sha256().empty() ? "a remote endpoint" : "weights run by the operator";
}

void Front(std::ostringstream& out, const v1::JobRecord& record) {
  out << "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- distillation\n- "
         "mixture-of-experts\n"
      << "- retort\nmodel_name: " << record.job().spec().student().name() << "\n---\n\n";
}

void Quality(std::ostringstream& out, const v1::JobRecord& record) {
  if (record.job().quality().empty()) return;
  out << "## Quality on held-out prompts\n\n"
      << "Measured on the teacher's own answers to prompts that no run was trained on.\n\n"
      << "| student | KL to the teacher, nats per token | top-1 agreement | perplexity | tokens |\n"
      << "| --- | --- | --- | --- | --- |\n";
  for (const v1::Quality& row : record.job().quality()) {
    out << "| " << row.student() << " | " << Decimal(row.kl()) << " | " << Decimal(row.agreement()) << " | "
        << Decimal(row.perplexity()) << " | " << row.tokens() << " |\n";
  }
  out << "\n";
}

}  // namespace

std::string Decimal(double value) {
  char buffer[400];  // the longest fp64 in fixed form has 327 characters
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  return std::string(buffer, end.ptr);
}

std::string ModelCard(const v1::JobRecord& record, const v1::FinishedRun& run, const std::string& log_origin,
                      const std::string& duties) {
  const v1::Job& job = record.job();
  const v1::JobSpec& spec = job.spec();
  const teacher::v1::Teacher& teacher = record.teacher();
  std::ostringstream out;
  Front(out, record);
  out << "# " << spec.student().name() << "\n\n"
      << "A Mixture-of-Experts student (DeepSeek-V3 architecture, shape `" << spec.student().shape() << "`, "
      << job.progress().student_parameters() << " parameters, " << job.progress().student_active_parameters()
      << " of them used per token), trained from scratch on answers of `" << teacher.model() << "`.\n\n"
      << "## Teacher\n\n"
      << "- Model: `" << teacher.model() << "` of " << teacher.provider() << ", reached through "
      << Remote(teacher) << "\n";
  if (!teacher.weights_sha256().empty())
    out << "- SHA-256 of its weights: `" << teacher.weights_sha256() << "`\n";
  out << "- Terms: decided by the policy packs in the log, rule by rule, for the job and for every sample\n\n"
      << "## Data\n\n"
      << "- Samples trained on: " << record.dataset().train_samples() << "\n"
      << "- Samples held out for evaluation: " << record.dataset().held_out_samples() << "\n"
      << "- Samples excluded (denied, in review, or answered twice): " << record.dataset().excluded_samples()
      << "\n"
      << "- Licence of the prompts: "
      << (spec.prompt_licence().empty() ? "not stated" : spec.prompt_licence()) << "\n\n";
  Quality(out, record);
  out << "## Provenance\n\n"
      << "Log `" << log_origin << "`, job `" << job.name() << "`, uid `" << job.uid() << "`.\n\n"
      << "| milestone | entry |\n| --- | --- |\n"
      << "| policy's decision about the job | " << job.entries().preflight() << " |\n"
      << "| dataset | " << job.entries().dataset() << " |\n"
      << "| end of the training run `" << run.run() << "`, " << run.step() << " steps | " << run.entry()
      << " |\n\n"
      << "Checkpoint digest of these weights: `" << run.checkpoint_digest()
      << "`. The release entry that follows names "
      << "every file of this folder with its SHA-256; `retort audit verify` checks all of it offline.\n";
  if (!duties.empty()) out << "\n## Notices\n\n" << duties << (duties.back() == '\n' ? "" : "\n");
  return out.str();
}

std::string NoticeFile(const v1::JobRecord& record, const std::string& notices) {
  std::string text = record.job().spec().student().name() + "\nA student model made from answers of " +
                     record.teacher().model() + " (" + record.teacher().provider() + ").\n";
  if (!notices.empty()) text += "\n" + notices + (notices.back() == '\n' ? "" : "\n");
  return text;
}

}  // namespace retort::jobs
