#include "student/tokenizer/tokenizer.h"

#include <algorithm>
#include <cassert>
#include <queue>
#include <set>

#include "student/formats/sha256.h"
#include "student/tokenizer/byte_alphabet.h"
#include "student/tokenizer/chat_template.h"
#include "student/tokenizer/utf8.h"

namespace retort::student {
namespace {

absl::Status Refuse(const std::string& what, const std::string& seen, const std::string& wanted) {
  return absl::InvalidArgumentError("tokenizer " + what + " is " + seen + "; wanted " + wanted);
}

constexpr uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

std::array<uint8_t, 32> DigestOf(const TokenizerParts& parts) {
  Sha256 sha256;
  const auto number = [&sha256](size_t value) {
    const uint8_t bytes[4] = {static_cast<uint8_t>(value), static_cast<uint8_t>(value >> 8),
                              static_cast<uint8_t>(value >> 16), static_cast<uint8_t>(value >> 24)};
    sha256.Update(std::span<const uint8_t>(bytes));
  };
  for (const std::vector<std::string>* strings : {&parts.tokens, &parts.merges}) {
    number(strings->size());
    for (const std::string& s : *strings) {
      number(s.size());
      sha256.Update(std::string_view(s));
    }
  }
  return sha256.Finish();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromParts(TokenizerParts parts) {
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer());
  tokenizer->parts_ = std::move(parts);
  if (auto s = tokenizer->IndexTokens(); !s.ok()) return s;
  if (auto s = tokenizer->IndexMerges(); !s.ok()) return s;
  if (auto s = tokenizer->IndexSpecials(); !s.ok()) return s;
  tokenizer->digest_ = DigestOf(tokenizer->parts_);
  return tokenizer;
}

absl::Status Tokenizer::IndexTokens() {
  const size_t count = parts_.tokens.size();
  if (count == 0 || count > kMaxVocabulary) {
    return Refuse("vocabulary size", std::to_string(count), "1 to " + std::to_string(kMaxVocabulary));
  }
  if (parts_.special.size() != count) {
    return Refuse("number of token types", std::to_string(parts_.special.size()), std::to_string(count));
  }
  bytes_.resize(count);
  id_by_token_.reserve(count);
  for (size_t id = 0; id < count; ++id) {
    const std::string& token = parts_.tokens[id];
    const std::string what = "token " + std::to_string(id);
    if (token.empty() || token.size() > kMaxTokenBytes) {
      return Refuse(what + " length", std::to_string(token.size()),
                    "1 to " + std::to_string(kMaxTokenBytes) + " bytes");
    }
    if (!id_by_token_.emplace(token, static_cast<int32_t>(id)).second) {
      return Refuse(what, "equal to token " + std::to_string(id_by_token_[token]), "a token of its own");
    }
    if (parts_.special[id]) {
      if (!IsUtf8(token)) return Refuse(what, "not UTF-8", "UTF-8");
      bytes_[id] = token;
    } else {
      std::optional<std::string> bytes = BytesOfWritten(token);
      if (!bytes.has_value())
        return Refuse(what, "outside the byte alphabet", "characters of the byte alphabet");
      bytes_[id] = *std::move(bytes);
    }
  }
  for (int byte = 0; byte < 256; ++byte) {
    const std::optional<int32_t> id = FindToken(ByteCharacter(static_cast<uint8_t>(byte)));
    byte_ids_[byte] = id.has_value() && !is_special(*id) ? *id : -1;
  }
  return absl::OkStatus();
}

absl::Status Tokenizer::IndexMerges() {
  if (parts_.merges.size() > kMaxVocabulary) {
    return Refuse("number of merges", std::to_string(parts_.merges.size()),
                  "at most " + std::to_string(kMaxVocabulary));
  }
  merges_.reserve(parts_.merges.size());
  for (size_t rank = 0; rank < parts_.merges.size(); ++rank) {
    const std::string& merge = parts_.merges[rank];
    const std::string what = "merge " + std::to_string(rank);
    const size_t space = merge.find(' ');
    if (space == std::string::npos || merge.size() > 2 * kMaxTokenBytes + 1) {
      return Refuse(what, "not two tokens", "'left right'");
    }
    std::optional<int32_t> left = FindToken(merge.substr(0, space));
    std::optional<int32_t> right = FindToken(merge.substr(space + 1));
    std::optional<int32_t> joined = FindToken(merge.substr(0, space) + merge.substr(space + 1));
    for (const auto& [part, id] : {std::pair{"left part", left}, {"right part", right}, {"result", joined}}) {
      if (!id.has_value() || is_special(*id)) {
        return Refuse(what + " " + part, "not an ordinary token", "a token of the vocabulary");
      }
    }
    if (!merges_.emplace(PairKey(*left, *right), Merge{static_cast<uint32_t>(rank), *joined}).second) {
      return Refuse(what, "there twice", "each pair once");
    }
  }
  return absl::OkStatus();
}

absl::Status Tokenizer::IndexSpecials() {
  const std::pair<const char*, std::optional<int32_t>> named[] = {{"bos id", parts_.bos},
                                                                  {"eos id", parts_.eos},
                                                                  {"unknown id", parts_.unknown},
                                                                  {"padding id", parts_.padding}};
  for (const auto& [what, id] : named) {
    if (id.has_value() && (*id < 0 || *id >= vocabulary_size())) {
      return Refuse(what, std::to_string(*id),
                    "below the vocabulary size " + std::to_string(vocabulary_size()));
    }
  }
  for (int32_t id = 0; id < vocabulary_size(); ++id) {
    if (is_special(id)) special_ids_.push_back(id);
  }
  if (special_ids_.size() > kMaxSpecials) {
    return Refuse("number of special tokens", std::to_string(special_ids_.size()),
                  "at most " + std::to_string(kMaxSpecials));
  }
  std::sort(special_ids_.begin(), special_ids_.end(),
            [this](int32_t a, int32_t b) { return bytes_[a].size() > bytes_[b].size(); });
  std::set<int32_t> ends;
  if (parts_.eos.has_value()) ends.insert(*parts_.eos);
  for (const char* name : {"<|im_end|>", "<|endoftext|>"}) {
    const std::optional<int32_t> id = FindToken(name);
    if (id.has_value() && is_special(*id)) ends.insert(*id);
  }
  end_ids_.assign(ends.begin(), ends.end());
  return absl::OkStatus();
}

std::optional<int32_t> Tokenizer::FindToken(std::string_view token) const {
  const auto it = id_by_token_.find(std::string(token));
  if (it == id_by_token_.end()) return std::nullopt;
  return it->second;
}

std::string_view Tokenizer::TokenBytes(int32_t id) const {
  assert(id >= 0 && id < vocabulary_size());
  return bytes_[id];
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, bool allow_specials) const {
  const std::string repaired = RepairUtf8(text);
  std::vector<int32_t> ids;
  if (!allow_specials || special_ids_.empty()) {
    EncodePlain(repaired, ids);
    return ids;
  }
  std::array<bool, 256> starts_special{};
  for (const int32_t id : special_ids_) starts_special[static_cast<uint8_t>(bytes_[id][0])] = true;
  const std::string_view rest = repaired;
  size_t begin = 0;
  for (size_t at = 0; at < rest.size();) {
    int32_t found = -1;
    if (starts_special[static_cast<uint8_t>(rest[at])]) {
      for (const int32_t id : special_ids_) {  // longest first
        if (rest.substr(at).starts_with(bytes_[id])) {
          found = id;
          break;
        }
      }
    }
    if (found < 0) {
      ++at;
      continue;
    }
    EncodePlain(rest.substr(begin, at - begin), ids);
    ids.push_back(found);
    at += bytes_[found].size();
    begin = at;
  }
  EncodePlain(rest.substr(begin), ids);
  return ids;
}

void Tokenizer::EncodePlain(std::string_view text, std::vector<int32_t>& ids) const {
  for (const std::string_view piece : SplitPieces(text, parts_.pre_tokenizer)) EncodePiece(piece, ids);
}

// Merges the lowest-ranked adjacent pair, leftmost on ties, until none is in the table. A queue of candidate
// pairs keeps this at n log n, since a piece can be as long as the text. An entry is stale when either part
// has changed since.
void Tokenizer::EncodePiece(std::string_view piece, std::vector<int32_t>& ids) const {
  struct Part {
    int32_t id;
    int32_t before;
    int32_t after;  // index of the next part, -1 at the end
  };
  struct Candidate {
    uint32_t rank;
    int32_t at;
    uint64_t pair;
    int32_t joined;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  std::vector<Part> parts;
  parts.reserve(piece.size());
  for (const char c : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id < 0) continue;  // no token: the byte is lost, and its neighbours meet
    const int32_t at = static_cast<int32_t>(parts.size());
    parts.push_back({id, at - 1, at + 1});
  }
  if (parts.empty()) return;
  parts.back().after = -1;
  const int32_t count = static_cast<int32_t>(parts.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto offer = [&](int32_t at) {
    if (at < 0 || parts[at].after < 0) return;
    const uint64_t pair = PairKey(parts[at].id, parts[parts[at].after].id);
    const auto it = merges_.find(pair);
    if (it != merges_.end()) candidates.push({it->second.rank, at, pair, it->second.id});
  };
  for (int32_t i = 0; i < count; ++i) offer(i);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Part& left = parts[best.at];
    if (left.id < 0 || left.after < 0 || PairKey(left.id, parts[left.after].id) != best.pair) continue;
    Part& right = parts[left.after];
    left.id = best.joined;
    left.after = right.after;
    right.id = -1;  // gone
    if (left.after >= 0) parts[left.after].before = best.at;
    offer(left.before);
    offer(best.at);
  }
  for (int32_t i = 0; i >= 0 && i < count; i = parts[i].after) ids.push_back(parts[i].id);
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::EncodeChat(const std::vector<ChatTurn>& turns,
                                                           bool add_generation_prompt) const {
  if (turns.empty()) return absl::InvalidArgumentError("a conversation has no turn; wanted at least 1");
  for (const ChatTurn& turn : turns) {
    if (turn.role != "system" && turn.role != "user" && turn.role != "assistant") {
      return absl::InvalidArgumentError("a turn's role is unknown; wanted system, user or assistant");
    }
  }
  const std::optional<ChatMl> chat = RecogniseChatTemplate(parts_.chat_template);
  const std::optional<int32_t> start = FindToken("<|im_start|>");
  const std::optional<int32_t> end = FindToken("<|im_end|>");
  if (!chat.has_value() || !start.has_value() || !end.has_value() || !is_special(*start) ||
      !is_special(*end)) {
    return absl::FailedPreconditionError(
        "the model has no chat template that is known here; wanted ChatML with <|im_start|> and <|im_end|>");
  }
  std::vector<int32_t> ids;
  const auto add = [&](std::string_view role, std::string_view content) {
    ids.push_back(*start);
    EncodePlain(RepairUtf8(std::string(role) + "\n" + std::string(content)), ids);
    ids.push_back(*end);
    EncodePlain("\n", ids);
  };
  if (chat->default_system.has_value() && turns.front().role != "system")
    add("system", *chat->default_system);
  for (const ChatTurn& turn : turns) add(turn.role, turn.content);
  if (add_generation_prompt) {
    ids.push_back(*start);
    EncodePlain("assistant\n", ids);
  }
  return ids;
}

std::string Tokenizer::DecodeBytes(std::span<const int32_t> ids, bool skip_specials) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocabulary_size() || (skip_specials && is_special(id))) continue;
    bytes += bytes_[id];
  }
  return bytes;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_specials) const {
  return RepairUtf8(DecodeBytes(ids, skip_specials));
}

}  // namespace retort::student
