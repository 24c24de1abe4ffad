// `retort policy revise|revisions|activate`: versions of packs that a project keeps for itself.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "google/protobuf/util/time_util.h"
#include "policy/pack.h"
#include "services/cli/cli.h"
#include "services/cli/exit_code.h"

namespace retort::services {
namespace {

using retort::policy::v1::PolicyRevision;
using PolicyStub = Client::Policy::Stub;

constexpr size_t kPackBytesMax = 1 << 20;

std::string StateText(PolicyRevision::State state) {
  const std::string name = PolicyRevision::State_Name(state);  // STATE_DRAFT
  return name.size() > 6 ? name.substr(6) : std::to_string(state);
}

int PrintRevision(const Cli& cli, const PolicyRevision& revision) {
  if (cli.structured()) return cli.PrintItem(ToJson(revision));
  Table facts({"REVISION", revision.name()});
  facts.Add({"state", StateText(revision.state())});
  facts.Add({"version", revision.version()});
  facts.Add({"title", revision.title()});
  facts.Add({"sha256", revision.sha256()});
  facts.Add({"author", revision.author()});
  if (!revision.activator().empty()) facts.Add({"activated by", revision.activator()});
  if (revision.entry() >= 0) facts.Add({"entry", std::to_string(revision.entry())});
  facts.Add({"etag", revision.etag()});
  facts.Print(cli.out);
  return kExitOk;
}

int Revise(const Cli& cli, const std::string& file, bool dry_run) {
  auto yaml = ReadSmallFile(file, kPackBytesMax);
  if (!yaml.ok()) return cli.Fail(yaml.status());
  auto pack = policy::LoadedPack::Parse(
      file, *yaml);  // the server checks again; here the message has the file's name
  if (!pack.ok()) return cli.Fail(pack.status());
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::policy::v1::CreatePolicyRevisionRequest request;
  request.set_parent(cli.FullName("policies", pack->pack().id()));
  request.mutable_policy_revision()->set_yaml(*yaml);
  request.set_validate_only(dry_run);
  request.set_request_id(NewRequestId());
  auto revision = (*client)->Call((*client)->policy(), &PolicyStub::CreatePolicyRevision, request);
  if (!revision.ok()) return cli.Fail(revision.status());
  if (dry_run) cli.err << "valid; nothing was kept" << std::endl;
  return PrintRevision(cli, *revision);
}

int ListRevisions(const Cli& cli, const std::string& policy) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::policy::v1::ListPolicyRevisionsRequest request;
  request.set_parent(cli.FullName("policies", policy));
  std::vector<PolicyRevision> revisions;
  do {
    auto page = (*client)->Call((*client)->policy(), &PolicyStub::ListPolicyRevisions, request);
    if (!page.ok()) return cli.Fail(page.status());
    revisions.insert(revisions.end(), page->policy_revisions().begin(), page->policy_revisions().end());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  if (cli.structured()) {
    std::vector<std::string> items;
    for (const PolicyRevision& revision : revisions) items.push_back(ToJson(revision));
    return cli.PrintItems(items);
  }
  Table table({"REVISION", "STATE", "VERSION", "AUTHOR", "CREATED", "ENTRY"}, {5});
  for (const PolicyRevision& revision : revisions) {
    table.Add({revision.name().substr(revision.name().rfind('/') + 1), StateText(revision.state()),
               revision.version(), revision.author(),
               google::protobuf::util::TimeUtil::ToString(revision.create_time()),
               revision.entry() < 0 ? "-" : std::to_string(revision.entry())});
  }
  table.Print(cli.out);
  return kExitOk;
}

struct ActivateArguments {
  std::string name, etag;
  bool dry_run = false;
};

int Activate(const Cli& cli, const ActivateArguments& arguments) {
  retort::policy::v1::ActivatePolicyRevisionRequest request;
  const size_t slash = arguments.name.find('/');
  request.set_name(arguments.name.rfind("projects/", 0) == 0 || slash == std::string::npos
                       ? arguments.name
                       : cli.FullName("policies", arguments.name.substr(0, slash)) + "/revisions/" +
                             arguments.name.substr(slash + 1));
  request.set_etag(arguments.etag);
  request.set_validate_only(arguments.dry_run);
  request.set_request_id(NewRequestId());
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  auto revision = (*client)->Call((*client)->policy(), &PolicyStub::ActivatePolicyRevision, request);
  if (!revision.ok()) return cli.Fail(revision.status());
  if (arguments.dry_run) cli.err << "it could be activated; nothing was changed" << std::endl;
  return PrintRevision(cli, *revision);
}

}  // namespace

void AddPolicyRevisionCommands(CLI::App& policy, Cli& cli) {
  // Arguments are shared because CLI11 keeps copies of the callbacks.
  auto file = std::make_shared<std::string>();
  auto dry_run = std::make_shared<bool>(false);
  CLI::App* revise =
      policy
          .add_subcommand("revise", "Keep a new version of a pack in this project; it decides once activated")
          ->fallthrough();
  revise->add_option("-f,--file", *file, "The pack as YAML (docs/formats/policy.md)")->required();
  revise->add_flag("--dry-run,--validate-only", *dry_run, "Only check");
  revise->footer(
      "Examples:\n  retort policy revise --file policy/packs/retort.baseline.yaml --dry-run\n"
      "  retort policy revise --file our-company.yaml -o name");
  revise->callback(
      [&cli, file, dry_run] { cli.action = [&cli, file, dry_run] { return Revise(cli, *file, *dry_run); }; });

  auto id = std::make_shared<std::string>();
  CLI::App* revisions =
      policy.add_subcommand("revisions", "List the versions of a pack that this project keeps")
          ->fallthrough();
  revisions->add_option("policy", *id, "Id of the pack, or its full name")->required();
  revisions->footer(
      "Examples:\n  retort policy revisions retort.baseline\n  retort policy revisions retort.baseline -o "
      "json");
  revisions->callback([&cli, id] { cli.action = [&cli, id] { return ListRevisions(cli, *id); }; });

  auto arguments = std::make_shared<ActivateArguments>();
  CLI::App* activate =
      policy.add_subcommand("activate", "Let a revision decide from now on; never by the one who wrote it")
          ->fallthrough();
  activate->add_option("revision", arguments->name, "POLICY/REVISION, or its full name")->required();
  activate->add_option("--etag", arguments->etag,
                       "Only when it has not changed since: its etag, quotes included");
  activate->add_flag("--dry-run,--validate-only", arguments->dry_run, "Only check");
  activate->footer(
      "Examples:\n  retort policy activate retort.baseline/r0123456789abcdef --dry-run\n"
      "  retort policy activate retort.baseline/r0123456789abcdef");
  activate->callback(
      [&cli, arguments] { cli.action = [&cli, arguments] { return Activate(cli, *arguments); }; });
}

}  // namespace retort::services
