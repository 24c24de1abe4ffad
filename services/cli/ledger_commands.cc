#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "google/protobuf/util/time_util.h"
#include "ledger/checkpoint.h"
#include "ledger/hex.h"
#include "ledger/proof_file.h"
#include "ledger/signing.h"
#include "services/cli/cli.h"
#include "services/cli/exit_code.h"
#include "services/cli/log_check.h"

namespace retort::services {
namespace {

using retort::ledger::v1::Entry;
using retort::ledger::v1::EntryKind;
using LedgerStub = Client::Ledger::Stub;

constexpr int kEntriesPerPage =
    100;  // an entry is at most 64 KiB twice over, so a page of ordinary ones stays small
constexpr size_t kSmallFileBytesMax = size_t{1} << 20;

std::string LedgerName(const Cli& cli) {
  return cli.parent() + "/ledgers/main";
}

std::string EntryName(const Cli& cli, const std::string& entry) {
  return entry.rfind("projects/", 0) == 0 ? entry : LedgerName(cli) + "/entries/" + entry;
}

std::string KindName(EntryKind kind) {
  std::string name = retort::ledger::v1::EntryKind_Name(kind);
  constexpr std::string_view kPrefix = "ENTRY_KIND_";
  return name.rfind(kPrefix, 0) == 0 ? name.substr(kPrefix.size()) : "kind " + std::to_string(kind);
}

// A few telling members of the statements, for a list.
std::string Summary(const Entry& entry) {
  std::string summary;
  for (const auto& signed_statement : entry.statements()) {
    const auto json =
        nlohmann::json::parse(signed_statement.statement(), nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) continue;
    for (const char* member : {"prompt_id", "split", "attempt", "effect", "id", "version", "dataset", "run",
                               "phase", "step", "student", "role", "action"}) {
      auto value = json.find(member);
      if (value == json.end() || (std::string_view(member) == "attempt" && *value == 1)) continue;
      if (!summary.empty()) summary += ' ';
      summary += std::string(member) + "=" + (value->is_string() ? value->get<std::string>() : value->dump());
    }
  }
  return summary;
}

int GetEntry(const Cli& cli, const std::string& id) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::ledger::v1::GetEntryRequest request;
  request.set_name(EntryName(cli, id));
  auto entry = (*client)->Call((*client)->ledger(), &LedgerStub::GetEntry, request);
  if (!entry.ok()) return cli.Fail(entry.status());
  if (cli.structured()) {
    return cli.PrintItem(ToJson(*entry));
  }
  Table facts({"ENTRY", std::to_string(entry->index())});
  facts.Add({"kind", KindName(entry->kind())});
  facts.Add({"appended", google::protobuf::util::TimeUtil::ToString(entry->append_time())});
  facts.Add({"leaf hash", Hex(entry->leaf_hash())});
  facts.Add({"leaf bytes", std::to_string(entry->leaf().size())});
  facts.Print(cli.out);
  for (const auto& s : entry->statements()) {
    const auto json = nlohmann::json::parse(s.statement(), nullptr, /*allow_exceptions=*/false);
    cli.out << "\nstatement signed by key " << Hex(s.key_id()) << "\n"
            << Printable(json.is_discarded() ? s.statement() : json.dump(2)) << "\n";
  }
  return kExitOk;
}

int ListEntries(const Cli& cli, const std::string& kind_name, int limit) {
  EntryKind kind = retort::ledger::v1::ENTRY_KIND_UNSPECIFIED;
  if (!kind_name.empty()) {
    std::string upper = kind_name;
    std::transform(upper.begin(), upper.end(), upper.begin(),
                   [](unsigned char c) { return c == '-' ? '_' : std::toupper(c); });
    if (!retort::ledger::v1::EntryKind_Parse("ENTRY_KIND_" + upper, &kind)) {
      return cli.Fail(absl::InvalidArgumentError(
          "--kind: saw " + kind_name +
          ", wanted sample, policy_pack, decision, review, dataset, training, release, key, erasure "
          "or access"));
    }
  }
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::ledger::v1::ListEntriesRequest request;
  request.set_parent(LedgerName(cli));
  request.set_kind(kind);
  std::vector<Entry> entries;
  int64_t tree_size = 0;
  do {
    request.set_page_size(std::min(limit - static_cast<int>(entries.size()), kEntriesPerPage));
    auto page = (*client)->Call((*client)->ledger(), &LedgerStub::ListEntries, request);
    if (!page.ok()) return cli.Fail(page.status());
    for (const Entry& entry : page->entries()) entries.push_back(entry);
    tree_size = page->tree_size();
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && static_cast<int>(entries.size()) < limit);

  if (cli.structured()) {
    std::vector<std::string> items;
    for (const Entry& entry : entries) items.push_back(ToJson(entry));
    return cli.PrintItems(items);
  }
  Table table({"ENTRY", "KIND", "APPENDED", "WHAT"}, {0});
  for (const Entry& entry : entries) {
    table.Add({std::to_string(entry.index()), KindName(entry.kind()),
               google::protobuf::util::TimeUtil::ToString(entry.append_time()), Summary(entry)});
  }
  table.Print(cli.out);
  cli.err << entries.size() << " entries shown; the log has " << tree_size << std::endl;
  return kExitOk;
}

absl::Status WriteNewFile(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) return absl::FailedPreconditionError("cannot write " + path);
  return absl::OkStatus();
}

int WriteProof(const Cli& cli, const std::string& id, const std::string& out_base) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::ledger::v1::GetInclusionProofRequest request;
  request.set_name(EntryName(cli, id));
  auto proof = (*client)->Call((*client)->ledger(), &LedgerStub::GetInclusionProof, request);
  if (!proof.ok()) return cli.Fail(proof.status());
  if (!out_base.empty()) {
    for (const auto& [suffix, bytes] :
         {std::pair{".tlog-proof", &proof->proof_file()}, std::pair{".leaf", &proof->leaf()}}) {
      if (auto s = WriteNewFile(out_base + suffix, *bytes); !s.ok()) return cli.Fail(s);
    }
    cli.err << "wrote " << out_base << ".tlog-proof and " << out_base
            << ".leaf; check them without a server with:\n"
            << "  retort ledger verify --proof " << out_base << ".tlog-proof --leaf " << out_base
            << ".leaf --key LOG.vkey" << std::endl;
    return kExitOk;
  }
  if (cli.structured()) return cli.PrintItem(ToJson(*proof));
  cli.out << Printable(proof->proof_file());
  return kExitOk;
}

int ShowCheckpoint(const Cli& cli, const std::string& out_file) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  retort::ledger::v1::GetCheckpointRequest request;
  request.set_name(LedgerName(cli));
  auto checkpoint = (*client)->Call((*client)->ledger(), &LedgerStub::GetCheckpoint, request);
  if (!checkpoint.ok()) return cli.Fail(checkpoint.status());
  if (!out_file.empty()) {
    if (auto s = WriteNewFile(out_file, checkpoint->note()); !s.ok()) return cli.Fail(s);
  }
  if (cli.structured()) return cli.PrintItem(ToJson(*checkpoint));
  cli.out << Printable(checkpoint->note());
  return kExitOk;
}

struct VerifyArguments {
  std::string key, proof, leaf, checkpoint, since;
};

int PrintVerdict(const Cli& cli, const LogCheck& check) {
  if (cli.structured()) {
    nlohmann::ordered_json json = {{"verdict", check.Verdict()},
                                   {"verified", check.failure.empty()},
                                   {"origin", check.checkpoint.origin},
                                   {"size", check.checkpoint.size},
                                   {"root", retort::ledger::HexEncode(check.checkpoint.root)},
                                   {"log_key", check.log_vkey},
                                   {"checked", check.checked},
                                   {"not_checked", check.not_checked}};
    if (const int code =
            cli.PrintItem(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
        code != kExitOk) {
      return code;
    }
  } else {
    cli.out << Printable(check.Verdict()) << "\n\nSigned by\n  log  " << Printable(check.log_vkey) << "\n";
    if (check.failure.empty()) {
      cli.out << "\nCheckpoint\n  origin  " << Printable(check.checkpoint.origin) << "\n  size    "
              << check.checkpoint.size << " entries\n  root    "
              << retort::ledger::HexEncode(check.checkpoint.root) << "\n";
    }
    if (!check.checked.empty()) cli.out << "\nChecked\n";
    for (const auto& line : check.checked) cli.out << "  - " << Printable(line) << "\n";
    cli.out << "\nNot checked\n";
    for (const auto& line : check.not_checked) cli.out << "  - " << Printable(line) << "\n";
  }
  return check.failure.empty() ? kExitOk : kExitRefused;
}

int VerifyEntry(const Cli& cli, const VerifyArguments& arguments) {
  if (arguments.key.empty()) {
    cli.err << "error: nothing says whose log this should be: add --key LOG.vkey (the log's public key, from "
               "someone you trust; for a dev server of your own, `retort ledger checkpoint -o json` shows it)"
            << std::endl;
    return kExitUsage;
  }
  auto vkey = ReadVkey(arguments.key);
  if (!vkey.ok()) return cli.Fail(vkey.status());
  auto key = retort::ledger::VerifyingKey::Parse(*vkey);
  if (!key.ok()) return cli.Fail(key.status());

  if (!arguments.proof.empty() || !arguments.leaf.empty()) {
    if (arguments.proof.empty() || arguments.leaf.empty()) {
      return cli.Fail(
          absl::InvalidArgumentError("an offline check of an entry needs both --proof and --leaf"));
    }
    auto proof = ReadSmallFile(arguments.proof, kSmallFileBytesMax);
    if (!proof.ok()) return cli.Fail(proof.status());
    auto leaf = ReadSmallFile(arguments.leaf, kSmallFileBytesMax);
    if (!leaf.ok()) return cli.Fail(leaf.status());
    return PrintVerdict(cli, CheckProofFile(*proof, *leaf, *key));
  }
  if (!arguments.checkpoint.empty()) {
    auto note = ReadSmallFile(arguments.checkpoint, kSmallFileBytesMax);
    if (!note.ok()) return cli.Fail(note.status());
    return PrintVerdict(cli, CheckCheckpoint(*note, *key));
  }
  std::string since;
  if (!arguments.since.empty()) {
    auto note = ReadSmallFile(arguments.since, kSmallFileBytesMax);
    if (!note.ok()) return cli.Fail(note.status());
    since = *note;
  }
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  auto check = CheckServedLog(**client, LedgerName(cli), *key, since);
  if (!check.ok()) return cli.Fail(check.status());
  return PrintVerdict(cli, *check);
}

}  // namespace

void AddLedgerCommands(CLI::App& app, Cli& cli) {
  CLI::App* ledger = app.add_subcommand("ledger", "The signed log")->require_subcommand(1)->fallthrough();

  // The arguments are shared because CLI11 keeps copies of the callbacks.
  auto get_id = std::make_shared<std::string>();
  CLI::App* get = ledger->add_subcommand("get", "Show one entry with its statements")->fallthrough();
  get->add_option("entry", *get_id, "Index of the entry, or its full name")->required();
  get->footer("Examples:\n  retort ledger get 0\n  retort ledger get 57 -o json");
  get->callback([&cli, get_id] { cli.action = [&cli, get_id] { return GetEntry(cli, *get_id); }; });

  auto kind = std::make_shared<std::string>();
  auto limit = std::make_shared<int>(50);
  CLI::App* list = ledger->add_subcommand("list", "List entries in order")->fallthrough();
  list->add_option(
      "--kind", *kind,
      "Only sample, policy_pack, decision, review, dataset, training, release, key, erasure or access");
  list->add_option("--limit", *limit, "At most this many")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  list->footer("Examples:\n  retort ledger list --kind training\n  retort ledger list --limit 500 -o json");
  list->callback(
      [&cli, kind, limit] { cli.action = [&cli, kind, limit] { return ListEntries(cli, *kind, *limit); }; });

  auto proof_id = std::make_shared<std::string>();
  auto proof_out = std::make_shared<std::string>();
  CLI::App* proof = ledger->add_subcommand("proof", "Prove that an entry is in the log")->fallthrough();
  proof->add_option("entry", *proof_id, "Index of the entry, or its full name")->required();
  proof->add_option("--out", *proof_out, "Write BASE.tlog-proof and BASE.leaf instead of printing")
      ->type_name("BASE");
  proof->footer("Examples:\n  retort ledger proof 57\n  retort ledger proof 57 --out entry57");
  proof->callback([&cli, proof_id, proof_out] {
    cli.action = [&cli, proof_id, proof_out] { return WriteProof(cli, *proof_id, *proof_out); };
  });

  auto checkpoint_out = std::make_shared<std::string>();
  CLI::App* checkpoint =
      ledger->add_subcommand("checkpoint", "Show the newest signed checkpoint")->fallthrough();
  checkpoint->add_option("--out", *checkpoint_out, "Also write it to this file, for `ledger verify --since`");
  checkpoint->footer(
      "Examples:\n  retort ledger checkpoint\n  retort ledger checkpoint --out monday.checkpoint");
  checkpoint->callback([&cli, checkpoint_out] {
    cli.action = [&cli, checkpoint_out] { return ShowCheckpoint(cli, *checkpoint_out); };
  });

  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App* verify =
      ledger->add_subcommand("verify", "Check a proof file, a checkpoint file, or the log of a server")
          ->fallthrough();
  verify->add_option("--key", arguments->key, "Public key of the log: a vkey, or a file that holds one");
  verify->add_option("--proof", arguments->proof, "Offline: proof file of an entry; needs --leaf");
  verify->add_option("--leaf", arguments->leaf, "Offline: bytes of the entry");
  verify->add_option("--checkpoint", arguments->checkpoint, "Offline: checkpoint note");
  verify->add_option("--since", arguments->since, "Online: an older checkpoint that the log must extend");
  verify->footer(
      "Examples:\n  retort ledger verify --key log.vkey --since monday.checkpoint\n"
      "  retort ledger verify --key log.vkey --proof entry57.tlog-proof --leaf entry57.leaf");
  verify->callback(
      [&cli, arguments] { cli.action = [&cli, arguments] { return VerifyEntry(cli, *arguments); }; });
}

}  // namespace retort::services
