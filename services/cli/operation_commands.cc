// `retort operation`: work of the server that outlasts a call. `retort ledger audit` begins one.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "google/protobuf/util/time_util.h"
#include "services/cli/cli.h"
#include "services/cli/exit_code.h"
#include "services/cli/interrupt.h"

namespace retort::services {
namespace {

using google::longrunning::Operation;
using OperationsStub = Client::Operations::Stub;
using Metadata = retort::ledger::v1::LedgerOperationMetadata;

Metadata MetadataOf(const Operation& operation) {
  Metadata metadata;
  operation.metadata().UnpackTo(&metadata);  // another kind of operation shows no progress
  return metadata;
}

std::string StateOf(const Operation& operation) {
  if (!operation.done()) return MetadataOf(operation).cancel_requested() ? "cancelling" : "running";
  return operation.has_error() ? "failed" : "done";
}

int PrintOperation(const Cli& cli, const Operation& operation) {
  if (cli.structured()) return cli.PrintItem(ToJson(operation));
  const Metadata metadata = MetadataOf(operation);
  Table facts({"OPERATION", operation.name()});
  facts.Add({"verb", metadata.verb()});
  facts.Add({"target", metadata.target()});
  facts.Add({"state", StateOf(operation)});
  facts.Add({"entries",
             std::to_string(metadata.entries_done()) + " of " + std::to_string(metadata.entries_total())});
  if (operation.has_error()) facts.Add({"error", operation.error().message()});
  facts.Print(cli.out);
  return kExitOk;
}

int ListAll(const Cli& cli, const std::string& filter) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  google::longrunning::ListOperationsRequest request;
  request.set_name(cli.parent());
  request.set_filter(filter);
  std::vector<Operation> operations;
  do {
    auto page = (*client)->Call((*client)->operations(), &OperationsStub::ListOperations, request);
    if (!page.ok()) return cli.Fail(page.status());
    operations.insert(operations.end(), page->operations().begin(), page->operations().end());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  if (cli.structured()) {
    std::vector<std::string> items;
    for (const Operation& operation : operations) items.push_back(ToJson(operation));
    return cli.PrintItems(items);
  }
  Table table({"OPERATION", "VERB", "STATE", "ENTRIES", "BEGAN"}, {3});
  for (const Operation& operation : operations) {
    const Metadata metadata = MetadataOf(operation);
    table.Add({operation.name().substr(operation.name().rfind('/') + 1), metadata.verb(), StateOf(operation),
               std::to_string(metadata.entries_done()) + "/" + std::to_string(metadata.entries_total()),
               google::protobuf::util::TimeUtil::ToString(metadata.create_time())});
  }
  table.Print(cli.out);
  return kExitOk;
}

int Await(const Cli& cli, Client& client, Interrupt& interrupt, Operation operation) {
  const std::string name = operation.name();
  auto done = AwaitOperation(client, std::move(operation), &interrupt, [&](const Operation& now) {
    const Metadata metadata = MetadataOf(now);
    if (!now.done())
      cli.err << metadata.verb() << ": " << metadata.entries_done() << " of " << metadata.entries_total()
              << " entries" << std::endl;
  });
  if (!done.ok() && interrupt.requested()) {
    cli.err << "Detached; the operation goes on. Come back with:\n  retort " << cli.come_back
            << "operation wait " << name << std::endl;
    return kExitInterrupted;
  }
  if (!done.ok()) return cli.Fail(done.status());
  return PrintOperation(cli, *done);
}

int GetOne(const Cli& cli, const std::string& id) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  google::longrunning::GetOperationRequest request;
  request.set_name(cli.FullName("operations", id));
  auto operation = (*client)->Call((*client)->operations(), &OperationsStub::GetOperation, request);
  if (!operation.ok()) return cli.Fail(operation.status());
  return PrintOperation(cli, *operation);
}

int WaitOne(const Cli& cli, const std::string& id) {
  Interrupt interrupt;  // before the channel starts its threads
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  google::longrunning::GetOperationRequest request;
  request.set_name(cli.FullName("operations", id));
  auto operation = (*client)->Call((*client)->operations(), &OperationsStub::GetOperation, request);
  if (!operation.ok()) return cli.Fail(operation.status());
  return Await(cli, **client, interrupt, *std::move(operation));
}

int CancelOne(const Cli& cli, const std::string& id) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  google::longrunning::CancelOperationRequest request;
  request.set_name(cli.FullName("operations", id));
  auto asked = (*client)->Call((*client)->operations(), &OperationsStub::CancelOperation, request);
  if (!asked.ok()) return cli.Fail(asked.status());
  cli.err << "asked to cancel " << request.name() << std::endl;
  return kExitOk;
}

int DeleteOne(const Cli& cli, const std::string& id) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  google::longrunning::DeleteOperationRequest request;
  request.set_name(cli.FullName("operations", id));
  auto deleted = (*client)->Call((*client)->operations(), &OperationsStub::DeleteOperation, request);
  if (!deleted.ok()) return cli.Fail(deleted.status());
  cli.err << "deleted " << request.name() << std::endl;
  return kExitOk;
}

int AuditLedger(const Cli& cli) {
  Interrupt interrupt;  // before the channel starts its threads
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::ledger::v1::VerifyLedgerRequest request;
  request.set_name(cli.parent() + "/ledgers/main");
  request.set_request_id(NewRequestId());
  auto operation = (*client)->Call((*client)->ledger(), &Client::Ledger::Stub::VerifyLedger, request);
  if (!operation.ok()) return cli.Fail(operation.status());
  auto done = AwaitOperation(**client, *std::move(operation), &interrupt, [](const Operation&) {});
  if (!done.ok()) return cli.Fail(done.status());
  retort::ledger::v1::VerifyLedgerResponse report;
  if (!done->response().UnpackTo(&report))
    return cli.Fail(absl::DataLossError("the server's answer is no report"));
  if (cli.structured()) return cli.PrintItem(ToJson(report));
  cli.out << "VERIFIED by the server itself: " << report.tree_size() << " entries, root "
          << Hex(report.root()) << "\n\nChecked\n";
  for (const auto& fact : report.checked())
    cli.out << "  - " << fact.count() << " " << Printable(fact.what()) << "\n";
  cli.out << "\nNot checked\n";
  for (const std::string& sentence : report.not_checked()) cli.out << "  - " << Printable(sentence) << "\n";
  return kExitOk;
}

}  // namespace

void AddOperationCommands(CLI::App& app, Cli& cli) {
  CLI::App* operation = app.add_subcommand("operation", "Work of the server that outlasts a call")
                            ->require_subcommand(1)
                            ->fallthrough();
  // Arguments are shared because CLI11 keeps copies of the callbacks.
  auto filter = std::make_shared<std::string>();
  CLI::App* list = operation->add_subcommand("list", "List operations, newest first")->fallthrough();
  list->add_option("--filter", *filter, "Only those that fit, for example: done = false");
  list->footer("Examples:\n  retort operation list\n  retort operation list --filter 'done = false' -o json");
  list->callback([&cli, filter] { cli.action = [&cli, filter] { return ListAll(cli, *filter); }; });

  const auto with_id = [&cli, operation](const char* name, const char* help, const char* footer,
                                         int (*run)(const Cli&, const std::string&)) {
    auto id = std::make_shared<std::string>();
    CLI::App* command = operation->add_subcommand(name, help)->fallthrough();
    command->add_option("operation", *id, "Id, or projects/{project}/operations/{operation}")->required();
    command->footer(footer);
    command->callback([&cli, id, run] { cli.action = [&cli, id, run] { return run(cli, *id); }; });
  };
  with_id("get", "Show one operation",
          "Examples:\n  retort operation get op-0123\n  retort operation get op-0123 -o json", GetOne);
  with_id("wait", "Wait until it is done; Ctrl-C detaches",
          "Examples:\n  retort operation wait op-0123\n  retort operation wait op-0123 -o yaml", WaitOne);
  with_id(
      "cancel", "Ask it to stop",
      "Examples:\n  retort operation cancel op-0123\n  retort operation cancel projects/p/operations/op-0123",
      CancelOne);
  with_id(
      "delete", "Forget one that is done",
      "Examples:\n  retort operation delete op-0123\n  retort operation delete projects/p/operations/op-0123",
      DeleteOne);

  CLI::App* audit =
      app.get_subcommand("ledger")
          ->add_subcommand(
              "audit",
              "Have the server check its whole log; `audit verify` does it without trusting the server")
          ->fallthrough();
  audit->footer("Examples:\n  retort ledger audit\n  retort ledger audit -o json");
  audit->callback([&cli] { cli.action = [&cli] { return AuditLedger(cli); }; });
}

}  // namespace retort::services
