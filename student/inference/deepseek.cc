#include "student/inference/deepseek.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "student/export/hugging_face.h"
#include "student/formats/message.h"
#include "student/inference/sampler.h"
#include "student/model/latent_cache.h"
#include "student/threads/thread_pool.h"

namespace retort::student {
namespace {

// Bytes at the end of `text` that begin a UTF-8 sequence which the next tokens may complete.
size_t UnfinishedBytes(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if (byte < 0x80) return 0;
    if (byte < 0xc0) continue;  // a continuation: its lead is further left
    const size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? back : 0;
  }
  return 0;
}

// Bytes at the end of `text` that may be the beginning of a stop string.
size_t PossibleStop(std::string_view text, const std::vector<std::string>& stops) {
  size_t held = 0;
  for (const std::string& stop : stops) {
    for (size_t n = std::min(stop.size() - 1, text.size()); n > held; --n) {
      if (text.ends_with(std::string_view(stop).substr(0, n))) held = n;
    }
  }
  return held;
}

size_t FirstStop(std::string_view text, const std::vector<std::string>& stops) {
  size_t first = std::string_view::npos;
  for (const std::string& stop : stops) first = std::min(first, text.find(stop));
  return first;
}

}  // namespace

struct StudentModel::Impl {
  Impl(ParameterSet w, std::unique_ptr<Tokenizer> t, int threads)
      : weights(std::move(w)),
        tokenizer(std::move(t)),
        pool(threads > 0 ? threads : ThreadPool::DefaultThreads()),
        model(weights.config(), pool),
        cache(weights.config(), weights.config().context) {}

  // Logits after `ids`, computing only what the cache does not hold already.
  std::vector<float> LogitsAfter(const std::vector<int32_t>& ids) {
    const auto shared =
        std::mismatch(cached.begin(), cached.end(), ids.begin(), ids.end()).second - ids.begin();
    const auto kept = std::min<size_t>(static_cast<size_t>(shared), ids.size() - 1);
    cache.Truncate(static_cast<int>(kept));
    cached = ids;
    return model.Extend(weights, std::span(ids).subspan(kept), &cache);
  }

  ParameterSet weights;
  std::unique_ptr<Tokenizer> tokenizer;
  ThreadPool pool;
  Model model;
  LatentCache cache;
  std::vector<int32_t> cached;  // ids that the cache holds
};

StudentModel::StudentModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StudentModel::~StudentModel() = default;

const ModelConfig& StudentModel::config() const {
  return impl_->weights.config();
}
const Tokenizer& StudentModel::tokenizer() const {
  return *impl_->tokenizer;
}
const ParameterSet& StudentModel::weights() const {
  return impl_->weights;
}
Model& StudentModel::model() {
  return impl_->model;
}
int64_t StudentModel::parameters() const {
  return CountParameters(config()).total;
}
int64_t StudentModel::active_parameters() const {
  return CountParameters(config()).active;
}

void StudentModel::Reset() {
  impl_->cache.Truncate(0);
  impl_->cached.clear();
}

absl::StatusOr<std::vector<float>> StudentModel::Decode(std::span<const int32_t> ids) {
  const int32_t vocabulary = impl_->tokenizer->vocabulary_size();
  if (ids.empty()) return absl::InvalidArgumentError("ids: none; wanted at least one");
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocabulary) {
      return absl::InvalidArgumentError(Message("ids: ", id, "; wanted 0 to ", vocabulary - 1));
    }
  }
  if (impl_->cached.size() + ids.size() > static_cast<size_t>(impl_->cache.capacity())) {
    return absl::ResourceExhaustedError(Message("ids: ", impl_->cached.size() + ids.size(),
                                                " tokens in all; wanted at most ", impl_->cache.capacity(),
                                                ", the context of the student"));
  }
  std::vector<float> logits = impl_->model.Extend(impl_->weights, ids, &impl_->cache);
  impl_->cached.insert(impl_->cached.end(), ids.begin(), ids.end());
  logits.resize(static_cast<size_t>(vocabulary));
  return logits;
}

absl::StatusOr<std::unique_ptr<StudentModel>> StudentModel::Load(const std::string& folder,
                                                                 StudentLoadOptions options) {
  if (options.threads < 0 || options.threads > 4096) {
    return absl::InvalidArgumentError(Message("threads: ", options.threads, "; wanted 0 to 4096"));
  }
  auto weights = ReadStudent(folder);
  if (!weights.ok()) return weights.status();
  auto tokenizer = Tokenizer::FromHuggingFace(folder);
  if (!tokenizer.ok()) return tokenizer.status();
  if ((*tokenizer)->vocabulary_size() > weights->config().vocabulary) {
    return absl::InvalidArgumentError(Message(folder, ": the tokenizer has ", (*tokenizer)->vocabulary_size(),
                                              " tokens; wanted at most vocab_size, ",
                                              weights->config().vocabulary));
  }
  return std::unique_ptr<StudentModel>(
      new StudentModel(std::make_unique<Impl>(*std::move(weights), *std::move(tokenizer), options.threads)));
}

absl::StatusOr<Generation> StudentModel::Generate(const std::vector<ChatTurn>& turns,
                                                  const SamplingOptions& options,
                                                  const std::function<bool(std::string_view)>& on_text) {
  if (auto status = ValidateSamplingOptions(options); !status.ok()) return status;
  auto ids = impl_->tokenizer->EncodeChat(turns, /*add_generation_prompt=*/true);
  if (!ids.ok()) return ids.status();
  const auto context = static_cast<size_t>(config().context);
  if (ids->size() >= context) {
    return absl::ResourceExhaustedError(Message("the conversation has ", ids->size(),
                                                " tokens; wanted fewer than ", context,
                                                ", the context of the student"));
  }
  const auto& ends = impl_->tokenizer->end_ids();
  const auto vocabulary = static_cast<size_t>(impl_->tokenizer->vocabulary_size());
  Generation generation;
  generation.k = options.top_logprobs;
  generation.prompt_tokens = static_cast<int32_t>(ids->size());
  std::string bytes;  // of the completion so far
  size_t told = 0;    // of them, given to on_text
  const auto tell = [&](size_t end) {
    if (end <= told) return true;
    const bool more = !on_text || on_text(std::string_view(bytes).substr(told, end - told));
    told = end;
    return more;
  };
  while (generation.ids.size() < static_cast<size_t>(options.max_tokens) && ids->size() < context) {
    const std::vector<float> logits = impl_->LogitsAfter(*ids);
    // A vocabulary that was padded has ids without a token; they are never drawn.
    const auto sampled = AppendSampled(std::span(logits).first(vocabulary), options, generation);
    if (!sampled.ok()) return sampled.status();
    const int32_t id = *sampled;
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) {
      generation.finish_reason = FinishReason::kStop;
      break;
    }
    ids->push_back(id);
    bytes += impl_->tokenizer->DecodeBytes({&id, 1}, /*skip_specials=*/true);
    if (const size_t stop = FirstStop(bytes, options.stop); stop != std::string::npos) {
      bytes.resize(stop);
      generation.finish_reason = FinishReason::kStop;
      break;
    }
    const size_t held = std::max(UnfinishedBytes(bytes), PossibleStop(bytes, options.stop));
    if (!tell(bytes.size() - held)) return absl::CancelledError("stopped by the caller");
  }
  if (!tell(bytes.size())) return absl::CancelledError("stopped by the caller");
  generation.text = bytes;
  return generation;
}

}  // namespace retort::student
