#include "policy/evaluate.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "policy/facts.h"
#include "policy/glob.h"

namespace retort::policy {
namespace {

using google::protobuf::Timestamp;

// Kleene's three values. What makes a value unknown is collected beside it, and dropped when the value turns
// out to be certain all the same.
enum class Truth : char { kFalse, kUnknown, kTrue };

Truth ToTruth(bool value) {
  return value ? Truth::kTrue : Truth::kFalse;
}
Truth And(Truth a, Truth b) {
  return std::min(a, b);
}
Truth Or(Truth a, Truth b) {
  return std::max(a, b);
}

bool Before(const Timestamp& a, const Timestamp& b) {
  return std::pair(a.seconds(), a.nanos()) < std::pair(b.seconds(), b.nanos());
}

using Missing = std::vector<std::string>;

// One teacher that the sample depends on, under the path where its facts are.
struct Origin {
  const v1::TeacherFacts* teacher;
  std::string_view model;  // the model asked for, or the one that answered
  bool has_model;
  std::string prefix;  // teacher. or lineage[i].
};

class ConditionReader {
 public:
  ConditionReader(const v1::Facts& facts, const Origin& origin, Missing* missing)
      : facts_(facts), origin_(origin), missing_(missing) {}

  Truth Read(const v1::Condition& condition) const {
    if (condition.has_not_()) {
      const Truth inner = Read(condition.not_());
      return inner == Truth::kUnknown ? inner : ToTruth(inner == Truth::kFalse);
    }
    if (!condition.fact().empty()) return ReadTest(condition);
    const bool all = !condition.all().empty();
    const size_t before = missing_->size();
    Truth truth = ToTruth(all);
    for (const v1::Condition& member : all ? condition.all() : condition.any()) {
      truth = all ? And(truth, Read(member)) : Or(truth, Read(member));
      if (truth == ToTruth(!all)) break;
    }
    if (truth != Truth::kUnknown) missing_->resize(before);
    return truth;
  }

 private:
  Truth ReadTest(const v1::Condition& test) const {
    const bool is_model = test.fact() == "teacher.model";
    FactValue value = ReadFact(facts_, *origin_.teacher, test.fact());
    if (is_model) value = {.known = origin_.has_model, .text = origin_.model};
    if (test.has_present()) return ToTruth(value.known == test.present());
    if (!value.known) {
      missing_->push_back(test.fact().starts_with("teacher.") ? origin_.prefix + test.fact().substr(8)
                                                              : test.fact());
      return Truth::kUnknown;
    }
    if (test.has_equals()) {
      return ToTruth(*FindFactType(test.fact()) == FactType::kBool
                         ? value.boolean == (test.equals() == "true")
                         : value.text == test.equals());
    }
    if (test.has_matches()) return ToTruth(MatchesGlob(test.matches(), value.text));
    if (test.has_at_least()) return ToTruth(value.integer >= test.at_least());
    if (test.has_at_most()) return ToTruth(value.integer <= test.at_most());
    if (test.has_before()) return ToTruth(Before(*value.time, test.before()));
    if (test.has_not_before()) return ToTruth(!Before(*value.time, test.not_before()));
    if (test.has_contains())
      return ToTruth(std::find(value.list->begin(), value.list->end(), test.contains()) != value.list->end());
    return ToTruth(std::find(test.one_of().begin(), test.one_of().end(), value.text) != test.one_of().end());
  }

  const v1::Facts& facts_;
  const Origin& origin_;
  Missing* const missing_;
};

// Whether packs apply to one teacher; each is worked out once.
class Applicability {
 public:
  Applicability(const PackSet& packs, const v1::Facts& facts, const Origin& origin)
      : packs_(packs),
        facts_(facts),
        origin_(origin),
        known_(packs.packs().size()),
        missing_(packs.packs().size()) {}

  // What was missing when the answer is unknown is in MissingOf.
  Truth Of(size_t index) {
    if (known_[index]) return *known_[index];
    Missing* missing = &missing_[index];
    const v1::Pack& pack = packs_.packs()[index].pack();
    Truth truth = ToTruth(pack.kind() == v1::Pack::KIND_COMPANY && pack.applies_to().empty());
    for (const v1::Selector& selector : pack.applies_to()) truth = Or(truth, Selects(selector, missing));
    for (const size_t incorporator : packs_.IncorporatedBy(index)) {
      const Truth by = Of(incorporator);
      if (by == Truth::kUnknown)
        missing->insert(missing->end(), MissingOf(incorporator).begin(), MissingOf(incorporator).end());
      truth = Or(truth, by);
    }
    truth = And(truth, InForce(pack, missing));
    known_[index] = truth;
    return truth;
  }

  const Missing& MissingOf(size_t index) const { return missing_[index]; }

 private:
  Truth NeedText(bool known, const char* name, bool matches, Missing* missing) const {
    if (!known) missing->push_back(origin_.prefix + name);
    return known ? ToTruth(matches) : Truth::kUnknown;
  }

  Truth Selects(const v1::Selector& selector, Missing* missing) const {
    const v1::TeacherFacts& teacher = *origin_.teacher;
    if (teacher.provider() != selector.provider()) return Truth::kFalse;
    Missing own;
    Truth truth = Truth::kTrue;
    const auto among = [](const auto& list, const std::string& text) {
      return std::find(list.begin(), list.end(), text) != list.end();
    };
    const auto matches = [this](const std::string& glob) { return MatchesGlob(glob, origin_.model); };
    if (!selector.channels().empty()) {
      truth = And(truth, NeedText(teacher.has_channel(), "channel",
                                  among(selector.channels(), teacher.channel()), &own));
    }
    if (!selector.account_classes().empty()) {
      truth = And(truth, NeedText(teacher.has_account_class(), "account_class",
                                  among(selector.account_classes(), teacher.account_class()), &own));
    }
    if (!selector.models().empty()) {
      const bool any = std::any_of(selector.models().begin(), selector.models().end(), matches);
      truth = And(truth, NeedText(origin_.has_model, "model", any, &own));
    }
    if (!selector.except_models().empty()) {
      const bool none =
          std::none_of(selector.except_models().begin(), selector.except_models().end(), matches);
      truth = And(truth, NeedText(origin_.has_model, "model", none, &own));
    }
    if (selector.has_acquired_from() || selector.has_acquired_before()) {
      const bool early =
          selector.has_acquired_from() && Before(teacher.acquired_time(), selector.acquired_from());
      const bool late =
          selector.has_acquired_before() && !Before(teacher.acquired_time(), selector.acquired_before());
      truth = And(truth, NeedText(teacher.has_acquired_time(), "acquired_time", !early && !late, &own));
    }
    if (truth == Truth::kUnknown) missing->insert(missing->end(), own.begin(), own.end());
    return truth;
  }

  // [effective_from, effective_to) on the pack's clock.
  Truth InForce(const v1::Pack& pack, Missing* missing) const {
    const bool dynamic = pack.clock() == v1::Pack::CLOCK_DYNAMIC;
    if (dynamic ? !facts_.has_decided_time() : !facts_.has_generated_time()) {
      missing->push_back(dynamic ? "decided_time" : "generated_time");
      return Truth::kUnknown;
    }
    const Timestamp& time = dynamic ? facts_.decided_time() : facts_.generated_time();
    return ToTruth(!Before(time, pack.effective_from()) &&
                   (!pack.has_effective_to() || Before(time, pack.effective_to())));
  }

  const PackSet& packs_;
  const v1::Facts& facts_;
  const Origin& origin_;
  std::vector<std::optional<Truth>> known_;
  std::vector<Missing> missing_;
};

Effect EffectOf(v1::Rule::Effect effect) {
  return effect == v1::Rule::EFFECT_ALLOW    ? Effect::kAllow
         : effect == v1::Rule::EFFECT_REVIEW ? Effect::kReview
                                             : Effect::kDeny;
}

// Lower-case name of an enum value without its prefix.
std::string ShortName(const std::string& name, std::string_view prefix) {
  std::string lower = name.substr(prefix.size());
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

class Evaluation {
 public:
  Evaluation(const PackSet& packs, const v1::Facts& facts) : packs_(packs), facts_(facts) {}

  Decision Run() {
    std::vector<Origin> origins;
    AddOrigins(facts_.teacher(), "teacher.", &origins);
    const int lineage_size = std::min(facts_.lineage_size(), kLineageMax);
    for (int i = 0; i < lineage_size; ++i)
      AddOrigins(facts_.lineage(i), "lineage[" + std::to_string(i) + "].", &origins);
    for (const Origin& origin : origins) EvaluateOrigin(origin);
    if (facts_.lineage_size() > kLineageMax) {
      builtin_["lineage-too-long"] = {Effect::kDeny, "at most 16 teachers of a lineage are evaluated"};
    }
    if (facts_.has_screening() && facts_.screening().finish_reason().empty()) {
      missing_.insert("screening");
      builtin_["screening-incomplete"] = {Effect::kReview, "a text that was not screened is not used"};
    }
    return Collect();
  }

 private:
  static void AddOrigins(const v1::TeacherFacts& teacher, const std::string& prefix,
                         std::vector<Origin>* origins) {
    origins->push_back({&teacher, teacher.model(), teacher.has_model(), prefix});
    if (!teacher.model_answered().empty() && teacher.model_answered() != teacher.model()) {
      origins->push_back({&teacher, teacher.model_answered(), true, prefix});
    }
  }

  void EvaluateOrigin(const Origin& origin) {
    if (!origin.teacher->has_provider()) {
      missing_.insert(origin.prefix + "provider");
      builtin_["teacher-unknown"] = {Effect::kReview, "nothing is decided without a provider"};
      return;
    }
    Applicability applies(packs_, facts_, origin);
    bool granted = false;  // some rule of terms or a licence matched
    for (size_t i = 0; i < packs_.packs().size(); ++i) {
      const v1::Pack& pack = packs_.packs()[i].pack();
      const Truth truth = applies.Of(i);
      if (truth == Truth::kFalse) continue;
      bool matched = false;
      if (truth == Truth::kUnknown) {
        Contribute(i, kAppliesTo, Effect::kReview);
        missing_.insert(applies.MissingOf(i).begin(), applies.MissingOf(i).end());
        matched = true;
      } else {
        for (int r = 0; r < pack.rules_size(); ++r) matched |= EvaluateRule(i, r, origin);
      }
      granted |= matched && (pack.kind() == v1::Pack::KIND_TERMS || pack.kind() == v1::Pack::KIND_LICENCE);
    }
    if (!granted)
      builtin_["nothing-matched"] = {Effect::kDeny, "no active terms or licence say anything about this use"};
  }

  bool EvaluateRule(size_t pack_index, int rule_index, const Origin& origin) {
    const LoadedPack& pack = packs_.packs()[pack_index];
    const v1::Rule& rule = pack.pack().rules(rule_index);
    const bool screened = facts_.has_screening() && !facts_.screening().finish_reason().empty();
    if (pack.ReadsScreening(rule_index) && !screened) return false;
    for (const std::string& authorisation : rule.unless_authorisation()) {
      const auto& held = facts_.authorisations();
      if (std::find(held.begin(), held.end(), authorisation) != held.end()) return false;
    }
    Missing missing;
    const Truth truth =
        rule.has_when() ? ConditionReader(facts_, origin, &missing).Read(rule.when()) : Truth::kTrue;
    if (truth == Truth::kFalse) return false;
    Effect effect = truth == Truth::kUnknown ? Effect::kReview : EffectOf(rule.effect());
    missing_.insert(missing.begin(), missing.end());
    if (pack.pack().confidence() == v1::Pack::CONFIDENCE_UNCONFIRMED)
      effect = std::max(effect, Effect::kReview);
    for (const std::string& id : rule.obligations()) {
      const auto& all = pack.pack().obligations();
      const auto it =
          std::find_if(all.begin(), all.end(), [&](const v1::Obligation& o) { return o.id() == id; });
      const Truth due = Due(it->trigger());
      if (due == Truth::kFalse) continue;
      if (due == Truth::kUnknown) effect = std::max(effect, Effect::kReview);
      obligations_.insert({pack_index, rule_index, static_cast<int>(it - all.begin())});
    }
    Contribute(pack_index, rule_index, effect);
    return true;
  }

  Truth Due(v1::Obligation::Trigger trigger) {
    const v1::StudentFacts& student = facts_.student();
    const Truth distributed = student.has_distributed() ? ToTruth(student.distributed()) : Truth::kUnknown;
    const Truth hosted = student.has_hosted() ? ToTruth(student.hosted()) : Truth::kUnknown;
    Truth due = Truth::kTrue;
    if (trigger == v1::Obligation::TRIGGER_ON_DISTRIBUTE_STUDENT) due = distributed;
    if (trigger == v1::Obligation::TRIGGER_ON_HOST_STUDENT) due = hosted;
    if (trigger == v1::Obligation::TRIGGER_ON_DISTRIBUTE_OR_HOST_STUDENT) due = Or(distributed, hosted);
    if (due == Truth::kUnknown) {
      if (distributed == Truth::kUnknown && trigger != v1::Obligation::TRIGGER_ON_HOST_STUDENT) {
        missing_.insert("student.distributed");
      }
      if (hosted == Truth::kUnknown && trigger != v1::Obligation::TRIGGER_ON_DISTRIBUTE_STUDENT) {
        missing_.insert("student.hosted");
      }
    }
    return due;
  }

  void Contribute(size_t pack_index, int rule_index, Effect effect) {
    const auto [it, inserted] = matches_.try_emplace({pack_index, rule_index}, effect);
    if (!inserted) it->second = std::max(it->second, effect);
  }

  Decision Collect() const {
    Decision decision;
    decision.effect = Effect::kAllow;  // something matched or a builtin rule says otherwise: EvaluateOrigin
                                       // ran at least once
    for (const auto& [key, effect] : matches_) {
      const v1::Pack& pack = packs_.packs()[key.first].pack();
      const bool whole = key.second == kAppliesTo;
      decision.rules.push_back({pack.id(), whole ? "applies_to" : pack.rules(key.second).id(), effect,
                                whole ? "applies_to" : pack.rules(key.second).clause()});
      decision.effect = std::max(decision.effect, effect);
    }
    for (const auto& [rule, said] : builtin_) {
      decision.rules.push_back({std::string(kBuiltinPack), rule, said.first, said.second});
      decision.effect = std::max(decision.effect, said.first);
    }
    if (decision.effect != Effect::kDeny) {
      for (const auto& [p, r, o] : obligations_) {
        const v1::Pack& pack = packs_.packs()[p].pack();
        const v1::Obligation& obligation = pack.obligations(o);
        decision.obligations.push_back(
            {pack.id(), pack.rules(r).id(), ShortName(v1::Obligation::Kind_Name(obligation.kind()), "KIND_"),
             ShortName(v1::Obligation::Trigger_Name(obligation.trigger()), "TRIGGER_"), obligation.text()});
      }
    }
    for (const LoadedPack& pack : packs_.packs()) {
      decision.packs.push_back({pack.pack().id(), pack.pack().version(), pack.sha256()});
    }
    decision.missing_inputs.assign(missing_.begin(), missing_.end());
    return decision;
  }

  static constexpr int kAppliesTo = -1;  // stands before the rules of its pack

  const PackSet& packs_;
  const v1::Facts& facts_;
  std::map<std::pair<size_t, int>, Effect> matches_;
  std::set<std::tuple<size_t, int, int>> obligations_;
  std::map<std::string, std::pair<Effect, std::string>> builtin_;
  std::set<std::string> missing_;
};

}  // namespace

std::string_view EffectName(Effect effect) {
  return effect == Effect::kAllow ? "allow" : effect == Effect::kReview ? "review" : "deny";
}

Decision Evaluate(const PackSet& packs, const v1::Facts& facts) {
  return Evaluation(packs, facts).Run();
}

}  // namespace retort::policy
