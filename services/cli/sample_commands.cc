// `retort sample`: what stands about the samples of a job, and a person's answer to those in review.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "services/cli/cli.h"
#include "services/cli/exit_code.h"

namespace retort::services {
namespace {

using retort::ledger::v1::Sample;
using JobsStub = Client::Jobs::Stub;

std::string StandingName(Sample::Standing standing) {
  const std::string name = Sample::Standing_Name(standing);  // STANDING_IN_REVIEW
  return name.size() > 9 ? name.substr(9) : std::to_string(standing);
}

std::string RulesOf(const Sample& sample) {
  std::string text;
  for (const auto& rule : sample.rules()) {
    if (rule.effect() != sample.effect()) continue;
    text += (text.empty() ? "" : "; ") + rule.pack() + " " + rule.rule() + " (" + rule.clause() + ")";
  }
  for (int i = 0; i < sample.missing_inputs_size(); ++i)
    text += (i == 0 ? "; missing " : ", ") + sample.missing_inputs(i);
  return text;
}

int PrintSample(const Cli& cli, const Sample& sample) {
  if (cli.structured()) return cli.PrintItem(ToJson(sample));
  Table facts({"SAMPLE", sample.name()});
  facts.Add({"standing", StandingName(sample.standing())});
  facts.Add({"prompt",
             sample.prompt_id() + ", attempt " + std::to_string(sample.attempt()) + ", " + sample.split()});
  facts.Add({"decision", sample.effect() + " in entry " + std::to_string(sample.decision_entry()) + ": " +
                             RulesOf(sample)});
  if (sample.has_review()) {
    facts.Add({"review", sample.review().verdict() + " in entry " + std::to_string(sample.review().entry()) +
                             " by " + sample.review().reviewer() + ": " + sample.review().reason()});
  }
  if (sample.erasure_entry() >= 0)
    facts.Add({"erased", "in entry " + std::to_string(sample.erasure_entry())});
  facts.Add({"etag", sample.etag()});
  facts.Print(cli.out);
  return kExitOk;
}

// A full name, or kitchen/s57.
std::string SampleName(const Cli& cli, const std::string& id) {
  if (id.rfind("projects/", 0) == 0) return id;
  const size_t slash = id.find('/');
  if (slash == std::string::npos) return cli.FullName("jobs", id);  // the server says what it wants
  return cli.FullName("jobs", id.substr(0, slash)) + "/samples/" + id.substr(slash + 1);
}

struct SampleListArguments {
  std::string job, filter;
  int limit = 50;
};

int ListSamples(const Cli& cli, const SampleListArguments& arguments) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::jobs::v1::ListSamplesRequest request;
  request.set_parent(cli.FullName("jobs", arguments.job));
  request.set_filter(arguments.filter);
  std::vector<Sample> samples;
  do {
    request.set_page_size(std::min(arguments.limit - static_cast<int>(samples.size()), 1000));
    auto page = (*client)->Call((*client)->jobs(), &JobsStub::ListSamples, request);
    if (!page.ok()) return cli.Fail(page.status());
    samples.insert(samples.end(), page->samples().begin(), page->samples().end());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && static_cast<int>(samples.size()) < arguments.limit);
  if (cli.structured()) {
    std::vector<std::string> items;
    for (const Sample& sample : samples) items.push_back(ToJson(sample));
    return cli.PrintItems(items);
  }
  std::vector<std::string> header = {"SAMPLE", "PROMPT", "SPLIT", "STANDING", "DECISION"};
  if (cli.wide()) header.insert(header.end(), {"BECAUSE OF", "REVIEWER", "REASON"});
  Table table(std::move(header));
  for (const Sample& sample : samples) {
    std::vector<std::string> row = {sample.name().substr(sample.name().rfind('/') + 1), sample.prompt_id(),
                                    sample.split(), StandingName(sample.standing()), sample.effect()};
    if (cli.wide())
      row.insert(row.end(), {RulesOf(sample), sample.review().reviewer(), sample.review().reason()});
    table.Add(std::move(row));
  }
  table.Print(cli.out);
  return kExitOk;
}

int GetSample(const Cli& cli, const std::string& id) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::jobs::v1::GetSampleRequest request;
  request.set_name(SampleName(cli, id));
  auto sample = (*client)->Call((*client)->jobs(), &JobsStub::GetSample, request);
  if (!sample.ok()) return cli.Fail(sample.status());
  return PrintSample(cli, *sample);
}

struct ReviewArguments {
  std::string id, reason, etag;
};

template <class Request, class Method>
void AddReview(CLI::App& sample, Cli& cli, const char* name, const char* help, Method method,
               const char* footer) {
  auto arguments = std::make_shared<ReviewArguments>();
  CLI::App* command = sample.add_subcommand(name, help)->fallthrough();
  command->add_option("sample", arguments->id, "JOB/SAMPLE, for example kitchen/s57, or its full name")
      ->required();
  command->add_option("--reason", arguments->reason, "Why, for whoever audits; no text of the sample")
      ->required();
  command->add_option("--etag", arguments->etag, "Only when nobody decided since: its etag, quotes included");
  command->footer(footer);
  command->callback([&cli, arguments, method] {
    cli.action = [&cli, arguments, method] {
      auto client = cli.Connect();
      if (!client.ok()) return cli.Fail(client.status());
      Request request;
      request.set_name(SampleName(cli, arguments->id));
      request.set_reason(arguments->reason);
      request.set_etag(arguments->etag);
      request.set_request_id(NewRequestId());
      auto reviewed = (*client)->Call((*client)->jobs(), method, request);
      if (!reviewed.ok()) return cli.Fail(reviewed.status());
      return PrintSample(cli, *reviewed);
    };
  });
}

}  // namespace

void AddSampleCommands(CLI::App& app, Cli& cli) {
  CLI::App* sample =
      app.add_subcommand("sample", "Samples of a job, and reviews")->require_subcommand(1)->fallthrough();

  // Arguments are shared because CLI11 keeps copies of the callbacks.
  auto listing = std::make_shared<SampleListArguments>();
  CLI::App* list =
      sample->add_subcommand("list", "List the samples of a job, never their text")->fallthrough();
  list->add_option("job", listing->job, "Id, or projects/{project}/jobs/{job}")->required();
  list->add_option("--filter", listing->filter, "Only those that fit, for example: standing = IN_REVIEW");
  list->add_option("--limit", listing->limit, "At most this many")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  list->footer(
      "Examples:\n  retort sample list kitchen --filter 'standing = IN_REVIEW' -o wide\n"
      "  retort sample list kitchen --limit 10 -o jsonl");
  list->callback([&cli, listing] { cli.action = [&cli, listing] { return ListSamples(cli, *listing); }; });

  auto id = std::make_shared<std::string>();
  CLI::App* get = sample->add_subcommand("get", "Show what stands about one sample")->fallthrough();
  get->add_option("sample", *id, "JOB/SAMPLE, for example kitchen/s57, or its full name")->required();
  get->footer("Examples:\n  retort sample get kitchen/s57\n  retort sample get kitchen/s57 -o yaml");
  get->callback([&cli, id] { cli.action = [&cli, id] { return GetSample(cli, *id); }; });

  AddReview<retort::jobs::v1::ApproveSampleRequest>(
      *sample, cli, "approve", "Admit a sample that is in review to datasets to come",
      &JobsStub::ApproveSample,
      "Examples:\n  retort sample approve kitchen/s57 --reason 'the number is made up'\n"
      "  retort sample approve kitchen/s57 --reason 'checked' --etag '\"57\"'");
  AddReview<retort::jobs::v1::RejectSampleRequest>(
      *sample, cli, "reject", "Keep a sample that is in review out of datasets to come",
      &JobsStub::RejectSample,
      "Examples:\n  retort sample reject kitchen/s58 --reason 'names a person'\n"
      "  retort sample reject kitchen/s58 --reason 'off topic' -o json");
}

}  // namespace retort::services
