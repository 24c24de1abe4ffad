#include "services/gateway/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <cassert>

namespace retort::services::gateway {
namespace {

constexpr int kWindowBitsGzip = 15 + 16;  // zlib's way to say gzip and nothing else
constexpr int kLevel = 4;  // of 9: about twice as fast as the default for a few per cent more bytes

Bytef* In(std::string_view bytes) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));  // zlib reads only
}

}  // namespace

std::string Gzip(std::string_view bytes) {
  z_stream stream{};
  const int begun = deflateInit2(&stream, kLevel, Z_DEFLATED, kWindowBitsGzip, 8, Z_DEFAULT_STRATEGY);
  assert(begun == Z_OK);  // fails only without memory
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = In(bytes);
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int ended = deflate(&stream, Z_FINISH);
  assert(ended == Z_STREAM_END);  // the bound is enough
  static_cast<void>(begun), static_cast<void>(ended);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

absl::StatusOr<std::string> Gunzip(std::string_view bytes, size_t bytes_max) {
  z_stream stream{};
  if (inflateInit2(&stream, kWindowBitsGzip) != Z_OK) return absl::InternalError("gzip: no memory to begin");
  stream.next_in = In(bytes);
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  int result = Z_OK;
  while (result == Z_OK) {
    const size_t room = std::min<size_t>(std::max<size_t>(out.size(), 16 << 10), bytes_max + 1 - out.size());
    if (room == 0) break;
    const size_t before = out.size();
    out.resize(before + room);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    stream.avail_out = static_cast<uInt>(room);
    result = inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
  }
  const bool trailing = stream.avail_in > 0;
  inflateEnd(&stream);
  if (out.size() > bytes_max) {
    return absl::ResourceExhaustedError("the message is longer than " + std::to_string(bytes_max) +
                                        " bytes when it is decompressed");
  }
  if (result != Z_STREAM_END) return absl::InvalidArgumentError("gzip: the bytes are damaged or cut off");
  if (trailing)
    return absl::InvalidArgumentError("gzip: more bytes follow the end of the compressed message");
  return out;
}

}  // namespace retort::services::gateway
