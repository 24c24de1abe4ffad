#include "student/parallel/shared_memory.h"

#include <utility>
#include <vector>

#include "student/parallel/shared_collectives.h"
#include "student/parallel/shared_region.h"

namespace retort::student {
namespace {

// Ranks first, first + stride, ..., count of them.
std::vector<int> Members(int first, int stride, int count) {
  std::vector<int> members;
  for (int i = 0; i < count; ++i) members.push_back(first + i * stride);
  return members;
}

}  // namespace

struct SharedMemoryWorld::Impl {
  explicit Impl(std::unique_ptr<SharedRegion> shared)
      : region(std::move(shared)),
        place(region->place()),
        all(*region, GroupKind::kAll, Members(0, 1, place.layout.world())),
        data(*region, GroupKind::kData,
             Members(place.expert_rank(), place.layout.experts, place.layout.data)),
        experts(*region, GroupKind::kExperts,
                Members(place.data_rank() * place.layout.experts, 1, place.layout.experts)) {}

  std::unique_ptr<SharedRegion> region;
  const RankPlace place;
  SharedCollectives all, data, experts;
};

SharedMemoryWorld::SharedMemoryWorld(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SharedMemoryWorld::~SharedMemoryWorld() = default;

std::unique_ptr<SharedMemoryWorld> SharedMemoryWorld::Join(const SharedMemoryOptions& options,
                                                           std::string* problem, bool* retry) {
  auto region = SharedRegion::Join(options, problem, retry);
  if (region == nullptr) return nullptr;
  return std::unique_ptr<SharedMemoryWorld>(new SharedMemoryWorld(std::make_unique<Impl>(std::move(region))));
}

const RankPlace& SharedMemoryWorld::place() const {
  return impl_->place;
}
Collectives& SharedMemoryWorld::all() {
  return impl_->all;
}
Collectives& SharedMemoryWorld::data() {
  return impl_->data;
}
Collectives& SharedMemoryWorld::experts() {
  return impl_->experts;
}

void SharedMemoryWorld::Abort(std::string_view reason) {
  impl_->region->End("rank " + std::to_string(impl_->place.rank) + ": " + std::string(reason));
}

std::string SharedMemoryWorld::failure() const {
  return impl_->region->reason();
}

}  // namespace retort::student
