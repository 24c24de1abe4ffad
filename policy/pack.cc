#include "policy/pack.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <system_error>

#include "absl/status/status.h"
#include "ledger/digest.h"
#include "ledger/hex.h"
#include "policy/facts.h"
#include "proto/strict_yaml.h"

namespace retort::policy {
namespace {

constexpr int kConditionDepthMax = 16;
constexpr size_t kPacksMax = 1000;

bool IsLowerOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

// [a-z0-9]+([<separators>][a-z0-9]+)*, at most 96 bytes.
bool IsId(std::string_view id, std::string_view separators) {
  if (id.empty() || id.size() > 96 || !IsLowerOrDigit(id.front()) || !IsLowerOrDigit(id.back())) return false;
  for (size_t i = 0; i < id.size(); ++i) {
    if (IsLowerOrDigit(id[i])) continue;
    if (separators.find(id[i]) == separators.npos || !IsLowerOrDigit(id[i - 1])) return false;
  }
  return true;
}

bool IsDate(std::string_view text) {
  return text.size() == 10 && ParseTime(std::string(text) + "T00:00:00.000000Z").ok();
}

// Checks one pack. Every error names the pack's file and the path of the member.
class Validator {
 public:
  Validator(const std::string& name, const v1::Pack& pack) : name_(name), pack_(pack) {}

  absl::Status Validate() {
    if (!IsId(pack_.id(), ".-") || pack_.id() == kBuiltinPack) {
      return Wrong("id", Seen(pack_.id()), "[a-z0-9]+([.-][a-z0-9]+)*, not retort.builtin");
    }
    if (pack_.version().empty()) return Wrong("version", "nothing", "a version such as \"1\"");
    if (pack_.title().empty()) return Wrong("title", "nothing", "one line for people");
    if (pack_.kind() == v1::Pack::KIND_UNSPECIFIED)
      return Wrong("kind", "nothing", "terms, licence, usage_policy or company");
    if (pack_.confidence() == v1::Pack::CONFIDENCE_UNSPECIFIED) {
      return Wrong("confidence", "nothing", "read, secondary or unconfirmed");
    }
    const bool is_url =
        pack_.source_url().starts_with("https://") || pack_.source_url().starts_with("http://");
    if (!is_url && !(pack_.kind() == v1::Pack::KIND_COMPANY && pack_.source_url().empty())) {
      return Wrong("source_url", Seen(pack_.source_url()), "where the terms are published (https://…)");
    }
    if (!IsDate(pack_.document_date()))
      return Wrong("document_date", Seen(pack_.document_date()), "a date such as 2026-01-01");
    if (!pack_.has_effective_from()) return Wrong("effective_from", "nothing", "a time");
    if (auto s = ValidateSpan("effective_to", pack_.has_effective_to(), pack_.effective_from(),
                              pack_.effective_to());
        !s.ok()) {
      return s;
    }
    if (auto s = ValidateSelectors(); !s.ok()) return s;
    if (auto s = ValidateObligations(); !s.ok()) return s;
    if (auto s = ValidateRules(); !s.ok()) return s;
    for (const std::string& id : obligations_) {
      if (!used_obligations_.contains(id))
        return Wrong("obligations", Seen(id) + ", which no rule names", "a rule that names it");
    }
    return absl::OkStatus();
  }

 private:
  static std::string Seen(std::string_view text) { return "\"" + std::string(text.substr(0, 64)) + "\""; }

  absl::Status Wrong(const std::string& path, const std::string& seen, const std::string& wanted) const {
    return absl::InvalidArgumentError(name_ + ": " + path + ": saw " + seen + ", wanted " + wanted);
  }

  absl::Status ValidateSpan(const std::string& path, bool ends, const google::protobuf::Timestamp& from,
                            const google::protobuf::Timestamp& to) const {
    const auto key = [](const google::protobuf::Timestamp& t) { return std::pair(t.seconds(), t.nanos()); };
    if (!ends || key(from) < key(to)) return absl::OkStatus();
    return Wrong(path, FormatTime(to), "a time after " + FormatTime(from));
  }

  absl::Status ValidateSelectors() const {
    const bool grants = pack_.kind() == v1::Pack::KIND_TERMS || pack_.kind() == v1::Pack::KIND_LICENCE;
    if (grants && pack_.applies_to().empty()) return Wrong("applies_to", "nothing", "at least one selector");
    for (int i = 0; i < pack_.applies_to_size(); ++i) {
      const v1::Selector& selector = pack_.applies_to(i);
      const std::string path = "applies_to[" + std::to_string(i) + "]";
      if (selector.provider().empty())
        return Wrong(path + ".provider", "nothing", "a provider such as openai");
      static const std::set<std::string> kChannels = {"consumer_app", "first_party_api", "cloud_marketplace",
                                                      "managed_distillation", "open_weights"};
      for (const std::string& channel : selector.channels()) {
        if (!kChannels.contains(channel)) {
          return Wrong(
              path + ".channels", Seen(channel),
              "consumer_app, first_party_api, cloud_marketplace, managed_distillation or open_weights");
        }
      }
      for (const auto* globs : {&selector.models(), &selector.except_models()}) {
        for (const std::string& glob : *globs) {
          if (glob.empty()) return Wrong(path + ".models", "an empty glob", "a glob such as gpt-*");
        }
      }
      if (auto s = ValidateSpan(path + ".acquired_before",
                                selector.has_acquired_from() && selector.has_acquired_before(),
                                selector.acquired_from(), selector.acquired_before());
          !s.ok()) {
        return s;
      }
    }
    return absl::OkStatus();
  }

  absl::Status ValidateObligations() {
    for (int i = 0; i < pack_.obligations_size(); ++i) {
      const v1::Obligation& obligation = pack_.obligations(i);
      const std::string path = "obligations[" + std::to_string(i) + "]";
      if (!IsId(obligation.id(), "-"))
        return Wrong(path + ".id", Seen(obligation.id()), "[a-z0-9]+(-[a-z0-9]+)*");
      if (!obligations_.insert(obligation.id()).second)
        return Wrong(path + ".id", Seen(obligation.id()) + " again", "an id once");
      if (obligation.kind() == v1::Obligation::KIND_UNSPECIFIED)
        return Wrong(path + ".kind", "nothing", "a kind");
      if (obligation.trigger() == v1::Obligation::TRIGGER_UNSPECIFIED)
        return Wrong(path + ".trigger", "nothing", "a trigger");
      if (obligation.text().empty()) return Wrong(path + ".text", "nothing", "what to show or hand on");
    }
    return absl::OkStatus();
  }

  absl::Status ValidateRules() {
    if (pack_.rules().empty()) return Wrong("rules", "nothing", "at least one rule");
    std::set<std::string> ids;
    for (int i = 0; i < pack_.rules_size(); ++i) {
      const v1::Rule& rule = pack_.rules(i);
      const std::string path = "rules[" + std::to_string(i) + "]";
      if (!IsId(rule.id(), "-")) return Wrong(path + ".id", Seen(rule.id()), "[a-z0-9]+(-[a-z0-9]+)*");
      if (!ids.insert(rule.id()).second) return Wrong(path + ".id", Seen(rule.id()) + " again", "an id once");
      if (rule.clause().empty()) return Wrong(path + ".clause", "nothing", "where the document says so");
      if (rule.summary().empty()) return Wrong(path + ".summary", "nothing", "the clause in your own words");
      if (rule.effect() == v1::Rule::EFFECT_UNSPECIFIED)
        return Wrong(path + ".effect", "nothing", "allow, review or deny");
      if (rule.effect() == v1::Rule::EFFECT_ALLOW && !rule.unless_authorisation().empty()) {
        return Wrong(path + ".unless_authorisation", "an allow rule", "a deny or review rule");
      }
      if (rule.effect() == v1::Rule::EFFECT_DENY && !rule.obligations().empty()) {
        return Wrong(path + ".obligations", "a deny rule", "an allow or review rule");
      }
      for (const std::string& id : rule.obligations()) {
        if (!obligations_.contains(id))
          return Wrong(path + ".obligations", Seen(id), "an obligation of this pack");
        used_obligations_.insert(id);
      }
      if (!rule.has_when()) continue;
      if (auto s = ValidateCondition(rule.when(), path + ".when", 1); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  absl::Status ValidateCondition(const v1::Condition& condition, const std::string& path, int depth) const {
    if (depth > kConditionDepthMax) {
      return Wrong(path, "deeper nesting", "at most " + std::to_string(kConditionDepthMax) + " levels");
    }
    const int forms = !condition.all().empty() + !condition.any().empty() + condition.has_not_() +
                      !condition.fact().empty();
    if (forms != 1)
      return Wrong(path, std::to_string(forms) + " of them", "exactly one of all, any, not and fact");
    const int tests = condition.has_equals() + !condition.one_of().empty() + condition.has_matches() +
                      condition.has_contains() + condition.has_at_least() + condition.has_at_most() +
                      condition.has_before() + condition.has_not_before() + condition.has_present();
    if (tests != (condition.fact().empty() ? 0 : 1)) {
      return Wrong(path, std::to_string(tests) + " tests",
                   condition.fact().empty() ? "none beside all, any or not" : "exactly one");
    }
    if (!condition.fact().empty()) return ValidateTest(condition, path);
    if (condition.has_not_()) return ValidateCondition(condition.not_(), path + ".not", depth + 1);
    const auto& members = condition.all().empty() ? condition.any() : condition.all();
    for (int i = 0; i < members.size(); ++i) {
      const std::string member =
          path + (condition.all().empty() ? ".any[" : ".all[") + std::to_string(i) + "]";
      if (auto s = ValidateCondition(members[i], member, depth + 1); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  absl::Status ValidateTest(const v1::Condition& test, const std::string& path) const {
    const FactType* type = FindFactType(test.fact());
    if (type == nullptr) return Wrong(path + ".fact", Seen(test.fact()), "a fact of docs/formats/policy.md");
    if (test.has_present()) return absl::OkStatus();
    switch (*type) {
      case FactType::kText:
        if (test.has_equals() || !test.one_of().empty() || test.has_matches()) return absl::OkStatus();
        return Wrong(path, "another test of a text", "equals, one_of, matches or present");
      case FactType::kBool:
        if (test.has_equals() && (test.equals() == "true" || test.equals() == "false"))
          return absl::OkStatus();
        return Wrong(path, "another test of true or false", "equals: true, equals: false or present");
      case FactType::kInteger:
        if (test.has_at_least() || test.has_at_most()) return absl::OkStatus();
        return Wrong(path, "another test of an integer", "at_least, at_most or present");
      case FactType::kTime:
        if (test.has_before() || test.has_not_before()) return absl::OkStatus();
        return Wrong(path, "another test of a time", "before, not_before or present");
      case FactType::kTextList:
        if (test.has_contains()) return absl::OkStatus();
        return Wrong(path, "another test of a list", "contains or present");
    }
    return absl::OkStatus();
  }

  const std::string& name_;
  const v1::Pack& pack_;
  std::set<std::string> obligations_, used_obligations_;
};

bool ConditionReadsScreening(const v1::Condition& condition) {
  if (condition.fact().starts_with("screening.")) return true;
  if (condition.has_not_() && ConditionReadsScreening(condition.not_())) return true;
  return std::any_of(condition.all().begin(), condition.all().end(), ConditionReadsScreening) ||
         std::any_of(condition.any().begin(), condition.any().end(), ConditionReadsScreening);
}

}  // namespace

absl::StatusOr<LoadedPack> LoadedPack::Parse(const std::string& name, std::string bytes) {
  auto pack = std::make_shared<v1::Pack>();
  if (auto s = LoadYaml(bytes, name, pack.get()); !s.ok()) return s;
  if (auto s = Validator(name, *pack).Validate(); !s.ok()) return s;
  LoadedPack loaded;
  for (const v1::Rule& rule : pack->rules()) {
    loaded.reads_screening_.push_back(rule.has_when() && ConditionReadsScreening(rule.when()));
  }
  loaded.sha256_ = ledger::HexEncode(ledger::Sha256(bytes));
  loaded.bytes_ = std::make_shared<const std::string>(std::move(bytes));
  loaded.pack_ = std::move(pack);
  return loaded;
}

std::string_view LoadedPack::confidence() const {
  switch (pack_->confidence()) {
    case v1::Pack::CONFIDENCE_READ:
      return "read";
    case v1::Pack::CONFIDENCE_SECONDARY:
      return "secondary";
    default:
      return "unconfirmed";
  }
}

absl::StatusOr<PackSet> PackSet::LoadFolder(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error))
    return absl::NotFoundError(path + ": saw no folder, wanted the packs");
  std::vector<std::pair<std::string, std::string>> packs;
  std::filesystem::directory_iterator it(path, error);
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    if (it->path().extension() != ".yaml") continue;
    const std::string name = it->path().string();
    if (packs.size() == kPacksMax)
      return absl::InvalidArgumentError(path + ": saw more than 1000 packs, wanted fewer");
    std::ifstream file(name, std::ios::binary);
    std::string bytes(kYamlSizeMax + 1, '\0');
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file.eof() && file.fail()) return absl::UnavailableError(name + ": cannot be read");
    bytes.resize(static_cast<size_t>(file.gcount()));  // one byte too many is refused as too large below
    packs.emplace_back(name, std::move(bytes));
  }
  if (error) return absl::UnavailableError(path + ": cannot be listed: " + error.message());
  if (packs.empty())
    return absl::FailedPreconditionError(path + ": saw no *.yaml file, wanted at least one pack");
  return FromPacks(std::move(packs));
}

absl::StatusOr<PackSet> PackSet::FromPacks(std::vector<std::pair<std::string, std::string>> packs) {
  PackSet set;
  std::sort(packs.begin(), packs.end());  // so that the same error comes first on every machine
  for (auto& [name, bytes] : packs) {
    auto pack = LoadedPack::Parse(name, std::move(bytes));
    if (!pack.ok()) return pack.status();
    set.packs_.push_back(*std::move(pack));
  }
  const auto id = [&](size_t i) -> const std::string& { return set.packs_[i].pack().id(); };
  std::sort(set.packs_.begin(), set.packs_.end(),
            [](const LoadedPack& a, const LoadedPack& b) { return a.pack().id() < b.pack().id(); });
  set.incorporated_by_.resize(set.packs_.size());
  for (size_t i = 0; i < set.packs_.size(); ++i) {
    if (i > 0 && id(i) == id(i - 1))
      return absl::InvalidArgumentError("packs: saw two with the id " + id(i) + ", wanted one");
    for (const std::string& other : set.packs_[i].pack().incorporates()) {
      const LoadedPack* found = set.Find(other);
      if (found == nullptr || found->pack().kind() != v1::Pack::KIND_USAGE_POLICY) {
        return absl::InvalidArgumentError(id(i) + ": incorporates: saw \"" + other.substr(0, 64) +
                                          "\", wanted the id of an active usage policy");
      }
      set.incorporated_by_[static_cast<size_t>(found - set.packs_.data())].push_back(i);
    }
  }
  // Depth-first from every pack over those that incorporate it: meeting a pack that is still open is a cycle.
  std::vector<char> state(set.packs_.size(), 0);  // 0 new, 1 open, 2 done
  const std::function<bool(size_t)> has_cycle = [&](size_t i) {
    if (state[i] != 0) return state[i] == 1;
    state[i] = 1;
    for (const size_t other : set.incorporated_by_[i]) {
      if (has_cycle(other)) return true;
    }
    state[i] = 2;
    return false;
  };
  for (size_t i = 0; i < set.packs_.size(); ++i) {
    if (has_cycle(i))
      return absl::InvalidArgumentError(id(i) + ": incorporates: saw itself through others, wanted no cycle");
  }
  return set;
}

const LoadedPack* PackSet::Find(std::string_view id) const {
  const auto it = std::lower_bound(
      packs_.begin(), packs_.end(), id,
      [](const LoadedPack& pack, std::string_view wanted) { return pack.pack().id() < wanted; });
  return it == packs_.end() || it->pack().id() != id ? nullptr : &*it;
}

}  // namespace retort::policy
