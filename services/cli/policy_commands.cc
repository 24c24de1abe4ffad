#include <CLI/CLI.hpp>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "policy/evaluate.h"
#include "policy/facts.h"
#include "policy/pack.h"
#include "proto/strict_yaml.h"
#include "services/cli/cli.h"
#include "services/cli/exit_code.h"
#include "services/cli/job_file.h"
#include "services/cli/job_plan_text.h"

namespace retort::services {
namespace {

using PolicyStub = Client::Policy::Stub;

int ListPacks(const Cli& cli) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::policy::v1::ListPoliciesRequest request;
  request.set_parent(cli.parent());
  std::vector<retort::policy::v1::Policy> policies;
  do {
    auto page = (*client)->Call((*client)->policy(), &PolicyStub::ListPolicies, request);
    if (!page.ok()) return cli.Fail(page.status());
    for (const auto& policy : page->policies()) policies.push_back(policy);
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  if (cli.structured()) {
    std::vector<std::string> items;
    for (const auto& policy : policies) items.push_back(ToJson(policy));
    return cli.PrintItems(items);
  }
  Table table({"POLICY", "VERSION", "DOCUMENT", "CONFIDENCE", "TITLE"});
  for (const auto& p : policies) {
    table.Add({p.name().substr(p.name().rfind('/') + 1), p.version(), p.document_date(), p.confidence(),
               p.title()});
  }
  table.Print(cli.out);
  return kExitOk;
}

int GetPack(const Cli& cli, const std::string& id) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::policy::v1::GetPolicyRequest request;
  request.set_name(cli.FullName("policies", id));
  auto policy = (*client)->Call((*client)->policy(), &PolicyStub::GetPolicy, request);
  if (!policy.ok()) return cli.Fail(policy.status());
  if (cli.structured()) return cli.PrintItem(ToJson(*policy));
  cli.out << Printable(policy->yaml());
  return kExitOk;
}

int PrintDecision(const Cli& cli, const policy::Decision& decision) {
  if (cli.structured()) {
    nlohmann::ordered_json json;
    json["effect"] = policy::EffectName(decision.effect);
    json["rules"] = nlohmann::ordered_json::array();
    for (const auto& r : decision.rules) {
      json["rules"].push_back({{"pack", r.pack},
                               {"rule", r.rule},
                               {"effect", policy::EffectName(r.effect)},
                               {"clause", r.clause}});
    }
    json["obligations"] = nlohmann::ordered_json::array();
    for (const auto& o : decision.obligations) {
      json["obligations"].push_back(
          {{"pack", o.pack}, {"rule", o.rule}, {"kind", o.kind}, {"trigger", o.trigger}, {"text", o.text}});
    }
    json["missing_inputs"] = decision.missing_inputs;
    if (const int code = cli.PrintItem(json.dump(2)); code != kExitOk) return code;
  } else {
    cli.out << policy::EffectName(decision.effect) << "\n";
    for (const auto& r : decision.rules) {
      cli.out << "  " << policy::EffectName(r.effect) << " by " << r.pack << " rule " << r.rule << ": "
              << Printable(r.clause) << "\n";
    }
    for (const auto& o : decision.obligations) {
      cli.out << "  duty " << o.kind << " " << o.trigger << ": " << Printable(o.text) << "\n";
    }
    for (const auto& path : decision.missing_inputs) cli.out << "  missing " << path << "\n";
  }
  return decision.effect == policy::Effect::kAllow ? kExitOk : kExitRefused;
}

int CheckFacts(const Cli& cli, const std::string& facts_file, const std::string& packs_folder) {
  auto packs = policy::PackSet::LoadFolder(packs_folder);
  if (!packs.ok()) return cli.Fail(packs.status());
  retort::policy::v1::Facts facts;
  if (auto s = LoadYamlFile(facts_file, &facts); !s.ok()) return cli.Fail(s);
  const std::time_t now = std::time(nullptr);
  if (!facts.has_generated_time()) {
    facts.mutable_generated_time()->set_seconds(now);
    cli.err << "generated_time is not in the file: taken as now" << std::endl;
  }
  if (!facts.has_decided_time()) {
    facts.mutable_decided_time()->set_seconds(now);
    cli.err << "decided_time is not in the file: taken as now" << std::endl;
  }
  if (auto s = policy::ValidateFacts(facts); !s.ok()) return cli.Fail(s);
  return PrintDecision(cli, policy::Evaluate(*packs, facts));
}

int CheckJob(const Cli& cli, const std::string& job_file) {
  auto spec = LoadJobFile(job_file);
  if (!spec.ok()) return cli.Fail(spec.status());
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::jobs::v1::CreateJobRequest request;
  request.set_parent(cli.parent());
  *request.mutable_spec() = *std::move(spec);
  request.set_validate_only(true);
  auto job = (*client)->Call((*client)->jobs(), &Client::Jobs::Stub::CreateJob, request);
  if (!job.ok()) return cli.Fail(job.status());
  PrintPlan(cli, *job);
  return kExitOk;
}

struct CheckArguments {
  std::string facts, packs, job;
};

int CheckFacts(const Cli& cli, const CheckArguments& arguments) {
  if (arguments.facts.empty() == arguments.job.empty()) {
    return cli.Fail(
        absl::InvalidArgumentError("wanted exactly one of --facts FILE --packs FOLDER, or --job FILE"));
  }
  if (!arguments.job.empty()) return CheckJob(cli, arguments.job);
  if (arguments.packs.empty()) {
    return cli.Fail(
        absl::InvalidArgumentError("--facts is decided without a server: add --packs FOLDER (policy/packs)"));
  }
  return CheckFacts(cli, arguments.facts, arguments.packs);
}

}  // namespace

void AddPolicyCommands(CLI::App& app, Cli& cli) {
  CLI::App* policy =
      app.add_subcommand("policy", "Terms and decisions")->require_subcommand(1)->fallthrough();

  CLI::App* list = policy->add_subcommand("list", "List the active packs")->fallthrough();
  list->footer("Examples:\n  retort policy list\n  retort policy list -o json");
  list->callback([&cli] { cli.action = [&cli] { return ListPacks(cli); }; });

  AddPolicyRevisionCommands(*policy, cli);

  // Arguments are shared because CLI11 keeps copies of the callbacks.
  auto id = std::make_shared<std::string>();
  CLI::App* get = policy->add_subcommand("get", "Show an active pack, byte for byte")->fallthrough();
  get->add_option("policy", *id, "Id of the pack, or its full name")->required();
  get->footer(
      "Examples:\n  retort policy get openai.services-agreement\n  retort policy get hf.smollm2 -o json");
  get->callback([&cli, id] { cli.action = [&cli, id] { return GetPack(cli, *id); }; });

  auto arguments = std::make_shared<CheckArguments>();
  CLI::App* check =
      policy
          ->add_subcommand(
              "check", "Decide about facts here, or about a job on the server; sends nothing to a teacher")
          ->fallthrough();
  check->add_option("--facts", arguments->facts, "YAML of retort.policy.v1.Facts, decided without a server");
  check->add_option("--packs", arguments->packs, "Folder of packs for --facts");
  check->add_option("--job", arguments->job, "YAML of a job, decided by the server as at its start");
  check->footer(
      "Examples:\n  retort policy check --facts facts.yaml --packs policy/packs\n"
      "  retort policy check --job deploy/examples/refused-openai.yaml");
  check->callback(
      [&cli, arguments] { cli.action = [&cli, arguments] { return CheckFacts(cli, *arguments); }; });
}

}  // namespace retort::services
