// Which rank keeps the optimiser state of which weights, and in which order gradients are reduced.
//
// The storage of a ParameterSet is cut into buckets, one per layer (and one for what lies before and after
// the layers), in the order in which a backward pass finishes them: last layer first, the embedding at the
// end. When experts are split over ranks, the routed experts that this rank owns are a second bucket of their
// layer, reduced over the data group alone; experts of other ranks are in no bucket of this rank. Each bucket
// is cut into one part per rank of its group; a rank holds both AdamW moments, and steps the weights, of its
// own parts only (ZeRO stage 1; Rajbhandari et al., arXiv 1910.02054). With data = world and experts = 1 that
// is all ranks.
#ifndef STUDENT_PARALLEL_SHARD_PLAN_H_
#define STUDENT_PARALLEL_SHARD_PLAN_H_

#include <cstdint>
#include <vector>

#include "student/model/parameters.h"
#include "student/parallel/collectives.h"
#include "student/parallel/layout.h"

namespace retort::student {

struct Bucket {
  // The layer whose backward pass completes it; config.layers: final norm and head (when it is not tied);
  // -1: the embedding, complete when the whole pass is.
  int layer = 0;
  bool routed = false;  // this rank's experts: reduced over World::data(), else over World::all()
  Part storage;         // floats of ParameterSet::storage()
  std::vector<Part>
      parts;  // by rank of the group, relative to the storage's begin of the set; cover `storage`
};

struct ShardPlan {
  // parts are multiples of 16 floats long, as even as that allows.
  static ShardPlan Make(const ParameterLayout& layout, const RankPlace& place);

  std::vector<Bucket> buckets;  // in the order of reduction, the same on all ranks
  // Own parts, one per bucket, as they lie in the packed moments: own[i] of bucket i begins at offsets[i].
  std::vector<Part> own;
  std::vector<std::int64_t> offsets;
  std::int64_t own_floats = 0;
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_SHARD_PLAN_H_
