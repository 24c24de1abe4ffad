#include "policy/obligations.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace retort::policy {
namespace {

constexpr const char* kModelCard = "README.md";
constexpr const char* kNotice = "NOTICE";
constexpr const char* kUseLimits = "USE_LIMITS.md";

// Texts of which one is enough.
std::vector<std::string> Alternatives(const std::string& text) {
  constexpr std::string_view kSeparator = " | ";
  std::vector<std::string> out;
  size_t from = 0;
  while (true) {
    const size_t at = text.find(kSeparator, from);
    out.push_back(text.substr(from, at == std::string::npos ? at : at - from));
    if (at == std::string::npos) return out;
    from = at + kSeparator.size();
  }
}

std::string Quoted(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "\"" : " or \"") + text + "\"";
  return out;
}

bool IsDue(const Obligation& obligation, const ReleasePlan& plan) {
  if (obligation.trigger == "on_distribute_student") return plan.distributed;
  if (obligation.trigger == "on_host_student") return plan.hosted;
  if (obligation.trigger == "on_distribute_or_host_student") return plan.distributed || plan.hosted;
  return true;
}

const std::string* FindFile(const ReleasePlan& plan, const std::string& path) {
  const auto it = plan.files.find(path);
  return it == plan.files.end() ? nullptr : &it->second;
}

// Empty when the file holds one of the texts, otherwise what is wrong.
std::string LacksText(const ReleasePlan& plan, const std::string& path,
                      const std::vector<std::string>& texts) {
  const std::string* file = FindFile(plan, path);
  if (file == nullptr) return "there is no " + path + ", wanted one that holds " + Quoted(texts);
  for (const std::string& text : texts) {
    if (file->find(text) != std::string::npos) return "";
  }
  return path + " holds another text, wanted " + Quoted(texts);
}

// The sentence that states a mark-keeping duty in the model card.
std::string Statement(const Obligation& obligation) {
  if (obligation.kind == "preserve_provenance_marks")
    return "Provenance marks of the teacher are kept: " + obligation.text;
  return "Files that were changed say so: " + obligation.text;
}

// Empty when the duty is met.
std::string WhyUnmet(const Obligation& obligation, const ReleasePlan& plan) {
  const std::vector<std::string> texts = Alternatives(obligation.text);
  if (obligation.kind == "name_prefix") {
    const bool met = std::any_of(texts.begin(), texts.end(), [&](const std::string& text) {
      return plan.student_name.starts_with(text);
    });
    return met ? ""
               : "name is \"" + plan.student_name + "\", wanted a name that begins with " + Quoted(texts);
  }
  if (obligation.kind == "display_notice" || obligation.kind == "credit_line")
    return LacksText(plan, kModelCard, texts);
  if (obligation.kind == "notice_file") return LacksText(plan, kNotice, texts);
  if (obligation.kind == "use_limits_flowdown") return LacksText(plan, kUseLimits, {obligation.text});
  if (obligation.kind == "preserve_provenance_marks" || obligation.kind == "modified_file_marks") {
    return LacksText(plan, kModelCard, {Statement(obligation)});
  }
  if (obligation.kind == "licence_copy") {
    const std::string path = LicenceCopyPath(obligation.text);
    const std::string* file = FindFile(plan, path);
    const bool met = file != nullptr && file->find_first_not_of(" \t\r\n") != std::string::npos;
    return met ? "" : "there is no text in " + path + ", wanted a copy of " + obligation.text;
  }
  return "the kind \"" + obligation.kind + "\" is unknown to this program, so it cannot be met";
}

void AddLine(std::string* text, const std::string& line) {
  if (text->find(line) == std::string::npos) *text += line + "\n";
}

}  // namespace

std::vector<UnmetObligation> CheckRelease(const std::vector<Obligation>& obligations,
                                          const ReleasePlan& plan) {
  std::vector<UnmetObligation> unmet;
  for (const Obligation& obligation : obligations) {
    if (!IsDue(obligation, plan)) continue;
    if (std::string reason = WhyUnmet(obligation, plan); !reason.empty())
      unmet.push_back({obligation, std::move(reason)});
  }
  return unmet;
}

RequiredNotices NoticesFor(const std::vector<Obligation>& obligations, const ReleasePlan& plan) {
  RequiredNotices notices;
  for (const Obligation& obligation : obligations) {
    if (!IsDue(obligation, plan)) continue;
    const std::string first = Alternatives(obligation.text).front();
    if (obligation.kind == "display_notice" || obligation.kind == "credit_line")
      AddLine(&notices.model_card, first);
    if (obligation.kind == "notice_file") AddLine(&notices.notice, first);
    if (obligation.kind == "use_limits_flowdown") AddLine(&notices.use_limits, obligation.text);
    if (obligation.kind == "preserve_provenance_marks" || obligation.kind == "modified_file_marks") {
      AddLine(&notices.model_card, Statement(obligation));
    }
    if (obligation.kind == "licence_copy")
      notices.licence_copies[LicenceCopyPath(obligation.text)] = obligation.text;
  }
  return notices;
}

std::string LicenceCopyPath(const std::string& text) {
  constexpr std::string_view kPrefix = "LICENSE.";
  std::string path(kPrefix);
  for (const char c : text) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const bool keep = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9') || lower == '.';
    if (keep) path += lower;
    if (!keep && path.back() != '-' && path.size() > kPrefix.size()) path += '-';
  }
  while (path.back() == '-') path.pop_back();
  return path;
}

Obligation FromStatement(const ledger::DecidedObligation& o) {
  return {o.pack, o.rule, o.kind, o.trigger, o.text};
}

ledger::DecidedObligation ToStatement(const Obligation& o) {
  return {o.pack, o.rule, o.kind, o.trigger, o.text};
}

std::vector<Obligation> UniteObligations(const std::vector<std::vector<Obligation>>& decisions) {
  const auto key = [](const Obligation& o) { return std::tie(o.pack, o.rule, o.kind, o.text, o.trigger); };
  const auto less = [key](const Obligation& a, const Obligation& b) { return key(a) < key(b); };
  std::set<Obligation, decltype(less)> all(less);
  for (const auto& obligations : decisions) all.insert(obligations.begin(), obligations.end());
  return {all.begin(), all.end()};
}

}  // namespace retort::policy
