// The evaluator itself, on small packs made for each question; tests/policy/vectors.yaml has the shipped
// ones.
#include "policy/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/strict_yaml.h"

namespace retort::policy {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A pack for provider acme unless `applies` says otherwise; rules as flow mappings.
std::string Pack(const std::string& id, const std::string& kind, const std::string& rules,
                 const std::string& applies = "applies_to: [{ provider: acme }]\n") {
  return "id: " + id + "\nversion: \"1\"\ntitle: t\nkind: " + kind +
         "\nconfidence: read\nsource_url: https://a.example\ndocument_date: 2026-01-01\neffective_from: "
         "2020-01-01\n" +
         applies + "rules: [" + rules + "]\n";
}

std::string Rule(const std::string& id, const std::string& effect, const std::string& rest = "") {
  return "{ id: " + id + ", clause: c-" + id + ", summary: s, effect: " + effect + rest + " }";
}

PackSet Packs(const std::vector<std::string>& yamls) {
  std::vector<std::pair<std::string, std::string>> packs;
  for (size_t i = 0; i < yamls.size(); ++i) packs.emplace_back(std::to_string(i), yamls[i]);
  auto set = PackSet::FromPacks(std::move(packs));
  EXPECT_TRUE(set.ok()) << set.status();
  return set.ok() ? *std::move(set) : PackSet();
}

v1::Facts Facts(const std::string& yaml) {
  v1::Facts facts;
  const absl::Status status = LoadYaml(yaml, "facts", &facts);
  EXPECT_TRUE(status.ok()) << status;
  return facts;
}

constexpr char kTimes[] = "\ngenerated_time: 2026-01-01\ndecided_time: 2026-01-02\n";
v1::Facts Acme(const std::string& more = "") {
  return Facts(std::string("teacher: { provider: acme }") + kTimes + more);
}

std::vector<std::string> Said(const Decision& d) {
  std::vector<std::string> out;
  for (const RuleMatch& r : d.rules)
    out.push_back(std::string(EffectName(r.effect)) + " " + r.pack + "/" + r.rule);
  return out;
}

TEST(EvaluateTest, NoPacksDeny) {
  const Decision d = Evaluate(PackSet(), Acme());
  EXPECT_EQ(d.effect, Effect::kDeny);
  EXPECT_THAT(Said(d), ElementsAre("deny retort.builtin/nothing-matched"));
  EXPECT_THAT(d.packs, IsEmpty());
}

TEST(EvaluateTest, EmptyFactsReview) {
  const Decision d = Evaluate(Packs({Pack("a", "terms", Rule("r", "allow"))}), v1::Facts());
  EXPECT_EQ(d.effect, Effect::kReview);
  EXPECT_THAT(d.missing_inputs, ElementsAre("teacher.provider"));
}

TEST(EvaluateTest, DenyBeatsReviewBeatsAllow) {
  EXPECT_EQ(Evaluate(Packs({Pack("a", "terms", Rule("r", "allow"))}), Acme()).effect, Effect::kAllow);
  EXPECT_EQ(
      Evaluate(Packs({Pack("a", "terms", Rule("r", "allow") + ", " + Rule("s", "review"))}), Acme()).effect,
      Effect::kReview);
  EXPECT_EQ(
      Evaluate(Packs({Pack("a", "terms",
                           Rule("r", "deny") + ", " + Rule("s", "review") + ", " + Rule("t", "allow"))}),
               Acme())
          .effect,
      Effect::kDeny);
}

TEST(EvaluateTest, NamesRulesClausesAndPacks) {
  const PackSet packs = Packs({Pack("b", "terms", Rule("r", "allow")),
                               Pack("a", "terms", Rule("q", "allow") + ", " + Rule("p", "review"))});
  const Decision d = Evaluate(packs, Acme());
  EXPECT_THAT(Said(d), ElementsAre("allow a/q", "review a/p", "allow b/r"));
  EXPECT_EQ(d.rules[0].clause, "c-q");
  ASSERT_EQ(d.packs.size(), 2u);
  EXPECT_EQ(d.packs[0].id, "a");
  EXPECT_EQ(d.packs[0].version, "1");
  EXPECT_EQ(d.packs[0].sha256, packs.packs()[0].sha256());
}

TEST(EvaluateTest, IsTheSameEveryTime) {
  const PackSet packs = Packs({Pack("a", "terms", Rule("q", "allow"))});
  const Decision first = Evaluate(packs, Acme()), second = Evaluate(packs, Acme());
  EXPECT_EQ(first.rules, second.rules);
  EXPECT_EQ(first.packs, second.packs);
}

// Facts and the value that each condition must have under them: t true, f false, u unknown.
TEST(EvaluateTest, ConditionsHaveThreeValues) {
  const std::string t = "{ fact: student.sold, equals: true }", f = "{ fact: student.sold, equals: false }",
                    u = "{ fact: student.hosted, equals: true }";
  const struct {
    std::string when;
    char value;
  } cases[] = {
      {t, 't'},
      {f, 'f'},
      {u, 'u'},
      {"{ not: " + t + " }", 'f'},
      {"{ not: " + f + " }", 't'},
      {"{ not: " + u + " }", 'u'},
      {"{ all: [" + t + ", " + t + "] }", 't'},
      {"{ all: [" + t + ", " + u + "] }", 'u'},
      {"{ all: [" + u + ", " + f + "] }", 'f'},
      {"{ all: [" + f + ", " + u + "] }", 'f'},
      {"{ any: [" + f + ", " + u + "] }", 'u'},
      {"{ any: [" + u + ", " + t + "] }", 't'},
      {"{ any: [" + f + ", " + f + "] }", 'f'},
      {"{ not: { all: [" + u + ", " + f + "] } }", 't'},
      {"{ any: [{ all: [" + u + ", " + f + "] }, " + f + "] }", 'f'},
      {"{ fact: student.hosted, present: true }", 'f'},
      {"{ fact: student.hosted, present: false }", 't'},
      {"{ fact: student.sold, present: true }", 't'},
      {"{ fact: student.use, equals: commercial }", 't'},
      {"{ fact: student.use, equals: Commercial }", 'f'},
      {"{ fact: student.use, one_of: [a, commercial] }", 't'},
      {"{ fact: student.use, one_of: [a] }", 'f'},
      {"{ fact: student.use, matches: \"COMM*\" }", 't'},
      {"{ fact: student.use, matches: comm }", 'f'},
      {"{ fact: student.monthly_active_users, at_least: 10 }", 't'},
      {"{ fact: student.monthly_active_users, at_least: 11 }", 'f'},
      {"{ fact: student.monthly_active_users, at_most: 10 }", 't'},
      {"{ fact: student.monthly_active_users, at_most: 9 }", 'f'},
      {"{ fact: generated_time, before: 2026-01-01 }", 'f'},
      {"{ fact: generated_time, before: 2026-01-01T00:00:00.000001Z }", 't'},
      {"{ fact: generated_time, not_before: 2026-01-01 }", 't'},
      {"{ fact: decided_time, not_before: 2026-01-03 }", 'f'},
      {"{ fact: student.competition.providers, contains: x }", 't'},
      {"{ fact: student.competition.providers, contains: y }", 'f'},
      {"{ fact: authorisations, contains: y }", 'f'},
      {"{ fact: teacher.model, equals: m }", 'u'},
      {"{ fact: teacher.acquired_time, before: 2026-01-01 }", 'u'},
  };
  const v1::Facts facts = Acme(
      "student: { sold: true, use: commercial, monthly_active_users: 10, competition: { declared_by: me, "
      "providers: [x] } }");
  for (const auto& c : cases) {
    const Decision d = Evaluate(
        Packs({Pack("a", "terms", Rule("base", "allow") + ", " + Rule("r", "deny", ", when: " + c.when))}),
        facts);
    const char value = d.effect == Effect::kDeny ? 't' : d.effect == Effect::kReview ? 'u' : 'f';
    EXPECT_EQ(value, c.value) << c.when;
    EXPECT_EQ(d.missing_inputs.empty(), c.value != 'u') << c.when;
  }
}

TEST(EvaluateTest, MissingFactsAreSortedAndDistinct) {
  const std::string u = "{ fact: student.hosted, equals: true }", v = "{ fact: prompt_licence, equals: own }";
  const Decision d = Evaluate(
      Packs({Pack("a", "terms", Rule("r", "allow", ", when: { all: [" + u + ", " + v + ", " + u + "] }"))}),
      Acme());
  EXPECT_EQ(d.effect, Effect::kReview);
  EXPECT_THAT(Said(d), ElementsAre("review a/r"));
  EXPECT_THAT(d.missing_inputs, ElementsAre("prompt_licence", "student.hosted"));
}

TEST(EvaluateTest, DefiniteDenyBeatsMissingFacts) {
  const Decision d =
      Evaluate(Packs({Pack("a", "terms",
                           Rule("r", "deny") + ", " +
                               Rule("s", "allow", ", when: { fact: student.sold, equals: true }"))}),
               Acme());
  EXPECT_EQ(d.effect, Effect::kDeny);
  EXPECT_THAT(d.missing_inputs, ElementsAre("student.sold"));
}

TEST(EvaluateTest, UnconfirmedPacksNeverAllow) {
  const std::string pack =
      "id: a\nversion: \"1\"\ntitle: t\nkind: terms\nconfidence: unconfirmed\nsource_url: https://a.example\n"
      "document_date: 2026-01-01\neffective_from: 2020-01-01\napplies_to: [{ provider: acme }]\nrules: [";
  EXPECT_EQ(Evaluate(Packs({pack + Rule("r", "allow") + "]\n"}), Acme()).effect, Effect::kReview);
  EXPECT_EQ(Evaluate(Packs({pack + Rule("r", "deny") + "]\n"}), Acme()).effect, Effect::kDeny);
}

TEST(EvaluateTest, AuthorisationTurnsARuleOff) {
  const PackSet packs = Packs(
      {Pack("a", "terms", Rule("r", "deny", ", unless_authorisation: [p, q]") + ", " + Rule("s", "allow"))});
  EXPECT_EQ(Evaluate(packs, Acme()).effect, Effect::kDeny);
  EXPECT_EQ(Evaluate(packs, Acme("authorisations: [x]")).effect, Effect::kDeny);
  EXPECT_THAT(Said(Evaluate(packs, Acme("authorisations: [x, q]"))), ElementsAre("allow a/s"));
}

TEST(EvaluateTest, CompanyAndUsagePoliciesNeverGrant) {
  const std::string company = Pack("c", "company", Rule("r", "allow"), "");
  const Decision d = Evaluate(Packs({company}), Acme());
  EXPECT_EQ(d.effect, Effect::kDeny);
  EXPECT_THAT(Said(d), ElementsAre("allow c/r", "deny retort.builtin/nothing-matched"));
  EXPECT_EQ(Evaluate(Packs({Pack("u", "usage_policy", Rule("r", "allow"))}), Acme()).effect, Effect::kDeny);
  EXPECT_EQ(Evaluate(Packs({company, Pack("a", "terms", Rule("r", "allow"))}), Acme()).effect,
            Effect::kAllow);
}

TEST(EvaluateTest, TermsWithoutAMatchingRuleDeny) {
  const Decision d = Evaluate(
      Packs({Pack("a", "terms", Rule("r", "allow", ", when: { fact: student.sold, equals: true }"))}),
      Acme("student: { sold: false }"));
  EXPECT_THAT(Said(d), ElementsAre("deny retort.builtin/nothing-matched"));
}

TEST(EvaluateTest, UsagePoliciesComeWithTheirIncorporators) {
  const std::string terms =
      Pack("a", "terms", Rule("r", "allow"), "incorporates: [u]\napplies_to: [{ provider: acme }]\n");
  const std::string usage = Pack("u", "usage_policy", Rule("s", "review"), "incorporates: [v]\n");
  const std::string deeper = Pack("v", "usage_policy", Rule("t", "deny"), "");
  EXPECT_THAT(Said(Evaluate(Packs({terms, usage, deeper}), Acme())),
              ElementsAre("allow a/r", "review u/s", "deny v/t"));
  const std::string other = Pack("b", "terms", Rule("r", "allow"), "applies_to: [{ provider: other }]\n");
  EXPECT_THAT(Said(Evaluate(Packs({terms, usage, deeper, other}),
                            Facts(std::string("teacher: { provider: other }") + kTimes))),
              ElementsAre("allow b/r"));
}

TEST(EvaluateTest, SelectorsMatchEveryMember) {
  const auto effect = [](const std::string& selector, const std::string& teacher) {
    const PackSet packs = Packs(
        {Pack("a", "terms", Rule("r", "allow"), "applies_to: [{ provider: acme, " + selector + " }]\n")});
    return Evaluate(packs, Facts("teacher: { provider: acme, " + teacher + " }" + kTimes)).effect;
  };
  EXPECT_EQ(effect("channels: [open_weights]", "channel: open_weights"), Effect::kAllow);
  EXPECT_EQ(effect("channels: [open_weights]", "channel: first_party_api"), Effect::kDeny);
  EXPECT_EQ(effect("channels: [open_weights]", "model: x"), Effect::kReview);
  EXPECT_EQ(effect("account_classes: [\"\"]", "account_class: \"\""), Effect::kAllow);
  EXPECT_EQ(effect("account_classes: [api]", "account_class: \"\""), Effect::kDeny);
  EXPECT_EQ(effect("account_classes: [api]", "model: x"), Effect::kReview);
  EXPECT_EQ(effect("models: [\"b*\", \"c*\"]", "model: CD"), Effect::kAllow);
  EXPECT_EQ(effect("models: [\"b*\"]", "model: x"), Effect::kDeny);
  EXPECT_EQ(effect("models: [\"b*\"]", "channel: open_weights"), Effect::kReview);
  EXPECT_EQ(effect("except_models: [\"b*\"]", "model: bc"), Effect::kDeny);
  EXPECT_EQ(effect("except_models: [\"b*\"]", "model: cb"), Effect::kAllow);
  EXPECT_EQ(effect("acquired_from: 2025-01-08", "acquired_time: 2025-01-08"), Effect::kAllow);
  EXPECT_EQ(effect("acquired_from: 2025-01-08", "acquired_time: 2025-01-07T23:59:59Z"), Effect::kDeny);
  EXPECT_EQ(effect("acquired_before: 2025-01-08", "acquired_time: 2025-01-08"), Effect::kDeny);
  EXPECT_EQ(effect("acquired_before: 2025-01-08", "model: x"), Effect::kReview);
  EXPECT_EQ(effect("channels: [open_weights], acquired_before: 2025-01-08", "channel: first_party_api"),
            Effect::kDeny);
}

TEST(EvaluateTest, UnknownApplicabilityIsNamed) {
  const Decision d = Evaluate(Packs({Pack("a", "terms", Rule("r", "allow"),
                                          "applies_to: [{ provider: acme, channels: [open_weights] }]\n")}),
                              Acme());
  EXPECT_THAT(Said(d), ElementsAre("review a/applies_to"));
  EXPECT_THAT(d.missing_inputs, ElementsAre("teacher.channel"));
}

TEST(EvaluateTest, ClocksPickVersions) {
  const auto effect = [](const std::string& clock, const std::string& times) {
    const std::string pack =
        "id: a\nversion: \"1\"\ntitle: t\nkind: terms\nconfidence: read\nsource_url: "
        "https://a.example\nclock: " +
        clock +
        "\ndocument_date: 2026-01-01\neffective_from: 2026-01-01\neffective_to: 2026-02-01\napplies_to: [{ "
        "provider: acme }]\n"
        "rules: [" +
        Rule("r", "allow") + "]\n";
    return Evaluate(Packs({pack}), Facts("teacher: { provider: acme }\n" + times)).effect;
  };
  EXPECT_EQ(effect("pinned", "generated_time: 2026-01-01\ndecided_time: 2030-01-01"), Effect::kAllow);
  EXPECT_EQ(effect("pinned", "generated_time: 2026-02-01\ndecided_time: 2026-01-15"), Effect::kDeny);
  EXPECT_EQ(effect("pinned", "generated_time: 2025-12-31T23:59:59.999999Z\ndecided_time: 2026-01-15"),
            Effect::kDeny);
  EXPECT_EQ(effect("dynamic", "generated_time: 2020-01-01\ndecided_time: 2026-01-31"), Effect::kAllow);
  EXPECT_EQ(effect("dynamic", "generated_time: 2026-01-15\ndecided_time: 2026-02-01"), Effect::kDeny);
  EXPECT_EQ(effect("pinned", "decided_time: 2026-01-15"), Effect::kReview);
  EXPECT_EQ(effect("dynamic", "generated_time: 2026-01-15"), Effect::kReview);
}

TEST(EvaluateTest, LineageStacksTheStrictest) {
  const PackSet packs =
      Packs({Pack("a", "terms", Rule("r", "allow")),
             Pack("b", "terms",
                  Rule("r", "review", ", when: { fact: teacher.model, equals: m }") + ", " +
                      Rule("s", "allow", ", when: { not: { fact: teacher.model, equals: m } }"),
                  "applies_to: [{ provider: other }]\n")});
  EXPECT_EQ(Evaluate(packs, Acme("lineage: [{ provider: other, model: x }]")).effect, Effect::kAllow);
  EXPECT_EQ(Evaluate(packs, Acme("lineage: [{ provider: other, model: m }]")).effect, Effect::kReview);
  EXPECT_EQ(Evaluate(packs, Acme("lineage: [{ provider: third }]")).effect, Effect::kDeny);
  EXPECT_THAT(
      Evaluate(packs, Acme("lineage: [{ provider: other, model: x }, { provider: other }]")).missing_inputs,
      ElementsAre("lineage[1].model"));
}

TEST(EvaluateTest, LineageTooLongDenies) {
  v1::Facts facts = Acme();
  for (int i = 0; i < 17; ++i) facts.add_lineage()->set_provider("acme");
  const Decision d = Evaluate(Packs({Pack("a", "terms", Rule("r", "allow"))}), facts);
  EXPECT_THAT(Said(d), ElementsAre("allow a/r", "deny retort.builtin/lineage-too-long"));
}

TEST(EvaluateTest, ModelThatAnsweredCountsToo) {
  const PackSet packs = Packs(
      {Pack("a", "terms", Rule("r", "allow"), "applies_to: [{ provider: acme, models: [\"good*\"] }]\n")});
  EXPECT_EQ(
      Evaluate(
          packs,
          Facts(std::string("teacher: { provider: acme, model: good, model_answered: good-2026 }") + kTimes))
          .effect,
      Effect::kAllow);
  EXPECT_EQ(
      Evaluate(packs,
               Facts(std::string("teacher: { provider: acme, model: good, model_answered: other }") + kTimes))
          .effect,
      Effect::kDeny);
}

TEST(EvaluateTest, ObligationsAreDueByTheFacts) {
  const auto decide = [](const std::string& trigger, const std::string& student) {
    const PackSet packs =
        Packs({Pack("a", "terms", Rule("r", "allow", ", obligations: [o]")) +
               "obligations: [{ id: o, kind: name_prefix, trigger: " + trigger + ", text: T }]\n"});
    return Evaluate(packs, Acme("student: " + student));
  };
  EXPECT_THAT(decide("on_distribute_student", "{ distributed: false }").obligations, IsEmpty());
  EXPECT_THAT(decide("on_distribute_student", "{ distributed: true }").obligations,
              ElementsAre(Obligation{"a", "r", "name_prefix", "on_distribute_student", "T"}));
  EXPECT_EQ(decide("on_distribute_student", "{}").effect, Effect::kReview);
  EXPECT_THAT(decide("on_distribute_student", "{}").missing_inputs, ElementsAre("student.distributed"));
  EXPECT_THAT(decide("on_host_student", "{ hosted: false }").obligations, IsEmpty());
  EXPECT_THAT(decide("on_host_student", "{}").missing_inputs, ElementsAre("student.hosted"));
  EXPECT_EQ(decide("on_distribute_or_host_student", "{ hosted: true }").effect, Effect::kAllow);
  EXPECT_EQ(decide("on_distribute_or_host_student", "{ hosted: true }").obligations.size(), 1u);
  EXPECT_THAT(decide("on_distribute_or_host_student", "{ hosted: false }").missing_inputs,
              ElementsAre("student.distributed"));
  EXPECT_EQ(decide("on_train", "{}").obligations.size(), 1u);
  EXPECT_EQ(decide("on_publish_output", "{}").obligations.size(), 1u);
  EXPECT_EQ(decide("on_public_statement", "{}").effect, Effect::kAllow);
}

TEST(EvaluateTest, DenyCarriesNoObligations) {
  const PackSet packs =
      Packs({Pack("a", "terms", Rule("r", "allow", ", obligations: [o]") + ", " + Rule("s", "deny")) +
             "obligations: [{ id: o, kind: name_prefix, trigger: on_train, text: T }]\n"});
  EXPECT_THAT(Evaluate(packs, Acme()).obligations, IsEmpty());
}

TEST(EvaluateTest, ScreeningRulesWaitForText) {
  const PackSet packs = Packs(
      {Pack("a", "terms", Rule("r", "allow")),
       Pack("c", "company", Rule("s", "deny", ", when: { fact: screening.secrets, at_least: 1 }"), "")});
  EXPECT_EQ(Evaluate(packs, Acme()).effect, Effect::kAllow);  // preflight
  EXPECT_EQ(Evaluate(packs, Acme("screening: { finish_reason: stop }")).effect, Effect::kAllow);
  EXPECT_EQ(Evaluate(packs, Acme("screening: { finish_reason: stop, findings: { api_key: 1 } }")).effect,
            Effect::kDeny);
  const Decision incomplete = Evaluate(packs, Acme("screening: {}"));
  EXPECT_EQ(incomplete.effect, Effect::kReview);
  EXPECT_THAT(Said(incomplete), ElementsAre("allow a/r", "review retort.builtin/screening-incomplete"));
  EXPECT_THAT(incomplete.missing_inputs, ElementsAre("screening"));
}

}  // namespace
}  // namespace retort::policy
