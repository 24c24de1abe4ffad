#include "services/cli/log_check.h"

#include <cstring>

#include "ledger/merkle.h"
#include "ledger/proof_file.h"

namespace retort::services {
namespace {

using LedgerStub = Client::Ledger::Stub;

constexpr int kLeavesPerPage = 100;

LogCheck Begin(const ledger::VerifyingKey& key) {
  LogCheck check;
  check.log_vkey = key.vkey();
  check.not_checked = {
      "Signatures and decisions inside the entries: `retort audit verify` checks those.",
      "That the log shows everybody the same history: no outside witness has signed this checkpoint."};
  return check;
}

LogCheck Failed(LogCheck check, std::string where, const absl::Status& status) {
  check.failure = std::move(where) + ": " + std::string(status.message());
  return check;
}

absl::StatusOr<std::vector<ledger::Digest>> DigestsOf(const retort::ledger::v1::Proof& proof) {
  std::vector<ledger::Digest> digests;
  for (const std::string& hash : proof.hashes()) {
    ledger::Digest digest;
    if (hash.size() != digest.size()) {
      return absl::InvalidArgumentError("saw a hash of " + std::to_string(hash.size()) + " bytes, wanted 32");
    }
    std::memcpy(digest.data(), hash.data(), digest.size());
    digests.push_back(digest);
  }
  return digests;
}

// Hashes every entry up to `size`, as the server lists them.
absl::StatusOr<ledger::CompactRange> ReadLeaves(Client& client, const std::string& ledger_name,
                                                uint64_t size) {
  ledger::CompactRange range;
  retort::ledger::v1::ListEntriesRequest request;
  request.set_parent(ledger_name);
  request.set_page_size(kLeavesPerPage);
  do {
    auto page = client.Call(client.ledger(), &LedgerStub::ListEntries, request);
    if (!page.ok()) return page.status();
    for (const auto& entry : page->entries()) {
      if (range.size() < size) range.Append(ledger::LeafHash(entry.leaf()));
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && range.size() < size);
  return range;
}

}  // namespace

LogCheck CheckProofFile(std::string_view proof_file, std::string_view leaf, const ledger::VerifyingKey& key) {
  LogCheck check = Begin(key);
  auto proof = ledger::ParseProofFile(proof_file);
  if (!proof.ok()) return Failed(check, "proof file", proof.status());
  auto checkpoint = ledger::VerifyProofFile(*proof, leaf, key, key.name());
  if (!checkpoint.ok()) return Failed(check, "entry " + std::to_string(proof->index), checkpoint.status());
  check.checkpoint = *checkpoint;
  check.checked = {"The checkpoint is signed by the key you gave.",
                   "The entry is number " + std::to_string(proof->index) + " under it."};
  return check;
}

LogCheck CheckCheckpoint(std::string_view note, const ledger::VerifyingKey& key) {
  LogCheck check = Begin(key);
  auto checkpoint = ledger::OpenCheckpoint(note, key, key.name());
  if (!checkpoint.ok()) return Failed(check, "checkpoint", checkpoint.status());
  check.checkpoint = *checkpoint;
  check.checked = {"The checkpoint is signed by the key you gave."};
  check.not_checked.insert(check.not_checked.begin(), "The entries under the checkpoint.");
  return check;
}

absl::StatusOr<LogCheck> CheckServedLog(Client& client, const std::string& ledger_name,
                                        const ledger::VerifyingKey& key, std::string_view since) {
  LogCheck check = Begin(key);
  retort::ledger::v1::GetCheckpointRequest get;
  get.set_name(ledger_name);
  auto served = client.Call(client.ledger(), &LedgerStub::GetCheckpoint, get);
  if (!served.ok()) return served.status();
  auto checkpoint = ledger::OpenCheckpoint(served->note(), key, key.name());
  if (!checkpoint.ok()) return Failed(check, "checkpoint of the server", checkpoint.status());
  check.checkpoint = *checkpoint;
  check.checked.push_back("The checkpoint is signed by the key you gave.");

  if (!since.empty()) {
    auto older = ledger::OpenCheckpoint(since, key, key.name());
    if (!older.ok()) return Failed(check, "older checkpoint", older.status());
    std::vector<ledger::Digest> hashes;
    if (older->size > 0 && older->size < checkpoint->size) {
      retort::ledger::v1::GetConsistencyProofRequest request;
      request.set_name(ledger_name);
      request.set_first_size(static_cast<int64_t>(older->size));
      request.set_second_size(static_cast<int64_t>(checkpoint->size));
      auto proof = client.Call(client.ledger(), &LedgerStub::GetConsistencyProof, request);
      if (!proof.ok()) return proof.status();
      auto digests = DigestsOf(*proof);
      if (!digests.ok()) return Failed(check, "consistency proof", digests.status());
      hashes = *std::move(digests);
    }
    if (auto s =
            ledger::VerifyConsistency(older->size, checkpoint->size, hashes, older->root, checkpoint->root);
        !s.ok()) {
      return Failed(check, "the log does not extend its checkpoint of size " + std::to_string(older->size),
                    s);
    }
    check.checked.push_back("The log extends its checkpoint of size " + std::to_string(older->size) + ".");
  }

  auto range = ReadLeaves(client, ledger_name, checkpoint->size);
  if (!range.ok()) return range.status();
  if (range->size() != checkpoint->size) {
    return Failed(check, "entries",
                  absl::DataLossError("the server shows " + std::to_string(range->size()) + ", wanted " +
                                      std::to_string(checkpoint->size)));
  }
  if (range->Root() != checkpoint->root) {
    return Failed(check, "entries",
                  absl::DataLossError("the root of what the server shows is not the signed one"));
  }
  check.checked.push_back("All " + std::to_string(checkpoint->size) +
                          " entries were read and give the signed root.");
  return check;
}

}  // namespace retort::services
