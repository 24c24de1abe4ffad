// Pieces of a step that come again, as CUDA graphs: launched by one call instead of one for each kernel.
//
//   Segments segments(stream, ordinal's matmul);
//   Launcher({stream, &segments.list()}, …);           // as often as wanted
//   CommandResult result = segments.Flush();           // now it is given to the stream
//
// A piece is what was kept between two flushes, and is known by all bytes of its commands: kernels, grids,
// addresses, sizes, every number given by value. Seen for the first time it is run as it is; for the second
// time it is captured; from then on its graph is launched. So a graph can never run with another step's
// numbers: a number that is another makes another piece, whose cost is that of not being a graph. What
// changes with every step (learning rate, batches, offsets) lies in device memory and is copied there between
// pieces.
//
// Products are captured as cuBLAS chose them, whose workspace is CudaMatmul's own, so a graph gives the bits
// that the calls give. At most kPiecesMost pieces are remembered, the least recently seen one makes room;
// Clear forgets all, and is for when memory is freed. A refused capture is a failure and is not run another
// way. One caller at a time.
#ifndef STUDENT_DEVICE_CUDA_SEGMENTS_H_
#define STUDENT_DEVICE_CUDA_SEGMENTS_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <vector>

#include "student/device/cuda/command_list.h"
#include "student/device/cuda/matmul.h"

namespace retort::student {

class Segments {
 public:
  // A step of 27 routed layers has some 170 pieces. A graph takes tens of kilobytes of the device, out of
  // what the memory plan leaves to the driver.
  static constexpr std::size_t kPiecesMost = 512;

  Segments(cudaStream_t stream, CudaMatmul& matmul) : stream_(stream), matmul_(matmul) {}
  ~Segments() { Clear(); }
  Segments(const Segments&) = delete;
  Segments& operator=(const Segments&) = delete;

  // Where the next piece is kept.
  CommandList& list() { return list_; }
  void AddProduct(const Product& product);

  // Gives the piece to the stream and begins the next one. Run: as it is, without remembering it.
  CommandResult Flush();
  CommandResult Run();
  // Forgets all pieces; their graphs go when the device is done with them.
  void Clear();

 private:
  struct Piece {
    std::uint64_t hash;
    std::vector<std::byte> bytes;
    cudaGraphExec_t graph = nullptr;  // null: seen once
  };
  using Pieces = std::list<Piece>;  // the latest first

  CommandResult Capture(cudaGraphExec_t* graph);
  CommandResult Launch(cudaGraphExec_t graph);

  const cudaStream_t stream_;
  CudaMatmul& matmul_;
  CommandList list_;
  Pieces pieces_;
  std::unordered_map<std::uint64_t, Pieces::iterator> by_hash_;
};

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_SEGMENTS_H_
