"""Makes deepseek_golden.bin: what transformers' DeepseekV3ForCausalLM computes for a tiny model.

Run with torch, transformers and safetensors installed:  python3 tests/student/golden/make_deepseek_golden.py
Weights are not stored: value i of a tensor is a hash of its name and i, exact in fp32, the same here and in the test.
File: little-endian float32, one section after the other, as listed by section() below; sizes follow from the shapes.
"""
import json
import pathlib
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import DeepseekV3ForCausalLM

V, H, L, L0, HEADS, DN, DR, DV, RQ, RKV, ID, IE, E, K, S, G, M, R = 64, 32, 3, 1, 2, 32, 8, 16, 32, 32, 64, 32, 8, 3, 1, 4, 2, 2.5
LENGTHS, TOP_K, CE_WEIGHT = [19, 12], 4, 0.3
torch.set_num_threads(1)


def uniform(name, count):
    """In [-0.5, 0.5), exact in fp32."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    i = np.arange(count, dtype=np.uint64)
    x = ((np.uint64(h) ^ ((i * np.uint64(0x9E3779B1)) & np.uint64(0xFFFFFFFF))) * np.uint64(0x85EBCA6B)) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(13)
    x = (x * np.uint64(0xC2B2AE35)) & np.uint64(0xFFFFFFFF)
    return (((x >> np.uint64(8)).astype(np.float64) / 2**24) - 0.5).astype(np.float32)


def shapes():
    out = {"model.embed_tokens.weight": (V, H)}
    for i in range(L):
        p = f"model.layers.{i}."
        out |= {p + "input_layernorm.weight": (H,), p + "self_attn.q_a_proj.weight": (RQ, H),
                p + "self_attn.q_a_layernorm.weight": (RQ,), p + "self_attn.q_b_proj.weight": (HEADS * (DN + DR), RQ),
                p + "self_attn.kv_a_proj_with_mqa.weight": (RKV + DR, H), p + "self_attn.kv_a_layernorm.weight": (RKV,),
                p + "self_attn.kv_b_proj.weight": (HEADS * (DN + DV), RKV), p + "self_attn.o_proj.weight": (H, HEADS * DV),
                p + "post_attention_layernorm.weight": (H,)}

        def gated(name, width):
            return {name + ".gate_proj.weight": (width, H), name + ".up_proj.weight": (width, H),
                    name + ".down_proj.weight": (H, width)}
        if i < L0:
            out |= gated(p + "mlp", ID)
            continue
        out |= {p + "mlp.gate.weight": (E, H), p + "mlp.gate.e_score_correction_bias": (E,)}
        for j in range(E):
            out |= gated(f"{p}mlp.experts.{j}", IE)
        out |= gated(p + "mlp.shared_experts", S * IE)
    return out | {"model.norm.weight": (H,), "lm_head.weight": (V, H)}


def value(name, shape):
    u = torch.from_numpy(uniform(name, int(np.prod(shape)))).reshape(shape)
    if "norm" in name:
        return 1 + u * 0.5
    if "bias" in name:
        return (u + 0.5) * 0.25  # not negative: some versions of transformers mask with 0 and not with -infinity
    return u * 0.5


def load():
    config = dict(
        architectures=["DeepseekV3ForCausalLM"], model_type="deepseek_v3", vocab_size=V, hidden_size=H, intermediate_size=ID,
        moe_intermediate_size=IE, num_hidden_layers=L, num_attention_heads=HEADS, num_key_value_heads=HEADS,
        n_shared_experts=S, n_routed_experts=E, routed_scaling_factor=R, kv_lora_rank=RKV, q_lora_rank=RQ,
        qk_rope_head_dim=DR, qk_nope_head_dim=DN, v_head_dim=DV, n_group=G, topk_group=M, num_experts_per_tok=K,
        first_k_dense_replace=L0, norm_topk_prob=True, hidden_act="silu", max_position_embeddings=64, rms_norm_eps=1e-6,
        tie_word_embeddings=False, rope_theta=10000.0, rope_scaling=None, rope_interleave=True, attention_bias=False,
        attention_dropout=0.0, torch_dtype="float32", scoring_func="sigmoid", topk_method="noaux_tc",
        bos_token_id=1, eos_token_id=2, pad_token_id=2)
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(config))
        save_file({n: value(n, s).contiguous() for n, s in shapes().items()}, folder + "/model.safetensors",
                  metadata={"format": "pt"})
        model = DeepseekV3ForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.train()


def documents():
    """Tokens, targets and teacher of every document, from the same hash."""
    out = []
    for d, n in enumerate(LENGTHS):
        def ids(what, count):
            return torch.from_numpy(((uniform(f"{what}.{d}", count).astype(np.float64) + 0.5) * V).astype(np.int64))
        tokens, targets, base = ids("tokens", n), ids("targets", n), ids("teacher", n)
        teacher = (base[:, None] + torch.arange(TOP_K)[None, :] * 7) % V
        raw = torch.tensor([0.5 ** (k + 1) for k in range(TOP_K)] + [0.5 ** TOP_K], dtype=torch.float64)
        out.append((tokens, targets, teacher, raw))
    return out


def loss_of(model, docs, ce_weight):
    total, count, all_logits = 0, sum(LENGTHS), []
    for tokens, targets, teacher, q in docs:
        logits = model(input_ids=tokens[None]).logits[0]
        all_logits.append(logits.detach())
        logp = torch.log_softmax(logits.double(), -1)
        ce = -logp[torch.arange(len(tokens)), targets].sum()
        if ce_weight < 1:
            stored = torch.zeros_like(logp, dtype=torch.bool).scatter(1, teacher, True)
            tail = torch.logsumexp(logp.masked_fill(stored, float("-inf")), -1)
            kl = (q[:-1] * (q[:-1].log() - logp.gather(1, teacher))).sum() + (q[-1] * (q[-1].log() - tail)).sum()
            total = total + ce_weight * ce + (1 - ce_weight) * kl
        else:
            total = total + ce
    return total / count, torch.cat(all_logits)


def gradient(model, name):
    """Of one tensor in checkpoint naming; newer versions fuse the experts in memory."""
    named = dict(model.named_parameters())
    if name in named:
        return named[name].grad
    prefix, rest = name.split(".experts.")
    j, which = rest.split(".")[:2]
    if which == "down_proj":
        return named[prefix + ".experts.down_proj"].grad[int(j)]
    fused = named[prefix + ".experts.gate_up_proj"].grad[int(j)]
    return fused[:IE] if which == "gate_proj" else fused[IE:]


def main():
    model, docs, sections = load(), documents(), []

    def section(tensor):
        sections.append(np.asarray(tensor, dtype="<f4").reshape(-1))
    loss, logits = loss_of(model, docs, 1.0)
    section(logits)          # [T, V]
    section([loss.item()])   # cross-entropy alone
    loss, _ = loss_of(model, docs, CE_WEIGHT)
    section([loss.item()])   # mixed with the divergence
    loss.backward()
    for name in shapes():    # gradients of the mixed loss, in order of shapes(), state left out
        if not name.endswith("bias"):
            section(gradient(model, name).detach())
    # Ten AdamW steps on the mixed loss, clipped to norm 1; the loss before each.
    plain = [p for n, p in model.named_parameters() if "norm" in n or "embed" in n]
    decayed = [p for n, p in model.named_parameters() if not ("norm" in n or "embed" in n)]
    optimizer = torch.optim.AdamW([{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.1}], lr=3e-3,
                                  betas=(0.9, 0.95), eps=1e-8)
    for _ in range(10):
        optimizer.zero_grad()
        loss, _ = loss_of(model, docs, CE_WEIGHT)
        loss.backward()
        norm = torch.sqrt(sum((p.grad.double() ** 2).sum() for p in plain + decayed if p.grad is not None))
        for p in plain + decayed:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            p.grad *= min(1.0, 1.0 / norm.item())
        optimizer.step()
        section([loss.item()])
    path = pathlib.Path(__file__).with_name("deepseek_golden.bin")
    np.concatenate(sections).tofile(path)
    print(path, path.stat().st_size, "bytes")


main()
