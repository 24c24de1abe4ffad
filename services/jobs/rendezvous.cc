#include "services/jobs/rendezvous.h"

#include <algorithm>
#include <vector>

#include "services/edge/status.h"

namespace retort::jobs {
namespace {

using Clock = std::chrono::steady_clock;
using services::WithReason;

constexpr std::chrono::milliseconds kLookEvery(100);
constexpr size_t kNamedMax = 16;

std::string Missing(const std::map<int, bool>& here, int world) {
  std::string names;
  size_t count = 0;
  for (int rank = 0; rank < world; ++rank) {
    if (here.count(rank) != 0) continue;
    if (++count <= kNamedMax) names += (names.empty() ? "" : ", ") + std::to_string(rank);
  }
  return std::to_string(count) + " of " + std::to_string(world) + " ranks have not come: " + names +
         (count > kNamedMax ? ", ..." : "");
}

}  // namespace

absl::Status Rendezvous::CheckAgree(const v1::ExchangeRendezvousRequest& a,
                                    const v1::ExchangeRendezvousRequest& b) {
  const auto layout = [](const v1::ExchangeRendezvousRequest& r) {
    return std::to_string(r.data_ranks()) + " x " + std::to_string(r.expert_ranks());
  };
  const struct {
    const char* what;
    std::string of_a, of_b;
  } sides[] = {{"binary_sha256", a.binary_sha256(), b.binary_sha256()},
               {"manifest_sha256", a.manifest_sha256(), b.manifest_sha256()},
               {"data_ranks x expert_ranks", layout(a), layout(b)},
               {"transport", a.transport(), b.transport()}};
  for (const auto& side : sides) {
    if (side.of_a == side.of_b) continue;
    return WithReason(absl::FailedPreconditionError("rank " + std::to_string(a.rank()) + " has " + side.what +
                                                    " " + side.of_a + ", rank " + std::to_string(b.rank()) +
                                                    " has " + side.of_b + "; wanted the same on all ranks"),
                      RANKS_DIFFER, {{"field", side.what}});
  }
  return absl::OkStatus();
}

void Rendezvous::Answer(Meeting& meeting, const absl::StatusOr<std::string>& answer) {
  for (auto& [rank, waiting] : meeting) {
    waiting->answered = true;
    waiting->answer = answer;
  }
  meeting.clear();
  changed_.notify_all();
}

absl::StatusOr<std::string> Rendezvous::Exchange(const v1::ExchangeRendezvousRequest& request,
                                                 const std::function<bool()>& gone) {
  const std::string key = request.job_uid() + "/" + request.run();
  const auto give_up = Clock::now() + std::chrono::seconds(request.patience().seconds()) +
                       std::chrono::nanoseconds(request.patience().nanos());
  std::unique_lock lock(mutex_);
  if (stopped_) return absl::UnavailableError("the server is stopping");
  if (waiting_ >= kWaitingMax) {
    return absl::ResourceExhaustedError("too many ranks wait, at most " + std::to_string(kWaitingMax));
  }
  Meeting& meeting = meetings_[key];
  Waiting self{&request};
  for (auto& [rank, other] : meeting) {
    if (rank == request.rank()) continue;
    if (auto agree = CheckAgree(*other->request, request); !agree.ok()) {
      Answer(meeting, agree);
      meetings_.erase(key);
      return agree;
    }
  }
  if (Waiting*& place = meeting[request.rank()]; place != nullptr) {
    place->answered = true;
    place->answer = absl::AbortedError("rank " + std::to_string(request.rank()) +
                                       " came again; wanted one process for each rank");
    place = &self;
    changed_.notify_all();
  } else {
    place = &self;
  }
  const int world = request.data_ranks() * request.expert_ranks();
  if (static_cast<int>(meeting.size()) == world) {
    const std::string payload = meeting.at(0)->request->payload();
    Answer(meeting, payload);
  }
  ++waiting_;
  while (!self.answered) {
    absl::Status over;
    if (stopped_) {
      over = absl::UnavailableError("the server is stopping");
    } else if (gone()) {
      over = absl::CancelledError("the rank has gone");
    } else if (Clock::now() >= give_up) {
      std::map<int, bool> here;
      for (const auto& [rank, waiting] : meeting) here[rank] = true;
      over = WithReason(absl::UnavailableError(Missing(here, world)), RANKS_MISSING);
    }
    if (!over.ok()) {
      self.answer = over;
      meeting.erase(request.rank());
      break;
    }
    changed_.wait_until(lock, std::min(give_up, Clock::now() + kLookEvery));
  }
  --waiting_;
  if (const auto found = meetings_.find(key); found != meetings_.end() && found->second.empty()) {
    meetings_.erase(found);
  }
  return self.answer;
}

void Rendezvous::Stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

}  // namespace retort::jobs
