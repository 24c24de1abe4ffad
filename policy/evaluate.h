// Evaluation: (active packs, facts) → decision. A pure function: no clock, network, randomness or state, so
// that an auditor computes every decision again. docs/formats/policy.md explains the order with examples.
//
//  1. Every teacher stands on its own: the one asked, the one that answered when its name differs, and each
//  of
//     facts.lineage. For each, the packs that select it are found; a pack's usage policies come along.
//  2. Every rule of those packs is evaluated with three values. True: the rule says its effect. Unknown: it
//  says review,
//     and the facts that were missing are named. A pack of unconfirmed confidence says review where it would
//     allow. A pack of which it is unknown whether it applies says review once, as the rule `applies_to`.
//  3. Each teacher needs terms or a licence of which some rule matched; otherwise rule `nothing-matched` of
//     `retort.builtin` denies.
//  4. deny beats review beats allow over all teachers. Obligations of all matching rules that do not deny are
//  united, as
//     far as they are due: on_distribute_student when student.distributed is true (unset: missing, so
//     review), and so on.
//
// facts.screening absent means preflight: rules that read screening facts do not take part. Present without a
// finish_reason means that the text could not be screened: review, and `screening` is missing.
#ifndef POLICY_EVALUATE_H_
#define POLICY_EVALUATE_H_

#include <string>
#include <string_view>
#include <vector>

#include "policy/pack.h"
#include "retort/policy/v1/facts.pb.h"

namespace retort::policy {

enum class Effect { kAllow, kReview, kDeny };

// "allow", "review", "deny".
std::string_view EffectName(Effect effect);

struct RuleMatch {
  std::string pack, rule;
  Effect effect;       // what it contributed: review where the rule was unknown or its pack unconfirmed
  std::string clause;  // as the pack writes it
  friend bool operator==(const RuleMatch&, const RuleMatch&) = default;
};

struct Obligation {
  std::string pack, rule;
  std::string kind;     // name_prefix, display_notice, … (pack.proto without prefix, lower case)
  std::string trigger;  // on_train, on_distribute_student, …
  std::string text;     // alternatives separated by " | "
  friend bool operator==(const Obligation&, const Obligation&) = default;
};

struct ActivePack {
  std::string id, version, sha256;
  friend bool operator==(const ActivePack&, const ActivePack&) = default;
};

struct Decision {
  Effect effect = Effect::kDeny;
  std::vector<RuleMatch> rules;         // in pack and rule order, each rule once; builtin last
  std::vector<Obligation> obligations;  // in pack and rule order, each once; none when the effect is deny
  std::vector<ActivePack> packs;        // all of the set, by id
  std::vector<std::string>
      missing_inputs;  // paths of facts, sorted; lineage[i].… for a teacher of the lineage
};

// Total: every PackSet and every Facts give a decision. Time is bounded by packs × rules × (1 + lineage);
// only the first 16 teachers of a lineage are read, and more deny (rule `lineage-too-long`).
Decision Evaluate(const PackSet& packs, const v1::Facts& facts);

}  // namespace retort::policy

#endif  // POLICY_EVALUATE_H_
