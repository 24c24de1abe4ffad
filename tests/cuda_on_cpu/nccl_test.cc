#include <cuda_bf16.h>
#include <nccl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "tests/cuda_on_cpu/on_device.h"
#include "tests/cuda_on_cpu/ranks.h"
#include "tests/cuda_on_cpu/rig.h"

namespace retort::cuda_on_cpu {
namespace {

constexpr int kSeconds = 60;

// In a rank: says what is wrong and ends the rank.
#define CHECK_RANK(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "rank %d: %s:%d: %s\n", rank, __FILE__, __LINE__, #condition); \
      return false;                                                                       \
    }                                                                                     \
  } while (false)

ncclUniqueId NewId() {
  ncclUniqueId id;
  EXPECT_EQ(ncclGetUniqueId(&id), ncclSuccess);
  return id;
}

struct Rank {
  Rank(int ranks, const ncclUniqueId& id, int number) {
    good = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess &&
           ncclCommInitRank(&comm, ranks, id, number) == ncclSuccess;
  }
  ~Rank() {
    ncclCommDestroy(comm);
    cudaStreamDestroy(stream);
  }
  bool good = false;
  cudaStream_t stream = nullptr;
  ncclComm_t comm = nullptr;
};

TEST(Nccl, SumsInRankOrderAndTheSameBitsOnAllRanks) {
  for (const int ranks : {1, 2, 4}) {
    const ncclUniqueId id = NewId();
    const std::size_t size = 300'001;  // more than one chunk
    EXPECT_TRUE(RunRanks(ranks, kSeconds,
                         [&](int rank) {
                           const Rank self(ranks, id, rank);
                           CHECK_RANK(self.good);
                           std::vector<float> mine(size);
                           for (std::size_t i = 0; i < size; ++i)
                             mine[i] = 1.0f / static_cast<float>(i % 1000 + 1 + rank);
                           OnDevice<float> data(mine);
                           CHECK_RANK(ncclAllReduce(data.get(), data.get(), size, ncclFloat, ncclSum,
                                                    self.comm, self.stream) == ncclSuccess);
                           CHECK_RANK(cudaStreamSynchronize(self.stream) == cudaSuccess);
                           const std::vector<float> got = data.Read();
                           for (std::size_t i = 0; i < size; ++i) {
                             float sum = 1.0f / static_cast<float>(i % 1000 + 1);
                             for (int r = 1; r < ranks; ++r)
                               sum += 1.0f / static_cast<float>(i % 1000 + 1 + r);
                             CHECK_RANK(got[i] == sum);
                           }
                           return true;
                         })
                    .empty())
        << ranks << " ranks";
  }
}

TEST(Nccl, ScatterGatherBroadcastReduce) {
  const ncclUniqueId id = NewId();
  constexpr int kRanks = 3;
  EXPECT_TRUE(RunRanks(kRanks, kSeconds, [&](int rank) {
                const Rank self(kRanks, id, rank);
                CHECK_RANK(self.good);
                const std::size_t part = 150'000;  // a part ends inside a chunk
                std::vector<int> all(part * kRanks);
                for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i) + rank;
                const OnDevice<int> source(all);
                OnDevice<int> mine(part), gathered(part * kRanks), first(part), most(part);
                CHECK_RANK(ncclReduceScatter(source.get(), mine.get(), part, ncclInt, ncclSum, self.comm,
                                             self.stream) == ncclSuccess);
                CHECK_RANK(ncclAllGather(mine.get(), gathered.get(), part, ncclInt, self.comm, self.stream) ==
                           ncclSuccess);
                CHECK_RANK(ncclBroadcast(source.get(), first.get(), part, ncclInt, 2, self.comm,
                                         self.stream) == ncclSuccess);
                CHECK_RANK(ncclReduce(source.get(), most.get(), part, ncclInt, ncclMax, 1, self.comm,
                                      self.stream) == ncclSuccess);
                CHECK_RANK(cudaStreamSynchronize(self.stream) == cudaSuccess);
                const std::vector<int> sums = gathered.Read(), from_two = first.Read(), largest = most.Read();
                for (std::size_t i = 0; i < sums.size(); ++i)
                  CHECK_RANK(sums[i] == static_cast<int>(i) * kRanks + 3);
                for (std::size_t i = 0; i < part; ++i) CHECK_RANK(from_two[i] == static_cast<int>(i) + 2);
                for (std::size_t i = 0; i < part; ++i)
                  CHECK_RANK(largest[i] == (rank == 1 ? static_cast<int>(i) + 2 : -1));
                return true;
              }).empty());
}

TEST(Nccl, Bf16IsSummedInSinglePrecision) {
  const ncclUniqueId id = NewId();
  EXPECT_TRUE(
      RunRanks(3, kSeconds, [&](int rank) {
        const Rank self(3, id, rank);
        CHECK_RANK(self.good);
        // 256 + 1 + 1: in bf16 each 1 would be lost.
        OnDevice<__nv_bfloat16> data(std::vector<__nv_bfloat16>{__float2bfloat16(rank == 0 ? 256.0f : 1.0f)});
        CHECK_RANK(ncclAllReduce(data.get(), data.get(), 1, ncclBfloat16, ncclSum, self.comm, self.stream) ==
                   ncclSuccess);
        CHECK_RANK(cudaStreamSynchronize(self.stream) == cudaSuccess);
        CHECK_RANK(__bfloat162float(data.Read()[0]) == 258.0f);
        return true;
      }).empty());
}

TEST(Nccl, AGroupOfMessagesExchangesAllToAll) {
  const ncclUniqueId id = NewId();
  constexpr int kRanks = 4;
  EXPECT_TRUE(RunRanks(kRanks, kSeconds, [&](int rank) {
                const Rank self(kRanks, id, rank);
                CHECK_RANK(self.good);
                // Rank s sends s * 20,000 + r * 7,000 + 1 numbers to rank r, itself too; the longest need
                // several parts.
                const auto count = [](int from, int to) {
                  return static_cast<std::size_t>(from * 20'000 + to * 7'000 + 1);
                };
                std::vector<std::unique_ptr<OnDevice<int>>> sent, received;
                CHECK_RANK(ncclGroupStart() == ncclSuccess);
                for (int peer = 0; peer < kRanks; ++peer) {
                  sent.push_back(
                      std::make_unique<OnDevice<int>>(std::vector<int>(count(rank, peer), rank * 10 + peer)));
                  received.push_back(std::make_unique<OnDevice<int>>(count(peer, rank)));
                  CHECK_RANK(ncclSend(sent[peer]->get(), count(rank, peer), ncclInt, peer, self.comm,
                                      self.stream) == ncclSuccess);
                  CHECK_RANK(ncclRecv(received[peer]->get(), count(peer, rank), ncclInt, peer, self.comm,
                                      self.stream) == ncclSuccess);
                }
                CHECK_RANK(ncclGroupEnd() == ncclSuccess);
                CHECK_RANK(cudaStreamSynchronize(self.stream) == cudaSuccess);
                for (int peer = 0; peer < kRanks; ++peer) {
                  CHECK_RANK(received[peer]->Read() == std::vector<int>(count(peer, rank), peer * 10 + rank));
                }
                return true;
              }).empty());
}

TEST(Nccl, SplitsIntoParts) {
  const ncclUniqueId id = NewId();
  EXPECT_TRUE(RunRanks(4, kSeconds, [&](int rank) {
                const Rank self(4, id, rank);
                CHECK_RANK(self.good);
                ncclComm_t part = nullptr;
                CHECK_RANK(ncclCommSplit(self.comm, rank % 2, -rank, &part, nullptr) == ncclSuccess);
                int number = -1, count = 0;
                CHECK_RANK(ncclCommUserRank(part, &number) == ncclSuccess &&
                           ncclCommCount(part, &count) == ncclSuccess);
                CHECK_RANK(count == 2 &&
                           number == (rank < 2 ? 1 : 0));  // the larger rank has the smaller key
                OnDevice<int> data(std::vector<int>{rank});
                CHECK_RANK(ncclAllReduce(data.get(), data.get(), 1, ncclInt, ncclSum, part, self.stream) ==
                           ncclSuccess);
                CHECK_RANK(cudaStreamSynchronize(self.stream) == cudaSuccess);
                CHECK_RANK(data.Read()[0] == (rank % 2 == 0 ? 2 : 4));
                ncclComm_t none = part;
                CHECK_RANK(ncclCommSplit(self.comm, rank == 0 ? 0 : NCCL_SPLIT_NOCOLOR, 0, &none, nullptr) ==
                           ncclSuccess);
                CHECK_RANK((none != nullptr) == (rank == 0));
                ncclCommDestroy(none);
                ncclCommDestroy(part);
                return true;
              }).empty());
}

TEST(Nccl, TheDeathOfAPeerIsAnErrorAndAbortEndsTheWait) {
  const ncclUniqueId id = NewId();
  const std::vector<int> failed = RunRanks(3, kSeconds, [&](int rank) {
    Rank self(3, id, rank);
    CHECK_RANK(self.good);
    if (rank == 1) raise(SIGKILL);
    OnDevice<float> data(16);
    cudaEvent_t done;
    CHECK_RANK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming) == cudaSuccess);
    CHECK_RANK(ncclAllReduce(data.get(), data.get(), 16, ncclFloat, ncclSum, self.comm, self.stream) ==
               ncclSuccess);
    CHECK_RANK(cudaEventRecord(done, self.stream) == cudaSuccess);
    ncclResult_t error = ncclSuccess;
    while (error == ncclSuccess) {  // ends, or the rank is killed and fails
      CHECK_RANK(cudaEventQuery(done) == cudaErrorNotReady);
      CHECK_RANK(ncclCommGetAsyncError(self.comm, &error) == ncclSuccess);
    }
    CHECK_RANK(error == ncclRemoteError);
    CHECK_RANK(std::strcmp(ncclGetLastError(self.comm), "the process of rank 1 is gone") == 0);
    CHECK_RANK(ncclCommAbort(self.comm) == ncclSuccess);
    self.comm = nullptr;
    CHECK_RANK(cudaStreamSynchronize(self.stream) == cudaSuccess);
    cudaEventDestroy(done);
    return true;
  });
  EXPECT_EQ(failed, std::vector<int>{1});
}

TEST(Nccl, APeerThatNeverComesIsNamed) {
  const ncclUniqueId id = NewId();
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  EXPECT_EQ(ncclCommInitRankConfig(&comm, 2, id, 0, &config), ncclInProgress);
  ncclResult_t error = ncclSuccess;
  EXPECT_EQ(ncclCommGetAsyncError(comm, &error), ncclSuccess);
  EXPECT_EQ(error, ncclInProgress);
  const OnDevice<int> data(1);
  EXPECT_EQ(ncclAllReduce(data.get(), data.get(), 1, ncclInt, ncclSum, comm, nullptr), ncclInvalidUsage);
  EXPECT_EQ(ncclCommAbort(comm), ncclSuccess);

  SetHangLimit(1);
  EXPECT_EQ(ncclCommInitRank(&comm, 2, NewId(), 0), ncclSystemError);
  EXPECT_STREQ(ncclGetLastError(nullptr), "rank 1 has not joined");
  SetHangLimit(60);
}

TEST(Nccl, WrongArgumentsAreRefused) {
  ncclComm_t comm = nullptr;
  EXPECT_EQ(ncclCommInitRank(&comm, 1, ncclUniqueId{}, 0), ncclInvalidArgument);
  EXPECT_EQ(ncclCommInitRank(&comm, 1, NewId(), 1), ncclInvalidArgument);
  EXPECT_EQ(ncclCommInitRank(&comm, 0, NewId(), 0), ncclInvalidArgument);
  const ncclUniqueId id = NewId();
  ASSERT_EQ(ncclCommInitRank(&comm, 1, id, 0), ncclSuccess);
  OnDevice<float> data(4);
  EXPECT_EQ(ncclAllReduce(data.get(), data.get(), 4, static_cast<ncclDataType_t>(6), ncclSum, comm, nullptr),
            ncclInvalidArgument);
  EXPECT_EQ(ncclBroadcast(data.get(), data.get(), 4, ncclFloat, 1, comm, nullptr), ncclInvalidArgument);
  EXPECT_EQ(ncclSend(data.get(), 4, ncclFloat, -1, comm, nullptr), ncclInvalidArgument);
  EXPECT_EQ(ncclAllReduce(nullptr, data.get(), 4, ncclFloat, ncclSum, comm, nullptr), ncclInvalidArgument);
  EXPECT_EQ(ncclGroupEnd(), ncclInvalidUsage);
  EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
}

TEST(NcclDeathTest, RanksThatDifferAreReported) {
  EXPECT_EQ(RunRanks(2, kSeconds,
                     [id = NewId()](int rank) {
                       SetHangLimit(1);  // whoever comes second finds the other one dead
                       const Rank self(2, id, rank);
                       CHECK_RANK(self.good);
                       OnDevice<float> data(8);
                       ncclAllReduce(data.get(), data.get(), rank == 0 ? 4 : 5, ncclFloat, ncclSum, self.comm,
                                     self.stream);
                       cudaStreamSynchronize(self.stream);
                       return true;
                     })
                .size(),
            2u);
  OnDevice<float> data(8);
  ncclComm_t comm = nullptr;
  ASSERT_EQ(ncclCommInitRank(&comm, 1, NewId(), 0), ncclSuccess);
  EXPECT_DEATH(ncclAllReduce(data.get(), data.get(), 9, ncclFloat, ncclSum, comm, nullptr),
               "36 bytes is not within");
  EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
}

TEST(NcclDeathTest, AHostThatWaitsForADeadPeerIsReported) {
  ncclComm_t comm = nullptr;
  const ncclUniqueId id = NewId();
  EXPECT_DEATH(
      {
        SetHangLimit(1);
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.blocking = 0;
        ncclCommInitRankConfig(&comm, 2, id, 0, &config);
        std::thread([&] {
          ncclComm_t other = nullptr;
          ncclCommInitRank(&other, 2, id, 1);
        }).join();
        OnDevice<int> data(1);
        ncclAllReduce(data.get(), data.get(), 1, ncclInt, ncclSum, comm, nullptr);
        cudaDeviceSynchronize();
      },
      "a device would wait for ever");
}

}  // namespace
}  // namespace retort::cuda_on_cpu
