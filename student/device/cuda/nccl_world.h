// Ranks on devices: the collectives of student/parallel over NCCL, one process per device.
//
//   rank 0: NcclId(&id, &problem), and the id travels to the others (ExchangeRendezvous of the jobs service)
//   all:    auto world = JoinNcclWorld(place, id, ordinal, options, &problem);
//
// Pointers are device memory of `ordinal`; calls are queued on their stream. Sums are made in the order that
// NCCL's rings have: the same bits for the same devices, version and settings, and not those of shared
// memory. The calls on host values go through a stream of their own and add in rank order.
//
// A thread of its own looks four times a second whether another rank of this machine has ended or given up
// (student/parallel/rank_alarm.h, with the rank and its reason), whether NCCL reports an error, as it does
// for a peer lost behind a network, without saying which, and whether the oldest call has been waiting longer
// than the patience. Then it aborts the communicators, so that nothing waits for ever on the device and the
// host's next wait returns.
#ifndef STUDENT_DEVICE_CUDA_NCCL_WORLD_H_
#define STUDENT_DEVICE_CUDA_NCCL_WORLD_H_

#include <chrono>
#include <memory>
#include <string>

#include "student/parallel/collectives.h"

namespace retort::student {

// Bytes of an id.
inline constexpr std::size_t kNcclIdBytes = 128;

struct NcclOptions {
  std::chrono::milliseconds join_patience = std::chrono::seconds(120);  // until all ranks have come
  std::chrono::milliseconds patience = std::chrono::minutes(30);        // for one call
  // Ranks with the same one share a machine if they share its memory; only what sets them apart matters.
  std::string machine;
};

// A new id. False with a sentence when NCCL has no way to be reached (no network interface).
bool NcclId(std::string* id, std::string* problem);

// Null with a sentence when: the id is not kNcclIdBytes long; there is no such device; the machine refuses a
// page of shared memory; NCCL refuses; not all ranks have come in time (those not seen on this machine are
// named).
std::unique_ptr<World> JoinNcclWorld(const RankPlace& place, const std::string& id, int ordinal,
                                     const NcclOptions& options, std::string* problem);

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_NCCL_WORLD_H_
