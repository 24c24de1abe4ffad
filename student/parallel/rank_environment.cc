#include "student/parallel/rank_environment.h"

#include <charconv>
#include <cstring>
#include <string_view>

#include "student/parallel/layout.h"

namespace retort::student {
namespace {

// A number that a launcher wrote.
struct Variable {
  const char* name;
  const char* text = nullptr;
  int value = 0;

  bool set() const { return text != nullptr; }
  std::string Seen() const {
    return std::string(name) + (set() ? "=" + std::string(text).substr(0, 32) : " not set");
  }
};

std::string Read(const EnvironmentReader& environment, Variable* variable) {
  variable->text = environment(variable->name);
  if (!variable->set()) return "";
  const char* const end = variable->text + std::strlen(variable->text);
  const auto [stop, error] = std::from_chars(variable->text, end, variable->value);
  if (error != std::errc() || stop != end || variable->value < 0 || variable->value > kRanksMax) {
    return variable->Seen() + "; wanted a number, 0 to " + std::to_string(kRanksMax);
  }
  return "";
}

// One launcher's way of saying which rank this is.
struct Launcher {
  Variable rank, size, local;
};

}  // namespace

std::string ReadRankEnvironment(const EnvironmentReader& environment, RankEnvironment* result) {
  Launcher launchers[] = {
      {{"OMPI_COMM_WORLD_RANK"}, {"OMPI_COMM_WORLD_SIZE"}, {"OMPI_COMM_WORLD_LOCAL_RANK"}},
      {{"RETORT_RANK"}, {"RETORT_WORLD_SIZE"}, {"RETORT_LOCAL_RANK"}},
      {{"JOB_COMPLETION_INDEX"}, {"RETORT_WORLD_SIZE"}, {"RETORT_LOCAL_RANK"}}};
  for (Launcher& launcher : launchers) {
    for (Variable* variable : {&launcher.rank, &launcher.size, &launcher.local}) {
      if (std::string problem = Read(environment, variable); !problem.empty()) return problem;
    }
  }
  const Launcher* said = nullptr;
  RankEnvironment answer;
  const bool retort_rank = launchers[1].rank.set(), job_index = launchers[2].rank.set();
  for (const Launcher& launcher : launchers) {
    // RETORT_WORLD_SIZE belongs to whichever of its two ranks is set.
    const bool shared_size = &launcher != launchers;
    if (!launcher.rank.set() && (!launcher.size.set() || (shared_size && (retort_rank || job_index))))
      continue;
    if (!launcher.rank.set() || !launcher.size.set()) {
      return launcher.rank.Seen() + ", " + launcher.size.Seen() + "; wanted both or neither";
    }
    if (launcher.size.value < 1 || launcher.rank.value >= launcher.size.value) {
      return launcher.rank.Seen() + ", " + launcher.size.Seen() +
             "; wanted a size of at least 1 and a rank below it";
    }
    if (said != nullptr && (launcher.rank.value != answer.rank || launcher.size.value != answer.world)) {
      return said->rank.Seen() + ", " + said->size.Seen() + " and " + launcher.rank.Seen() + ", " +
             launcher.size.Seen() + "; wanted launchers that agree, or one alone";
    }
    if (said != nullptr) continue;
    said = &launcher;
    answer.rank = launcher.rank.value;
    answer.world = launcher.size.value;
    answer.local_rank = launcher.local.set() ? launcher.local.value : 0;
    answer.mpirun = said == launchers;
    answer.source = std::string(launcher.rank.name) + " and " + launcher.size.name;
  }
  *result = answer;
  return "";
}

}  // namespace retort::student
