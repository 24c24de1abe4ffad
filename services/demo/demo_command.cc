#include "services/demo/demo_command.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "services/cli/exit_code.h"
#include "services/demo/demo.h"

namespace retort::services {
namespace {

namespace fs = std::filesystem;

// The examples that come with the source: below the working folder, or below a folder above the program.
std::string FindExamples(fs::path program) {
  std::error_code ignored;
  for (const fs::path& root :
       {fs::path("."), program.parent_path().parent_path().parent_path().parent_path()}) {
    if (fs::exists(root / "deploy/examples/cooking.yaml", ignored))
      return (root / "deploy/examples").lexically_normal();
  }
  return "deploy/examples";  // loading a job from there says which file is missing
}

int RunDemo(const Cli& cli, DemoOptions options) {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (options.programs.empty()) options.programs = program.parent_path();
  if (options.examples.empty()) options.examples = FindExamples(program);
  options.project = cli.project;
  Interrupt interrupt;  // before the channel starts its threads
  const absl::Status status = [&] {
    Demo demo(options, interrupt, cli.out, cli.err);
    return demo.Run();
  }();
  if (interrupt.requested()) {
    cli.err << "Interrupted; the demo's server is stopped." << std::endl;
    return kExitInterrupted;
  }
  if (status.ok()) return kExitOk;
  cli.err << Printable(ErrorText(status)) << std::endl;
  return kExitFailure;
}

}  // namespace

void AddDemoCommand(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<DemoOptions>();  // shared: CLI11 keeps copies of the callbacks
  CLI::App* demo =
      app.add_subcommand("demo", "Distil a student, audit it, and try to cheat the audit")->fallthrough();
  demo->add_option("--out", options->out, "Folder for the student, the evidence and the summary")
      ->capture_default_str();
  demo->add_option("--examples", options->examples, "Folder of the example jobs; found when left out");
  demo->add_option("--programs", options->programs,
                   "Folder of retortd and retort; beside this one when left out");
  demo->footer("Examples:\n  retort demo\n  retort demo --out /tmp/demo");
  demo->callback([&cli, options] { cli.action = [&cli, options] { return RunDemo(cli, *options); }; });
}

}  // namespace retort::services
