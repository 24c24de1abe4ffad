#include "services/command_tree/completion.h"

#include <algorithm>
#include <sstream>
#include <string_view>
#include <vector>

namespace retort::services {
namespace {

// 'text' for bash, zsh and fish: a quote inside ends the string, stands escaped, and begins it again.
std::string Quoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

std::string Join(const std::vector<std::string>& words, std::string_view separator) {
  std::string joined;
  for (const std::string& word : words) {
    if (!joined.empty()) joined += separator;
    joined += word;
  }
  return joined;
}

// The first line of a description; that is what fits beside a candidate.
std::string Brief(const std::string& description) {
  return description.substr(0, description.find('\n'));
}

// Every flag that takes a value, each once: what stands after it is no command.
std::vector<std::string> FlagsWithValue(const Command& root) {
  std::vector<std::string> flags;
  for (const Command* command : AllCommands(root)) {
    for (const CommandOption& option : command->options) {
      if (option.value.empty()) continue;
      for (const std::string& flag : option.flags) {
        if (std::find(flags.begin(), flags.end(), flag) == flags.end()) flags.push_back(flag);
      }
    }
  }
  return flags;
}

// 'retort job', 'retort job create', …
std::vector<std::string> QuotedPathsBelow(const Command& root) {
  std::vector<std::string> paths;
  for (const Command* command : AllCommands(root)) {
    if (command != &root) paths.push_back(Quoted(command->path));
  }
  return paths;
}

std::string FunctionName(const Command& root) {
  std::string name = "_" + root.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// The command's own options, then those of the root, which every command takes.
std::vector<CommandOption> OfferedOptions(const Command& root, const Command& command) {
  std::vector<CommandOption> offered = command.options;
  if (&command == &root) return offered;
  for (const CommandOption& option : root.options) {
    const bool here_too = std::any_of(command.options.begin(), command.options.end(),
                                      [&](const CommandOption& own) { return own.flags == option.flags; });
    if (!here_too) offered.push_back(option);
  }
  return offered;
}

// What bash and zsh have in common: walks the words up to the cursor, so that `here` is the path of the
// command that they lead to.
void WalkWords(std::ostream& out, const Command& root, std::string_view loop, std::string_view word) {
  out << "  local here=" << Quoted(root.path) << " skip='' word i\n"
      << "  for ((" << loop << ")); do\n"
      << "    word=" << word << "\n"
      << "    if [[ -n $skip ]]; then skip=''; continue; fi\n";
  if (const auto flags = FlagsWithValue(root); !flags.empty()) {
    out << "    case $word in " << Join(flags, "|") << ") skip=yes; continue ;; esac\n";
  }
  if (const auto paths = QuotedPathsBelow(root); !paths.empty()) {
    out << "    case \"$here $word\" in " << Join(paths, "|") << ") here=\"$here $word\" ;; esac\n";
  }
  out << "  done\n";
}

// Case labels for the options that have few values: "'retort job list --output'|… ) <offer> ; return ;;".
template <typename Offer>
void CaseOfChoices(std::ostream& out, const Command& root, const Offer& offer) {
  out << "  case \"$here $prev\" in\n";
  for (const Command* command : AllCommands(root)) {
    for (const CommandOption& option : OfferedOptions(root, *command)) {
      if (option.choices.empty()) continue;
      std::vector<std::string> labels;
      for (const std::string& flag : option.flags) labels.push_back(Quoted(command->path + " " + flag));
      out << "    " << Join(labels, "|") << ") " << offer(Join(option.choices, " ")) << "; return ;;\n";
    }
  }
  out << "  esac\n";
}

}  // namespace

std::string BashCompletion(const Command& root) {
  std::ostringstream out;
  const std::string function = FunctionName(root);
  out << "# bash completion for " << root.name << "\n"
      << function << "() {\n"
      << "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=''\n"
      << "  if [[ $cur == = ]]; then cur=''; elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}; "
         "fi\n";
  WalkWords(out, root, "i = 1; i < COMP_CWORD; i++", "${COMP_WORDS[i]}");
  CaseOfChoices(out, root, [](const std::string& choices) {
    return "COMPREPLY=($(compgen -W " + Quoted(choices) + " -- \"$cur\"))";
  });
  if (const auto flags = FlagsWithValue(root); !flags.empty()) {
    out << "  case $prev in " << Join(flags, "|")
        << ") COMPREPLY=($(compgen -f -- \"$cur\")); return ;; esac\n";
  }
  out << "  case $here in\n";
  for (const Command* command : AllCommands(root)) {
    std::vector<std::string> words;
    for (const Command& below : command->commands) words.push_back(below.name);
    for (const CommandOption& option : OfferedOptions(root, *command)) words.push_back(option.flags.back());
    out << "    " << Quoted(command->path) << ") words=" << Quoted(Join(words, " ")) << " ;;\n";
  }
  out << "  esac\n"
      << "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
      << "  if [[ ${#COMPREPLY[@]} -eq 0 && $cur != -* ]]; then COMPREPLY=($(compgen -f -- \"$cur\")); fi\n"
      << "}\n"
      << "complete -o filenames -F " << function << " " << root.name << "\n";
  return out.str();
}

std::string ZshCompletion(const Command& root) {
  std::ostringstream out;
  const std::string function = FunctionName(root);
  out << "#compdef " << root.name << "\n"
      << function << "() {\n"
      << "  local prev=$words[CURRENT-1]\n";
  WalkWords(out, root, "i = 2; i < CURRENT; i++", "$words[i]");
  CaseOfChoices(out, root, [](const std::string& choices) { return "compadd -- " + choices; });
  if (const auto flags = FlagsWithValue(root); !flags.empty()) {
    out << "  case $prev in " << Join(flags, "|") << ") _files; return ;; esac\n";
  }
  out << "  local -a commands options\n"
      << "  case $here in\n";
  for (const Command* command : AllCommands(root)) {
    out << "    " << Quoted(command->path) << ")\n      commands=(";
    for (const Command& below : command->commands) {
      out << "\n        " << Quoted(below.name + ":" + Brief(below.description));
    }
    out << ")\n      options=(";
    for (const CommandOption& option : OfferedOptions(root, *command)) {
      out << "\n        " << Quoted(option.flags.back() + ":" + Brief(option.description));
    }
    out << ") ;;\n";
  }
  out << "  esac\n"
      << "  if (( $#commands )); then _describe -t commands command commands; else _files; fi\n"
      << "  _describe -t options option options\n"
      << "}\n"
      << "if [[ $funcstack[1] == " << function << " ]]; then " << function << " \"$@\"; else compdef "
      << function << " " << root.name << "; fi\n";
  return out.str();
}

std::string FishCompletion(const Command& root) {
  std::ostringstream out;
  const std::string here = "_" + FunctionName(root) + "_here";
  out << "# fish completion for " << root.name << "\n"
      << "function " << here << "\n"
      << "  set -l here " << Quoted(root.path) << "\n"
      << "  set -l skip ''\n"
      << "  for word in (commandline -opc)[2..-1]\n"
      << "    if test -n \"$skip\"\n      set skip ''\n      continue\n    end\n";
  if (const auto flags = FlagsWithValue(root); !flags.empty()) {
    out << "    if contains -- $word " << Join(flags, " ")
        << "\n      set skip yes\n      continue\n    end\n";
  }
  if (const auto paths = QuotedPathsBelow(root); !paths.empty()) {
    out << "    if contains -- \"$here $word\" " << Join(paths, " ")
        << "\n      set here \"$here $word\"\n    end\n";
  }
  out << "  end\n  echo $here\nend\n"
      << "complete -c " << root.name << " -f\n";
  for (const Command* command : AllCommands(root)) {
    const std::string at =
        "complete -c " + root.name + " -n \"test (" + here + ") = " + Quoted(command->path) + "\"";
    for (const Command& below : command->commands) {
      out << at << " -a " << below.name << " -d " << Quoted(Brief(below.description)) << "\n";
    }
    if (command->commands.empty()) out << at << " -F\n";
    for (const CommandOption& option : command->options) {
      // The root's options hold everywhere, so they have no condition.
      out << (command == &root ? "complete -c " + root.name : at);
      for (const std::string& flag : option.flags) {
        out << (flag.starts_with("--") ? " -l " + flag.substr(2) : " -s " + flag.substr(1));
      }
      if (!option.choices.empty()) {
        out << " -x -a " << Quoted(Join(option.choices, " "));
      } else if (!option.value.empty()) {
        out << " -r -F";
      }
      out << " -d " << Quoted(Brief(option.description)) << "\n";
    }
  }
  return out.str();
}

}  // namespace retort::services
