#include "student/bench/report.h"

#include <cstdarg>

namespace retort::student {
namespace {

double TokensPerSecond(const StepTime& step) {
  return static_cast<double>(step.tokens) / step.seconds;
}

std::string Format(const char* format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return text;
}

// As a JSON string; device names are printable but may hold quotes.
std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + "\"";
}

// The shape under the names of Hugging Face's config.json, so that another program can make the same model.
std::string Config(const ModelConfig& c) {
  const struct {
    const char* name;
    double value;
  } kNumbers[] = {{"vocab_size", static_cast<double>(c.vocabulary)},
                  {"hidden_size", static_cast<double>(c.hidden)},
                  {"num_hidden_layers", static_cast<double>(c.layers)},
                  {"first_k_dense_replace", static_cast<double>(c.dense_layers)},
                  {"num_attention_heads", static_cast<double>(c.heads)},
                  {"num_key_value_heads", static_cast<double>(c.heads)},
                  {"qk_nope_head_dim", static_cast<double>(c.nope_head_dim)},
                  {"qk_rope_head_dim", static_cast<double>(c.rope_head_dim)},
                  {"v_head_dim", static_cast<double>(c.value_head_dim)},
                  {"kv_lora_rank", static_cast<double>(c.kv_rank)},
                  {"intermediate_size", static_cast<double>(c.dense_width)},
                  {"moe_intermediate_size", static_cast<double>(c.expert_width)},
                  {"n_routed_experts", static_cast<double>(c.experts)},
                  {"num_experts_per_tok", static_cast<double>(c.experts_per_token)},
                  {"n_shared_experts", static_cast<double>(c.shared_experts)},
                  {"n_group", static_cast<double>(c.expert_groups)},
                  {"topk_group", static_cast<double>(c.expert_groups_per_token)},
                  {"routed_scaling_factor", c.routed_scaling},
                  {"max_position_embeddings", static_cast<double>(c.context)},
                  {"rope_theta", c.rope_theta}};
  std::string out = "\"config\":{";
  for (const auto& number : kNumbers) out += Format("\"%s\":%.9g,", number.name, number.value);
  out += Format("\"q_lora_rank\":%s,", c.query_rank > 0 ? std::to_string(c.query_rank).c_str() : "null");
  out += Format("\"norm_topk_prob\":%s,", c.normalise_expert_weights ? "true" : "false");
  return out + Format("\"tie_word_embeddings\":%s}", c.tied_embeddings ? "true" : "false");
}

// A share of something that may not be known.
std::string ShareOrNull(double value, double of) {
  return of > 0 ? Format("%.4f", value / of) : "null";
}

}  // namespace

void PrintTable(const Report& report, std::FILE* out) {
  std::fprintf(out, "%s (%s, %s), shape %s, %lld tokens in documents of %d\n", report.device.name.c_str(),
               report.device.kind.c_str(), report.device.compute.c_str(), report.shape.c_str(),
               static_cast<long long>(report.batch.tokens), report.batch.document);
  std::fprintf(out, "ceilings, measured now: matrix products %.4g TFLOP/s, copies %.1f GB/s\n",
               report.ceilings.flops / 1e12, report.ceilings.bytes / 1e9);
  if (!report.operators.empty()) {
    std::fprintf(out, "\n%-24s %12s %10s %10s %10s  %s\n", "operator", "us", "TFLOP/s", "GB/s", "of bound",
                 "bound by");
    for (const OperatorTime& time : report.operators) {
      std::fprintf(out, "%-24s %12.1f %10s %10.1f %9.1f%%  %s\n", time.name.c_str(), time.seconds * 1e6,
                   time.flops > 0 ? Format("%.4g", time.flops / time.seconds / 1e12).c_str() : "",
                   time.bytes / time.seconds / 1e9, 100 * time.bound(report.ceilings) / time.seconds,
                   time.memory_bound(report.ceilings) ? "memory" : "arithmetic");
    }
  }
  if (!report.step) return;
  const StepTime& step = *report.step;
  if (!step.refusal.empty()) {
    std::fprintf(out, "\ntraining step: not measured: %s\n", step.refusal.c_str());
    return;
  }
  std::fprintf(
      out,
      "\ntraining step: %.1f ms, of them %.1f ms optimiser, %.0f tokens/s, %.2f GB, %.1f%% of the measured "
      "ceiling%s%s\n",
      step.seconds * 1e3, step.optimizer_seconds * 1e3, TokensPerSecond(step),
      static_cast<double>(step.bytes) / 1e9, 100 * step.flops / step.seconds / report.ceilings.flops,
      report.stated_peak > 0
          ? Format(", %.1f%% of the stated peak", 100 * step.flops / step.seconds / report.stated_peak)
                .c_str()
          : "",
      step.recompute ? ", activations recomputed" : "");
}

void PrintJson(const Report& report, std::FILE* out) {
  std::fprintf(
      out,
      "{\"benchmark\":\"device\",\"device\":%s,\"kind\":%s,\"compute\":%s,\"shape\":%s,\"tokens\":%lld,"
      "\"document\":%d,%s,\"ceiling_flops\":%.6g,\"ceiling_bytes\":%.6g,\"stated_flops\":%s,\"operators\":[",
      Quoted(report.device.name).c_str(), Quoted(report.device.kind).c_str(),
      Quoted(report.device.compute).c_str(), Quoted(report.shape).c_str(),
      static_cast<long long>(report.batch.tokens), report.batch.document, Config(report.config).c_str(),
      report.ceilings.flops, report.ceilings.bytes,
      report.stated_peak > 0 ? Format("%.6g", report.stated_peak).c_str() : "null");
  const char* separator = "";
  for (const OperatorTime& time : report.operators) {
    std::fprintf(out,
                 "%s{\"name\":%s,\"seconds\":%.6g,\"flops\":%.6g,\"bytes\":%.6g,\"share_of_bound\":%.4f,"
                 "\"memory_bound\":%s}",
                 separator, Quoted(time.name).c_str(), time.seconds, time.flops, time.bytes,
                 time.bound(report.ceilings) / time.seconds,
                 time.memory_bound(report.ceilings) ? "true" : "false");
    separator = ",";
  }
  std::fprintf(out, "],\"step\":");
  if (!report.step) {
    std::fprintf(out, "null}\n");
    return;
  }
  const StepTime& step = *report.step;
  if (!step.refusal.empty()) {
    std::fprintf(out, "{\"refusal\":%s}}\n", Quoted(step.refusal).c_str());
    return;
  }
  const double rate = step.flops / step.seconds;
  std::fprintf(out,
               "{\"seconds\":%.6g,\"optimizer_seconds\":%.6g,\"tokens_per_second\":%.6g,\"flops\":%.6g,"
               "\"bytes\":%lld,\"recompute\":%s,"
               "\"mfu_of_ceiling\":%.4f,\"mfu_of_stated\":%s,\"last_loss\":%.6g}}\n",
               step.seconds, step.optimizer_seconds, TokensPerSecond(step), step.flops,
               static_cast<long long>(step.bytes), step.recompute ? "true" : "false",
               rate / report.ceilings.flops, ShareOrNull(rate, report.stated_peak).c_str(), step.loss);
}

}  // namespace retort::student
