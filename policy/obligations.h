// Obligations, enforced: the release step writes what is required and is refused what is unmet. Pure
// functions over plain values, so that jobs can enforce and an auditor can check again.
#ifndef POLICY_OBLIGATIONS_H_
#define POLICY_OBLIGATIONS_H_

#include <map>
#include <string>
#include <vector>

#include "ledger/statement.h"
#include "policy/evaluate.h"

namespace retort::policy {

// A release as it would be. Files that matter: README.md (the model card), NOTICE, USE_LIMITS.md, and
// LICENSE.<name>.
struct ReleasePlan {
  std::string student_name;
  bool distributed = false;                  // weights leave the company
  bool hosted = false;                       // others use it as a service
  std::map<std::string, std::string> files;  // path within the release → text
};

// A duty that the plan does not meet, with what would meet it.
struct UnmetObligation {
  Obligation obligation;
  std::string reason;  // for example: name is "Acme-7B", wanted a name that begins with "Llama"
};

// Texts that the release step adds so that the duties are met.
struct RequiredNotices {
  std::string notice;      // for NOTICE; empty when nothing is required
  std::string model_card;  // for README.md, Markdown
  std::string use_limits;  // for USE_LIMITS.md
  // path (LICENSE.<name>) → what must be there. The text of a licence is the operator's to supply; this names
  // it.
  std::map<std::string, std::string> licence_copies;
};

// Which duties the plan does not meet, in the order given; empty means that it may go out. A duty that is not
// due under the plan (not distributed, say) is met. What each kind asks for:
//   name_prefix               student_name begins with the text, letter case counts
//   display_notice            README.md holds one of the texts
//   notice_file               NOTICE holds one of the texts
//   credit_line               README.md holds one of the texts
//   licence_copy              a file LICENSE.<name> that holds text, its path being LicenceCopyPath(text)
//   use_limits_flowdown       USE_LIMITS.md holds the text
//   preserve_provenance_marks, modified_file_marks   README.md states it, in the words of NoticesFor
std::vector<UnmetObligation> CheckRelease(const std::vector<Obligation>& obligations,
                                          const ReleasePlan& plan);

// What to write into the files of a release with these obligations, due ones only. Written as they are,
// CheckRelease is satisfied but for name_prefix and licence_copy, which need a person. Deterministic.
RequiredNotices NoticesFor(const std::vector<Obligation>& obligations, const ReleasePlan& plan);

// "LICENSE." + the text in lower case with every run of other characters than [a-z0-9.] made one hyphen.
std::string LicenceCopyPath(const std::string& text);

// Between decisions as evaluated and as stated; nothing is lost.
Obligation FromStatement(const ledger::DecidedObligation& obligation);
ledger::DecidedObligation ToStatement(const Obligation& obligation);

// The union over many samples' decisions, each once, ordered by pack, rule, kind and text.
std::vector<Obligation> UniteObligations(const std::vector<std::vector<Obligation>>& decisions);

}  // namespace retort::policy

#endif  // POLICY_OBLIGATIONS_H_
