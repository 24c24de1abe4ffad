// `retort job logs`: what a job's log holds, and what is added to it.
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "google/protobuf/util/time_util.h"
#include "services/cli/cli.h"
#include "services/cli/exit_code.h"
#include "services/cli/interrupt.h"

namespace retort::services {
namespace {

using retort::jobs::v1::JobLogLine;
using JobsStub = Client::Jobs::Stub;

constexpr auto kWatchDeadline = std::chrono::hours(24);

struct LogArguments {
  std::string id;
  bool follow = false;
  int tail = 0;  // 0: everything
};

std::string SeverityName(JobLogLine::Severity severity) {
  const std::string name = JobLogLine::Severity_Name(severity);  // SEVERITY_INFO
  return name.size() > 9 ? name.substr(9) : std::to_string(severity);
}

// A line for people, or a JSON object.
int PrintLine(const Cli& cli, const JobLogLine& line) {
  if (cli.structured()) return cli.PrintItem(ToJson(line));
  cli.out << google::protobuf::util::TimeUtil::ToString(line.write_time()) << "  "
          << SeverityName(line.severity()) << "  " << line.component() << "  " << Printable(line.text())
          << "\n"
          << std::flush;
  return kExitOk;
}

int ShowLog(const Cli& cli, Client& client, const std::string& name, int tail) {
  retort::jobs::v1::GetJobLogRequest request;
  request.set_name(name);
  request.set_page_size(1000);
  std::vector<JobLogLine> lines;
  do {
    auto page = client.Call(client.jobs(), &JobsStub::GetJobLog, request);
    if (!page.ok()) return cli.Fail(page.status());
    lines.insert(lines.end(), page->lines().begin(), page->lines().end());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  const size_t first =
      tail > 0 && lines.size() > static_cast<size_t>(tail) ? lines.size() - static_cast<size_t>(tail) : 0;
  lines.erase(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(first));
  if (cli.structured()) {
    std::vector<std::string> items;
    for (const JobLogLine& line : lines) items.push_back(ToJson(line));
    return cli.PrintItems(items);
  }
  for (const JobLogLine& line : lines) PrintLine(cli, line);
  return kExitOk;
}

int FollowLog(const Cli& cli, Client& client, Interrupt& interrupt, const std::string& name) {
  grpc::ClientContext context;
  SetDeadline(context, kWatchDeadline);
  interrupt.SetCallback([&context] { context.TryCancel(); });
  retort::jobs::v1::WatchJobLogRequest request;
  request.set_name(name);
  auto reader = client.jobs().WatchJobLog(&context, request);
  retort::jobs::v1::WatchJobLogResponse message;
  while (reader->Read(&message)) {
    for (const JobLogLine& line : message.lines()) {
      if (const int code = PrintLine(cli, line); code != kExitOk) context.TryCancel();
    }
  }
  const grpc::Status ended = reader->Finish();
  interrupt.SetCallback(nullptr);
  if (interrupt.requested()) {
    cli.err << "Detached; the job goes on." << std::endl;
    return kExitInterrupted;
  }
  return ended.ok() ? static_cast<int>(kExitOk) : cli.Fail(FromGrpcStatus(ended));
}

int Logs(const Cli& cli, const LogArguments& arguments) {
  std::optional<Interrupt> interrupt;
  if (arguments.follow) interrupt.emplace();  // before the channel starts its threads
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  const std::string name = cli.FullName("jobs", arguments.id);
  return arguments.follow ? FollowLog(cli, **client, *interrupt, name)
                          : ShowLog(cli, **client, name, arguments.tail);
}

}  // namespace

void AddJobLogCommand(CLI::App& job, Cli& cli) {
  auto arguments = std::make_shared<LogArguments>();  // shared: CLI11 keeps copies of the callbacks
  CLI::App* logs =
      job.add_subcommand("logs", "Show what happened to a job, the trainer's words included")->fallthrough();
  logs->add_option("job", arguments->id, "Id, or projects/{project}/jobs/{job}")->required();
  auto* tail =
      logs->add_option("--tail", arguments->tail, "Only the newest lines")->check(CLI::Range(1, 10000));
  logs->add_flag("-F,--follow", arguments->follow, "Go on until the job ends; Ctrl-C detaches")
      ->excludes(tail);
  logs->footer("Examples:\n  retort job logs kitchen --tail 20\n  retort job logs kitchen --follow");
  logs->callback([&cli, arguments] { cli.action = [&cli, arguments] { return Logs(cli, *arguments); }; });
}

}  // namespace retort::services
