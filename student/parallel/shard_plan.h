// Which rank keeps the optimiser state of which weights, and in which order gradients are reduced.
//
// The storage of a ParameterSet is cut into buckets: for each layer what lies before its routed experts, the
// routed experts, and what lies behind them; the final norm and an untied head; the embedding. They come in
// the order in which a backward pass finishes them: modules of multi-token prediction, final norm and head,
// the layers from the last one down, the embedding at the end. When experts
// are split over ranks, the bucket of routed experts has those that this rank owns and is reduced over the
// data group alone; experts of other ranks are in no bucket of this rank.
//
// Each bucket is cut into one part per rank of its group. A rank holds both AdamW moments, and steps the
// weights, of its own parts only (ZeRO stage 1; Rajbhandari et al., arXiv 1910.02054).
//
// Two storages have such a plan: that of the whole student, which states are kept in, and that of a rank, in
// which experts of other ranks have no place. A rank's plans over the two have the same buckets and parts of
// the same sizes, at other offsets.
#ifndef STUDENT_PARALLEL_SHARD_PLAN_H_
#define STUDENT_PARALLEL_SHARD_PLAN_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "student/model/parameters.h"
#include "student/parallel/layout.h"
#include "student/parallel/part.h"

namespace retort::student {

struct Bucket {
  // The layer whose backward pass completes it; config.layers: final norm and head (when it is not tied);
  // config.layers + k: module k of multi-token prediction; -1: the embedding, complete when the whole pass
  // is. What Pass::LayerDone announces.
  int layer = 0;
  bool routed = false;      // experts split over ranks: reduced over World::data(), else over World::all()
  Part storage;             // floats of ParameterSet::storage()
  std::vector<Part> parts;  // by rank of the group; together `storage`
};

// What a rank has in memory: the whole, or where experts are split that without the experts of other ranks.
// Its storage is of one size on all ranks, and what is not a routed expert lies at the same offset on all.
std::shared_ptr<const ParameterLayout> LayoutOfRank(std::shared_ptr<const ParameterLayout> whole,
                                                    const RankPlace& place);

struct ShardPlan {
  // `layout` is the whole or LayoutOfRank of this place. Parts are as even as multiples of 16 floats allow.
  static ShardPlan Make(const ParameterLayout& layout, const RankPlace& place);

  std::vector<Bucket> buckets;  // in the order of reduction; the same number and kinds on all ranks
  std::vector<Part> own;        // this rank's part of each bucket, in the same order
  std::int64_t own_floats = 0;  // their sum: the length of each packed moment
  std::vector<Part> experts;    // storage of this rank's routed experts; empty unless experts are split
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_SHARD_PLAN_H_
