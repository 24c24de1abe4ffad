#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "services/audit/audit.h"
#include "services/cli/cli.h"
#include "services/cli/evidence_export.h"
#include "services/cli/exit_code.h"
#include "services/cli/progress.h"

namespace retort::services {
namespace {

int ExportEvidence(const Cli& cli, const std::string& job, const std::string& out) {
  auto client = cli.Connect();
  if (!client.ok()) return cli.Fail(client.status());
  const std::string name = job.empty() ? "" : cli.FullName("jobs", job);
  if (auto s = ExportEvidencePack(**client, cli.project, name, out); !s.ok()) return cli.Fail(s);
  cli.err << "Wrote " << out << ". Check it without a server with:\n  retort audit verify " << out
          << " --key LOG.vkey" << std::endl;
  return kExitOk;
}

int VerifyEvidence(const Cli& cli, const std::string& folder, const std::string& key) {
  if (key.empty()) {
    cli.err << "error: nothing says whose log this should be: add --key LOG.vkey (the log's public key, from "
               "someone you "
               "trust, never from the pack)"
            << std::endl;
    return kExitUsage;
  }
  auto vkey = ReadVkey(key);
  if (!vkey.ok()) return cli.Fail(vkey.status());
  const bool terminal = IsTerminal(STDERR_FILENO);
  auto last_drawn = std::chrono::steady_clock::now();
  bool drawn = false;
  auto report = AuditEvidence(folder, *vkey, [&](uint64_t done, uint64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (!terminal || now - last_drawn < std::chrono::milliseconds(200)) return;
    last_drawn = now;
    drawn = true;
    cli.err << "\rchecking " << done << "/" << total << " entries\x1b[K" << std::flush;
  });
  if (drawn) cli.err << "\r\x1b[K" << std::flush;
  if (!report.ok()) return cli.Fail(report.status());
  if (cli.structured()) {
    if (const int code = cli.PrintItem(AuditJson(*report)); code != kExitOk) return code;
  } else {
    cli.out << AuditText(*report) << std::flush;
  }
  return report->verified() ? kExitOk : kExitRefused;
}

}  // namespace

void AddAuditCommands(CLI::App& app, Cli& cli) {
  CLI::App* audit = app.add_subcommand("audit", "Evidence packs")->require_subcommand(1)->fallthrough();

  // Arguments are shared because CLI11 keeps copies of the callbacks.
  auto job = std::make_shared<std::string>();
  auto out = std::make_shared<std::string>();
  CLI::App* write =
      audit->add_subcommand("export", "Write an evidence pack: the log, its attachments, a student")
          ->fallthrough();
  write->add_option("--job", *job, "Put in the student of this job");
  write->add_option("--out", *out, "Folder to make")->required();
  write->footer(
      "Examples:\n  retort audit export --job kitchen --out evidence\n  retort audit export --out log-only");
  write->callback(
      [&cli, job, out] { cli.action = [&cli, job, out] { return ExportEvidence(cli, *job, *out); }; });

  auto folder = std::make_shared<std::string>();
  auto key = std::make_shared<std::string>();
  CLI::App* verify =
      audit->add_subcommand("verify", "Check an evidence pack from files and a public key alone")
          ->fallthrough();
  verify->add_option("pack", *folder, "Folder of the pack")->required();
  verify->add_option("--key", *key, "Public key of the log: a vkey, or a file that holds one");
  verify->footer(
      "Examples:\n  retort audit verify out/demo/evidence --key out/demo/log.vkey\n"
      "  retort audit verify evidence --key log.vkey -o json");
  verify->callback([&cli, folder, key] {
    cli.action = [&cli, folder, key] { return VerifyEvidence(cli, *folder, *key); };
  });
}

}  // namespace retort::services
