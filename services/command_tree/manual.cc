#include "services/command_tree/manual.h"

#include <algorithm>
#include <sstream>
#include <string_view>

namespace retort::services {
namespace {

// Text as roff shows it unchanged: backslashes, hyphens that are typed, and lines that would be requests.
std::string Roff(std::string_view text) {
  std::string escaped;
  bool line_begins = true;
  for (const char c : text) {
    if (line_begins && (c == '.' || c == '\'')) escaped += "\\&";
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
    line_begins = c == '\n';
  }
  return escaped;
}

std::string Dashed(std::string text) {
  std::replace(text.begin(), text.end(), ' ', '-');
  return text;
}

std::string Upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return text;
}

// One line for NAME: the description's first sentence, without its full stop.
std::string FirstSentence(const std::string& description) {
  std::string sentence = description.substr(0, std::min(description.find('\n'), description.find(". ")));
  if (!sentence.empty() && sentence.back() == '.') sentence.pop_back();
  return sentence;
}

void PrintOption(std::ostream& out, const CommandOption& option) {
  out << ".TP\n";
  for (size_t i = 0; i < option.flags.size(); ++i) {
    out << (i == 0 ? "" : ", ") << "\\fB" << Roff(option.flags[i]) << "\\fR";
  }
  if (!option.value.empty())
    out << (option.flags.empty() ? "" : " ") << "\\fI" << Roff(option.value) << "\\fR";
  out << "\n" << Roff(option.description);
  if (!option.choices.empty()) {
    out << "\nOne of";
    for (size_t i = 0; i < option.choices.size(); ++i) {
      out << (i == 0 ? " " : ", ") << "\\fB" << Roff(option.choices[i]) << "\\fR";
    }
    out << ".";
  }
  if (option.required) out << "\nRequired.";
  if (!option.default_value.empty()) out << "\nDefault: " << Roff(option.default_value) << ".";
  if (!option.environment.empty()) out << "\nEnvironment: \\fB" << Roff(option.environment) << "\\fR.";
  out << "\n";
}

void PrintOptions(std::ostream& out, const char* heading, const std::vector<CommandOption>& options) {
  if (options.empty()) return;
  out << ".SH " << heading << "\n";
  for (const CommandOption& option : options) PrintOption(out, option);
}

}  // namespace

std::string ManualPageName(const Command& command) {
  return Dashed(command.path) + ".1";
}

std::string ManualPage(const Command& root, const Command& command, const std::string& version) {
  std::ostringstream out;
  const std::string title = Dashed(command.path);
  out << ".TH \"" << Upper(title) << "\" 1 \"\" \"" << Roff(root.name) << " " << Roff(version)
      << "\" \"User commands\"\n"
      << ".SH NAME\n"
      << Roff(title) << " \\- " << Roff(FirstSentence(command.description)) << "\n"
      << ".SH SYNOPSIS\n\\fB" << Roff(command.path) << "\\fR [\\fIoptions\\fR]";
  for (const CommandOption& positional : command.positionals) {
    out << (positional.required ? " \\fI" : " [\\fI") << Roff(positional.value)
        << (positional.required ? "\\fR" : "\\fR]");
  }
  if (!command.commands.empty()) out << " \\fIcommand\\fR";
  out << "\n.SH DESCRIPTION\n" << Roff(command.description) << "\n";
  if (!command.commands.empty()) {
    out << ".SH COMMANDS\n";
    for (const Command& below : command.commands) {
      out << ".TP\n\\fB" << Roff(below.path) << "\\fR\n" << Roff(FirstSentence(below.description)) << "\n";
    }
  }
  PrintOptions(out, "ARGUMENTS", command.positionals);
  PrintOptions(out, "OPTIONS", command.options);
  if (&command != &root) PrintOptions(out, "OPTIONS OF EVERY COMMAND", root.options);
  if (!command.footer.empty()) {
    std::string_view footer = command.footer;
    if (footer.starts_with("Examples:\n")) footer.remove_prefix(10);
    out << ".SH EXAMPLES\n.nf\n" << Roff(footer) << "\n.fi\n";
  }
  std::vector<const Command*> beside;
  for (const Command* other : AllCommands(root)) {
    const bool parent = std::any_of(other->commands.begin(), other->commands.end(),
                                    [&](const Command& below) { return &below == &command; });
    const bool child = std::any_of(command.commands.begin(), command.commands.end(),
                                   [&](const Command& below) { return &below == other; });
    if (parent || child) beside.push_back(other);
  }
  if (!beside.empty()) {
    out << ".SH SEE ALSO\n";
    for (size_t i = 0; i < beside.size(); ++i) {
      out << (i == 0 ? "" : ",\n") << "\\fB" << Roff(Dashed(beside[i]->path)) << "\\fR(1)";
    }
    out << "\n";
  }
  return out.str();
}

}  // namespace retort::services
