#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "google/protobuf/util/time_util.h"
#include "services/cli/cli.h"
#include "services/cli/exit_code.h"
#include "services/cli/interrupt.h"
#include "services/cli/job_file.h"
#include "services/cli/job_plan_text.h"
#include "services/cli/progress.h"

namespace retort::services {
namespace {

using retort::jobs::v1::Job;
using JobsStub = Client::Jobs::Stub;

void PrintJob(const Cli& cli, const Job& job) {
  if (cli.structured()) {
    cli.PrintItem(ToJson(job));
    return;
  }
  const auto& p = job.progress();
  Table facts({"JOB", job.name()});
  facts.Add({"state", StateName(job.state())});
  if (!job.state_reason().empty()) facts.Add({"reason", job.state_reason()});
  if (!job.state_message().empty()) facts.Add({"message", job.state_message()});
  if (job.queue_position() > 0) facts.Add({"place in queue", std::to_string(job.queue_position())});
  if (!job.blocking_resource().empty()) facts.Add({"waits for", job.blocking_resource()});
  if (!job.display_name().empty()) facts.Add({"display name", job.display_name()});
  for (const auto& [key, value] : job.labels()) facts.Add({"label", key + "=" + value});
  if (!job.submitter().empty()) facts.Add({"submitter", job.submitter()});
  facts.Add({"created", google::protobuf::util::TimeUtil::ToString(job.create_time())});
  facts.Add({"teacher", job.spec().teacher()});
  facts.Add({"samples", std::to_string(p.samples_done()) + " of " + std::to_string(p.samples_total()) + ": " +
                            std::to_string(p.samples_allowed()) + " allowed, " +
                            std::to_string(p.samples_review()) + " in review, " +
                            std::to_string(p.samples_denied()) + " denied, " +
                            std::to_string(p.samples_failed()) + " failed"});
  if (p.samples_refused_before_sending() > 0) {
    facts.Add({"never sent", std::to_string(p.samples_refused_before_sending())});
  }
  if (p.steps_total() > 0) {
    facts.Add({"steps", std::to_string(p.steps_done()) + " of " + std::to_string(p.steps_total())});
  }
  if (p.student_parameters() > 0) {
    facts.Add({"parameters", std::to_string(p.student_parameters()) + ", " +
                                 std::to_string(p.student_active_parameters()) + " per token"});
  }
  if (!job.student().empty()) facts.Add({"student", job.student()});
  facts.Print(cli.out);
  if (job.quality().empty()) return;
  cli.out << "\n";
  Table quality({"STUDENT", "KL", "AGREEMENT", "PERPLEXITY", "TOKENS"}, {1, 2, 3, 4});
  for (const auto& q : job.quality()) {
    quality.Add({q.student(), Decimal(q.kl(), 3), Decimal(q.agreement(), 3), Decimal(q.perplexity(), 1),
                 std::to_string(q.tokens())});
  }
  quality.Print(cli.out);
}

// Follows a job with progress on `err`, prints it at the end, and exits with its outcome.
int WatchJob(const Cli& cli, Client& client, Interrupt& interrupt, const std::string& name) {
  ProgressPrinter progress(cli.err, IsTerminal(STDERR_FILENO), TerminalWidth(STDERR_FILENO));
  auto job = WatchJob(client, name, &interrupt, [&](const Job& now, const std::string& event) {
    if (!event.empty()) progress.Note(Printable(event));
    progress.Update(now, std::chrono::steady_clock::now());
  });
  progress.Finish();
  if (!job.ok() && interrupt.requested()) {
    cli.err << "Detached; the job goes on. Come back with:\n  retort " << cli.come_back << "job watch "
            << name << std::endl;
    return kExitInterrupted;
  }
  if (!job.ok()) return cli.Fail(job.status());
  PrintJob(cli, *job);
  return ExitCodeOf(*job);
}

struct CreateArguments {
  std::string file, id, student;
  bool watch = false, dry_run = false;
};

int CreateJob(const Cli& cli, const CreateArguments& arguments) {
  auto spec = LoadJobFile(arguments.file);
  if (!spec.ok()) return cli.Fail(spec.status());
  if (!arguments.student.empty()) {
    if (auto renamed = RenameStudent(arguments.student, &*spec); !renamed.ok()) return cli.Fail(renamed);
  }
  std::optional<Interrupt> interrupt;
  if (arguments.watch) interrupt.emplace();  // before the channel starts its threads
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());

  retort::jobs::v1::CreateJobRequest request;
  request.set_parent(cli.parent());
  *request.mutable_spec() = *std::move(spec);
  request.set_job_id(arguments.id);
  request.set_request_id(NewRequestId());
  request.set_validate_only(arguments.dry_run);
  auto job = (*client)->Call((*client)->jobs(), &JobsStub::CreateJob, request);
  if (!job.ok()) return cli.Fail(job.status());
  if (arguments.dry_run) {
    PrintPlan(cli, *job);
    cli.err << "valid; nothing was created or sent" << std::endl;
    return kExitOk;
  }
  if (!arguments.watch) {
    PrintJob(cli, *job);
    cli.err << "Follow it with: retort " << cli.come_back << "job watch " << job->name() << std::endl;
    return kExitOk;
  }
  cli.err << "created " << job->name() << std::endl;
  return WatchJob(cli, **client, *interrupt, job->name());
}

int GetJob(const Cli& cli, const std::string& id) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::jobs::v1::GetJobRequest request;
  request.set_name(cli.FullName("jobs", id));
  auto job = (*client)->Call((*client)->jobs(), &JobsStub::GetJob, request);
  if (!job.ok()) return cli.Fail(job.status());
  PrintJob(cli, *job);
  return kExitOk;
}

struct ListArguments {
  int limit = 50;
  std::string filter, order_by;
};

int ListJobs(const Cli& cli, const ListArguments& arguments) {
  const int limit = arguments.limit;
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::jobs::v1::ListJobsRequest request;
  request.set_parent(cli.parent());
  request.set_filter(arguments.filter);
  request.set_order_by(arguments.order_by);
  std::vector<Job> jobs;
  do {
    request.set_page_size(std::min(limit - static_cast<int>(jobs.size()), 1000));
    auto page = (*client)->Call((*client)->jobs(), &JobsStub::ListJobs, request);
    if (!page.ok()) return cli.Fail(page.status());
    for (const Job& job : page->jobs()) jobs.push_back(job);
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && static_cast<int>(jobs.size()) < limit);

  if (cli.structured()) {
    std::vector<std::string> items;
    for (const Job& job : jobs) items.push_back(ToJson(job));
    return cli.PrintItems(items);
  }
  if (cli.wide()) {
    Table table({"NAME", "STATE", "REASON", "SAMPLES", "STEPS", "TEACHER", "STUDENT", "SUBMITTER",
                 "WAITS FOR", "CREATED", "CHANGED"},
                {3, 4});
    for (const Job& job : jobs) {
      const auto& p = job.progress();
      table.Add({job.name(), StateName(job.state()), job.state_reason(),
                 std::to_string(p.samples_done()) + "/" + std::to_string(p.samples_total()),
                 std::to_string(p.steps_done()) + "/" + std::to_string(p.steps_total()), job.spec().teacher(),
                 job.student(), job.submitter(), job.blocking_resource(),
                 google::protobuf::util::TimeUtil::ToString(job.create_time()),
                 google::protobuf::util::TimeUtil::ToString(job.update_time())});
    }
    table.Print(cli.out);
    return kExitOk;
  }
  Table table({"NAME", "STATE", "REASON", "SAMPLES", "CREATED"}, {3});
  for (const Job& job : jobs) {
    table.Add(
        {job.name(), StateName(job.state()), job.state_reason(),
         std::to_string(job.progress().samples_done()) + "/" + std::to_string(job.progress().samples_total()),
         google::protobuf::util::TimeUtil::ToString(job.create_time())});
  }
  table.Print(cli.out);
  return kExitOk;
}

int CancelJob(const Cli& cli, const std::string& id) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::jobs::v1::CancelJobRequest request;
  request.set_name(cli.FullName("jobs", id));
  request.set_request_id(NewRequestId());
  auto job = (*client)->Call((*client)->jobs(), &JobsStub::CancelJob, request);
  if (!job.ok()) return cli.Fail(job.status());
  PrintJob(cli, *job);
  return kExitOk;
}

int ResumeJob(const Cli& cli, const std::string& id, bool watch) {
  std::optional<Interrupt> interrupt;
  if (watch) interrupt.emplace();
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::jobs::v1::ResumeJobRequest request;
  request.set_name(cli.FullName("jobs", id));
  request.set_request_id(NewRequestId());
  auto job = (*client)->Call((*client)->jobs(), &JobsStub::ResumeJob, request);
  if (!job.ok()) return cli.Fail(job.status());
  if (watch) return WatchJob(cli, **client, *interrupt, job->name());
  PrintJob(cli, *job);
  return kExitOk;
}

struct DeleteArguments {
  std::string id;
  bool allow_missing = false, yes = false;
};

int DeleteJob(const Cli& cli, const DeleteArguments& arguments) {
  if (!arguments.yes) {
    if (!IsTerminal(STDIN_FILENO))
      return cli.Fail(
          absl::InvalidArgumentError("deleting asks first, and there is no terminal to ask: add --yes"));
    cli.err << "Forget " << arguments.id << ", its prompts and its log? [y/N] " << std::flush;
    std::string answer;
    std::getline(std::cin, answer);
    if (answer != "y" && answer != "Y") return cli.Fail(absl::CancelledError("nothing was deleted"));
  }
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::jobs::v1::DeleteJobRequest request;
  request.set_name(cli.FullName("jobs", arguments.id));
  request.set_allow_missing(arguments.allow_missing);
  request.set_request_id(NewRequestId());
  auto deleted = (*client)->Call((*client)->jobs(), &JobsStub::DeleteJob, request);
  if (!deleted.ok()) return cli.Fail(deleted.status());
  cli.err << "deleted " << request.name() << std::endl;
  return kExitOk;
}

struct UpdateArguments {
  std::string id;
  std::optional<std::string> display_name;
  std::vector<std::string> labels;
};

int UpdateJob(const Cli& cli, const UpdateArguments& arguments) {
  retort::jobs::v1::UpdateJobRequest request;
  request.mutable_job()->set_name(cli.FullName("jobs", arguments.id));
  if (arguments.display_name.has_value()) {
    request.mutable_job()->set_display_name(*arguments.display_name);
    request.mutable_update_mask()->add_paths("display_name");
  }
  for (const std::string& label : arguments.labels) {
    const size_t sign = label.find('=');
    if (sign == std::string::npos)
      return cli.Fail(absl::InvalidArgumentError("--label: saw '" + label + "', wanted key=value"));
    (*request.mutable_job()->mutable_labels())[label.substr(0, sign)] = label.substr(sign + 1);
  }
  if (!arguments.labels.empty()) request.mutable_update_mask()->add_paths("labels");
  if (request.update_mask().paths().empty())
    return cli.Fail(absl::InvalidArgumentError("nothing to change: add --display-name or --label"));
  request.set_request_id(NewRequestId());
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  auto job = (*client)->Call((*client)->jobs(), &JobsStub::UpdateJob, request);
  if (!job.ok()) return cli.Fail(job.status());
  PrintJob(cli, *job);
  return kExitOk;
}

// A verb that takes a job by name, with an etag and a request id, and answers the job.
template <class Request, class Method>
void AddVerb(CLI::App& job, Cli& cli, const char* name, const char* help, Method method, const char* footer) {
  auto id = std::make_shared<std::string>();
  auto etag = std::make_shared<std::string>();
  CLI::App* command = job.add_subcommand(name, help)->fallthrough();
  command->add_option("job", *id, "Id, or projects/{project}/jobs/{job}")->required();
  command->add_option("--etag", *etag, "Only when the job has not changed since: its etag, quotes included");
  command->footer(footer);
  command->callback([&cli, id, etag, method] {
    cli.action = [&cli, id, etag, method] {
      auto client = cli.Connect();
      if (!client.ok()) return cli.Fail(client.status());
      Request request;
      request.set_name(cli.FullName("jobs", *id));
      request.set_etag(*etag);
      request.set_request_id(NewRequestId());
      auto answer = (*client)->Call((*client)->jobs(), method, request);
      if (!answer.ok()) return cli.Fail(answer.status());
      PrintJob(cli, *answer);
      return static_cast<int>(kExitOk);
    };
  });
}

int WatchCommand(const Cli& cli, const std::string& id) {
  Interrupt interrupt;
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  return WatchJob(cli, **client, interrupt, cli.FullName("jobs", id));
}

}  // namespace

void AddJobCommands(CLI::App& app, Cli& cli) {
  CLI::App* job = app.add_subcommand("job", "Distillation jobs")->require_subcommand(1)->fallthrough();

  auto create_arguments = std::make_shared<CreateArguments>();  // shared: CLI11 keeps copies of the callbacks
  CLI::App* create = job->add_subcommand("create", "Hand in a job")->fallthrough();
  create->add_option("-f,--file", create_arguments->file, "Job as YAML (retort.jobs.v1.JobSpec)")->required();
  create->add_option("--id", create_arguments->id, "Id of the job; the server picks one when left out");
  create->add_option("--student", create_arguments->student,
                     "Name of the student instead of the file's; each job needs one of its own");
  create->add_flag("-w,--watch", create_arguments->watch, "Follow it and exit with its outcome");
  create->add_flag("--dry-run,--validate-only", create_arguments->dry_run,
                   "Only check, and say what it would use: policy included, nothing is created or sent");
  create->footer(
      "Examples:\n  retort job create --file deploy/examples/cooking.yaml --watch\n"
      "  retort job create --file deploy/examples/cooking.yaml --student kitchen-2\n"
      "  retort job create --file deploy/examples/refused-openai.yaml --dry-run");
  create->callback([&cli, create_arguments] {
    cli.action = [&cli, create_arguments] { return CreateJob(cli, *create_arguments); };
  });

  const auto with_id = [&cli, job](const char* name, const char* help, const char* example,
                                   int (*run)(const Cli&, const std::string&)) {
    auto id = std::make_shared<std::string>();
    CLI::App* command = job->add_subcommand(name, help)->fallthrough();
    command->add_option("job", *id, "Id, or projects/{project}/jobs/{job}")->required();
    command->footer(example);
    command->callback([&cli, id, run] { cli.action = [&cli, id, run] { return run(cli, *id); }; });
  };
  with_id("get", "Show one job", "Examples:\n  retort job get kitchen\n  retort job get kitchen -o json",
          GetJob);
  with_id("watch", "Follow a job; Ctrl-C detaches",
          "Examples:\n  retort job watch kitchen\n  retort job watch projects/default/jobs/kitchen "
          "2>progress.log",
          WatchCommand);
  with_id("cancel", "Stop a job; what was paid for stays in the ledger",
          "Examples:\n  retort job cancel kitchen\n  retort job cancel kitchen -o json", CancelJob);

  auto resume_id = std::make_shared<std::string>();
  auto resume_watch = std::make_shared<bool>(false);
  CLI::App* resume = job->add_subcommand("resume", "Let a job go on that failed for a reason that has passed")
                         ->fallthrough();
  resume->add_option("job", *resume_id, "Id, or projects/{project}/jobs/{job}")->required();
  resume->add_flag("-w,--watch", *resume_watch, "Follow it and exit with its outcome");
  resume->footer("Examples:\n  retort job resume kitchen\n  retort job resume kitchen --watch");
  resume->callback([&cli, resume_id, resume_watch] {
    cli.action = [&cli, resume_id, resume_watch] { return ResumeJob(cli, *resume_id, *resume_watch); };
  });

  AddVerb<retort::jobs::v1::PauseJobRequest>(
      *job, cli, "pause", "Let a job rest; what is in flight is finished", &JobsStub::PauseJob,
      "Examples:\n  retort job pause kitchen\n  retort job pause kitchen --etag '\"17\"'");
  AddVerb<retort::jobs::v1::RetryJobRequest>(
      *job, cli, "retry", "Try a job again that was cancelled, or failed for a reason that has passed",
      &JobsStub::RetryJob,
      "Examples:\n  retort job retry kitchen\n  retort job retry projects/default/jobs/kitchen -o json");
  AddJobLogCommand(*job, cli);

  auto deleted = std::make_shared<DeleteArguments>();
  CLI::App* remove =
      job->add_subcommand("delete", "Forget a job that has ended; ledger entries stay")->fallthrough();
  remove->add_option("job", deleted->id, "Id, or projects/{project}/jobs/{job}")->required();
  remove->add_flag("--allow-missing", deleted->allow_missing, "A job that is not there is no error");
  remove->add_flag("-y,--yes", deleted->yes, "Do not ask");
  remove->footer(
      "Examples:\n  retort job delete kitchen --yes\n  retort job delete kitchen --allow-missing --yes");
  remove->callback([&cli, deleted] { cli.action = [&cli, deleted] { return DeleteJob(cli, *deleted); }; });

  auto update_arguments = std::make_shared<UpdateArguments>();
  CLI::App* update =
      job->add_subcommand("update", "Change the display name or the labels of a job")->fallthrough();
  update->add_option("job", update_arguments->id, "Id, or projects/{project}/jobs/{job}")->required();
  update->add_option("--display-name", update_arguments->display_name, "One line for people");
  update->add_option("--label", update_arguments->labels,
                     "key=value, again and again; in place of all labels");
  update->footer(
      "Examples:\n  retort job update kitchen --display-name 'Second try'\n"
      "  retort job update kitchen --label team=cooks --label stage=draft");
  update->callback([&cli, update_arguments] {
    cli.action = [&cli, update_arguments] { return UpdateJob(cli, *update_arguments); };
  });

  auto listing = std::make_shared<ListArguments>();
  CLI::App* list = job->add_subcommand("list", "List jobs, newest first")->fallthrough();
  list->add_option("--filter", listing->filter,
                   "Only those that fit, for example: state = FAILED AND labels.team = cooks");
  list->add_option("--order-by", listing->order_by,
                   "create_time desc (default), create_time, name or name desc");
  list->add_option("--limit", listing->limit, "At most this many")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  list->footer(
      "Examples:\n  retort job list --filter 'state = FAILED' -o wide\n  retort job list --limit 5 -o json");
  list->callback([&cli, listing] { cli.action = [&cli, listing] { return ListJobs(cli, *listing); }; });
}

}  // namespace retort::services
