#include "services/train/ranks.h"

#include <grpcpp/grpcpp.h>

#include <array>
#include <fstream>
#include <vector>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "services/edge/channel.h"
#include "services/edge/status.h"
#include "student/device/nccl_library.h"
#include "student/parallel/shared_memory.h"

namespace retort::train {
namespace {

constexpr size_t kReadBytes = 1 << 20;
// The service answers when its own patience ends; a little later this end gives up by itself.
constexpr std::chrono::milliseconds kAnswerPatience = std::chrono::seconds(10);

absl::StatusOr<std::string> Meet(const RankOptions& options, const student::RankPlace& place,
                                 const student::TrainingManifest& manifest, const char* transport,
                                 const std::string& payload, jobs::v1::JobsService::StubInterface& jobs) {
  jobs::v1::ExchangeRendezvousRequest request;
  request.set_job(options.job);
  request.set_job_uid(options.job_uid);
  request.set_run(manifest.run);
  request.set_rank(place.rank);
  request.set_data_ranks(place.layout.data);
  request.set_expert_ranks(place.layout.experts);
  request.set_binary_sha256(options.binary_sha256);
  request.set_manifest_sha256(manifest.Digest());
  request.set_transport(transport);
  if (place.rank == 0) request.set_payload(payload);
  request.mutable_patience()->set_seconds(
      std::chrono::ceil<std::chrono::seconds>(options.join_patience).count());
  grpc::ClientContext context;
  services::SetDeadline(context, options.join_patience + kAnswerPatience);
  jobs::v1::ExchangeRendezvousResponse response;
  const absl::Status status = services::FromGrpcStatus(jobs.ExchangeRendezvous(&context, request, &response));
  if (!status.ok()) return status;
  return response.payload();
}

absl::StatusOr<std::unique_ptr<student::World>> JoinOverNccl(const RankOptions& options,
                                                             const student::RankPlace& place,
                                                             const student::TrainingManifest& manifest,
                                                             jobs::v1::JobsService::StubInterface* jobs) {
  if (jobs == nullptr) {
    return absl::InvalidArgumentError(
        "ranks on CUDA devices meet at the jobs service; wanted --jobs host:port");
  }
  std::string id, problem;
  if (place.rank == 0 && !student::MakeNcclId(options.device.library, &id, &problem)) {
    return absl::FailedPreconditionError(problem);
  }
  auto met = Meet(options, place, manifest, "nccl", id, *jobs);
  if (!met.ok()) return met.status();
  auto world =
      student::JoinNccl(options.device, place, *met, {options.join_patience, options.patience}, &problem);
  if (world == nullptr) return absl::UnavailableError(problem);
  return world;
}

}  // namespace

absl::StatusOr<std::string> DigestOfPrograms(const student::DeviceChoice& device) {
  std::vector<std::string> paths = {"/proc/self/exe"};
  if (device.device.starts_with("cuda")) paths.push_back(device.library);
  ledger::Sha256Hasher hasher;
  std::string piece(kReadBytes, '\0');
  for (const std::string& path : paths) {
    std::ifstream program(path, std::ios::binary);
    while (program) {
      program.read(piece.data(), static_cast<std::streamsize>(piece.size()));
      hasher.Update(std::string_view(piece).substr(0, static_cast<size_t>(program.gcount())));
    }
    if (!program.eof()) return absl::InternalError(path + " cannot be read");
  }
  return ledger::HexEncode(hasher.Finish());
}

absl::StatusOr<std::unique_ptr<student::World>> JoinRanks(const RankOptions& options,
                                                          const student::TrainingManifest& manifest,
                                                          jobs::v1::JobsService::StubInterface* jobs,
                                                          const std::function<void(std::string_view)>& log) {
  const student::RankPlace place = {options.layout, options.environment.rank};
  if (options.environment.world != place.layout.world()) {
    return absl::InvalidArgumentError(
        "the launcher started " + std::to_string(options.environment.world) + " processes" +
        (options.environment.source.empty() ? "" : " (" + options.environment.source + ")") +
        "; --data-ranks " + std::to_string(place.layout.data) + " and --expert-ranks " +
        std::to_string(place.layout.experts) + " want " + std::to_string(place.layout.world()));
  }
  if (place.alone()) return nullptr;

  const auto say = [&](const char* over) {
    log("rank " + std::to_string(place.rank) + " of " + std::to_string(place.layout.world()) + ", " +
        std::to_string(place.layout.data) + " data ranks and " + std::to_string(place.layout.experts) +
        " expert ranks, over " + over);
  };
  if (options.device.device.starts_with("cuda")) {
    auto world = JoinOverNccl(options, place, manifest, jobs);
    if (world.ok()) say("NCCL");
    return world;
  }
  student::SharedMemoryOptions shared;
  shared.name =
      "/retort-" + ledger::HexEncode(ledger::Sha256(options.job_uid + "/" + manifest.run)).substr(0, 32);
  if (jobs != nullptr) {
    auto name = Meet(options, place, manifest, "shared_memory", shared.name, *jobs);
    if (!name.ok()) return name.status();
    shared.name = *std::move(name);
  }
  shared.place = place;
  shared.card = "binary " + options.binary_sha256 + ", manifest " + manifest.Digest();
  shared.join_patience = options.join_patience;
  shared.patience = options.patience;
  std::string problem;
  bool retry = false;
  std::unique_ptr<student::World> world = student::SharedMemoryWorld::Join(shared, &problem, &retry);
  if (world == nullptr)
    return retry ? absl::UnavailableError(problem) : absl::FailedPreconditionError(problem);
  say("shared memory");
  return world;
}

}  // namespace retort::train
