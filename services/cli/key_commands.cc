#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "ledger/hex.h"
#include "ledger/signing.h"
#include "services/cli/cli.h"
#include "services/cli/exit_code.h"

namespace retort::services {
namespace {

int Print(const Cli& cli, const ledger::SigningKey& key) {
  if (cli.structured()) {
    nlohmann::ordered_json json = {
        {"name", key.name()}, {"vkey", key.vkey()}, {"key_id", ledger::HexEncode(key.key_id())}};
    cli.PrintItem(json.dump(2));
  } else {
    cli.out << key.vkey() << "\n";
  }
  return kExitOk;
}

int Generate(const Cli& cli, const std::string& name, const std::string& file) {
  auto key = ledger::SigningKey::Generate(name);
  if (!key.ok()) return cli.Fail(key.status());
  if (auto s = key->Save(file); !s.ok()) return cli.Fail(s);
  cli.err << "wrote the private key to " << file << " (mode 0600); the line on standard output is public"
          << std::endl;
  return Print(cli, *key);
}

int ShowKey(const Cli& cli, const std::string& file) {
  auto key = ledger::SigningKey::Load(file);
  if (!key.ok()) return cli.Fail(key.status());
  return Print(cli, *key);
}

}  // namespace

void AddKeyCommands(CLI::App& app, Cli& cli) {
  CLI::App* key = app.add_subcommand("key", "Signing keys")->require_subcommand(1)->fallthrough();

  // Arguments are shared because CLI11 keeps copies of the callbacks.
  auto name = std::make_shared<std::string>();
  auto out = std::make_shared<std::string>();
  CLI::App* generate =
      key->add_subcommand("generate", "Make an Ed25519 key; prints its public half")->fallthrough();
  generate->add_option("--name", *name, "Name of the key, for example acme/teacher; a log's is its origin")
      ->required();
  generate->add_option("--out", *out, "File to make")->required();
  generate->footer(
      "Examples:\n  retort key generate --name acme/teacher --out teacher.key > teacher.vkey\n"
      "  retort key generate --name acme/kitchen --out log.key -o json");
  generate->callback(
      [&cli, name, out] { cli.action = [&cli, name, out] { return Generate(cli, *name, *out); }; });

  auto file = std::make_shared<std::string>();
  CLI::App* show = key->add_subcommand("show", "Print the public half of a key file")->fallthrough();
  show->add_option("file", *file, "Private key file")->required();
  show->footer("Examples:\n  retort key show teacher.key\n  retort key show log.key -o json");
  show->callback([&cli, file] { cli.action = [&cli, file] { return ShowKey(cli, *file); }; });
}

}  // namespace retort::services
