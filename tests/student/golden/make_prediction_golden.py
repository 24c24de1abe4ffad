"""Makes prediction_golden.bin: losses and slopes of a tiny student with two modules of multi-token prediction.

Run with numpy installed:  python3 tests/student/golden/make_prediction_golden.py
transformers has no such module, so this is the model written down once more, from the equations of the DeepSeek-V3 report
(arXiv 2412.19437, sections 2.1 and 2.2), in fp64, document by document. A module runs over the first n - k positions of a
document of n, as the report says. Before anything is written the student without modules is held against
deepseek_golden.bin, which transformers made. Weights and documents are those of make_deepseek_golden.py.
File: little-endian float64: the loss; the cross-entropy sums of modules 1 and 2; for each trained tensor, in the order of
shapes(), the slope of the loss along the direction that the hash of "<name>.direction" gives (central differences).
"""
import pathlib

import numpy as np

V, H, L, L0, HEADS, DN, DR, DV, RQ, RKV, ID, IE, E, K, S, G, M, R = 64, 32, 3, 1, 2, 32, 8, 16, 32, 32, 64, 32, 8, 3, 1, 4, 2, 2.5
D, WEIGHT, CE_WEIGHT, LENGTHS, TOP_K = 2, 0.3, 0.3, [19, 12], 4
HERE = pathlib.Path(__file__).parent


def uniform(name, count):
    """In [-0.5, 0.5), exact in fp32."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    mask = np.uint64(0xFFFFFFFF)
    i = np.arange(count, dtype=np.uint64)
    x = ((np.uint64(h) ^ ((i * np.uint64(0x9E3779B1)) & mask)) * np.uint64(0x85EBCA6B)) & mask
    x ^= x >> np.uint64(13)
    x = (x * np.uint64(0xC2B2AE35)) & mask
    return (x >> np.uint64(8)).astype(np.float64) / 2**24 - 0.5


def shapes():
    out = {"model.embed_tokens": (V, H)}
    for i in range(L + D):
        p = f"model.layers.{i}."
        if i >= L:
            out |= {p + "enorm": (H,), p + "hnorm": (H,), p + "eh_proj": (H, 2 * H), p + "shared_head.norm": (H,)}
        out |= {p + "input_layernorm": (H,), p + "self_attn.q_a_proj": (RQ, H), p + "self_attn.q_a_layernorm": (RQ,),
                p + "self_attn.q_b_proj": (HEADS * (DN + DR), RQ), p + "self_attn.kv_a_proj_with_mqa": (RKV + DR, H),
                p + "self_attn.kv_a_layernorm": (RKV,), p + "self_attn.kv_b_proj": (HEADS * (DN + DV), RKV),
                p + "self_attn.o_proj": (H, HEADS * DV), p + "post_attention_layernorm": (H,)}
        nets = [("mlp", ID)]
        if i >= L0:
            out |= {p + "mlp.gate": (E, H), p + "mlp.gate.e_score_correction_bias": (E,)}
            nets = [(f"mlp.experts.{j}", IE) for j in range(E)] + [("mlp.shared_experts", S * IE)]
        for net, width in nets:
            out |= {f"{p}{net}.gate_proj": (width, H), f"{p}{net}.up_proj": (width, H), f"{p}{net}.down_proj": (H, width)}
    out |= {"model.norm": (H,), "lm_head": (V, H)}
    return {name if name.endswith("bias") else name + ".weight": shape for name, shape in out.items()}


def value(name, shape):
    u = uniform(name, int(np.prod(shape))).reshape(shape)
    if "norm" in name:
        return 1 + u * 0.5
    return (u + 0.5) * 0.25 if "bias" in name else u * 0.5


def rms(x, w):
    return w * x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def rotate(x):
    """x [..., n, DR]: adjacent pairs by position times frequency."""
    angle = np.arange(x.shape[-2])[:, None] * 10000.0 ** (-np.arange(DR // 2) * 2 / DR)
    a, b = x[..., 0::2], x[..., 1::2]
    return np.stack([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], -1).reshape(x.shape)


def attention(w, p, x):
    n = len(x)
    q = (rms(x @ w(p + "q_a_proj").T, w(p + "q_a_layernorm")) @ w(p + "q_b_proj").T).reshape(n, HEADS, -1).swapaxes(0, 1)
    down = x @ w(p + "kv_a_proj_with_mqa").T
    kv = (rms(down[:, :RKV], w(p + "kv_a_layernorm")) @ w(p + "kv_b_proj").T).reshape(n, HEADS, -1).swapaxes(0, 1)
    scores = q[..., :DN] @ kv[..., :DN].swapaxes(1, 2) + rotate(q[..., DN:]) @ rotate(down[:, RKV:]).T
    scores = np.where(np.tril(np.ones((n, n), bool)), scores / np.sqrt(DN + DR), -np.inf)
    p_ = np.exp(scores - scores.max(-1, keepdims=True))
    out = (p_ / p_.sum(-1, keepdims=True)) @ kv[..., DN:]
    return out.swapaxes(0, 1).reshape(n, -1) @ w(p + "o_proj").T


def gated(w, p, x):
    g = x @ w(p + ".gate_proj").T
    return (g / (1 + np.exp(-g)) * (x @ w(p + ".up_proj").T)) @ w(p + ".down_proj").T


def routed(w, p, x):
    s = 1 / (1 + np.exp(-(x @ w(p + "gate").T)))
    y = gated(w, p + "shared_experts", x)
    for t in range(len(x)):
        choice = s[t] + w(p + "gate.e_score_correction_bias")
        groups = np.sort(choice.reshape(G, -1), -1)[:, -2:].sum(-1)
        kept = np.argsort(-groups, kind="stable")[:M]
        choice = np.where(np.isin(np.arange(E) // (E // G), kept), choice, -np.inf)
        chosen = np.argsort(-choice, kind="stable")[:K]
        for e in chosen:
            y[t] += R * s[t, e] / s[t, chosen].sum() * gated(w, f"{p}experts.{e}", x[t:t + 1])[0]
    return y


def layer(w, i, x):
    p = f"model.layers.{i}."
    x = x + attention(w, p + "self_attn.", rms(x, w(p + "input_layernorm")))
    normed = rms(x, w(p + "post_attention_layernorm"))
    return x + (gated(w, p + "mlp", normed) if i < L0 else routed(w, p + "mlp.", normed))


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def documents():
    for d, n in enumerate(LENGTHS):
        tokens, targets, base = (((uniform(f"{what}.{d}", n) + 0.5) * V).astype(int) for what in ("tokens", "targets", "teacher"))
        yield tokens, targets, (base[:, None] + 7 * np.arange(TOP_K)) % V


def losses(weights):
    """Logits; sums over all positions: cross-entropy, mixed with the divergence, cross-entropy of each module."""
    def w(name):
        return weights[name if name.endswith("bias") else name + ".weight"]
    all_logits, ce_sum, mixed, predictions = [], 0.0, 0.0, np.zeros(D)
    q = np.array([0.5 ** (k + 1) for k in range(TOP_K)] + [0.5 ** TOP_K])
    for tokens, targets, teacher in documents():
        n = len(tokens)
        h = w("model.embed_tokens")[tokens]
        for i in range(L):
            h = layer(w, i, h)
        logits = rms(h, w("model.norm")) @ w("lm_head").T
        logp = log_softmax(logits)
        ce = -logp[np.arange(n), targets].sum()
        stored = np.take_along_axis(logp, teacher, 1)
        tail = np.log(1 - np.exp(stored).sum(-1))
        kl = (q[:-1] * (np.log(q[:-1]) - stored)).sum() + (q[-1] * (np.log(q[-1]) - tail)).sum()
        all_logits.append(logits)
        ce_sum += ce
        mixed += CE_WEIGHT * ce + (1 - CE_WEIGHT) * kl
        for k in range(1, D + 1):
            p = f"model.layers.{L + k - 1}."
            ahead = rms(w("model.embed_tokens")[tokens[k:]], w(p + "enorm"))
            h = np.concatenate([ahead, rms(h[:n - k], w(p + "hnorm"))], -1) @ w(p + "eh_proj").T
            h = layer(w, L + k - 1, h)
            logp = log_softmax(rms(h, w(p + "shared_head.norm")) @ w("lm_head").T)
            predictions[k - 1] -= logp[np.arange(n - k), targets[k:]].sum()
    return np.concatenate(all_logits), ce_sum, mixed, predictions


def loss_of(weights):
    _, _, mixed, predictions = losses(weights)
    return (mixed + WEIGHT / D * predictions.sum()) / sum(LENGTHS)


def main():
    weights = {name: value(name, shape) for name, shape in shapes().items()}
    logits, ce, mixed, predictions = losses(weights)
    golden = np.fromfile(HERE / "deepseek_golden.bin", "<f4")
    for ours, theirs, bound in ((logits.ravel(), golden[:logits.size], 1e-4), (ce / 31, golden[logits.size], 1e-6),
                                (mixed / 31, golden[logits.size + 1], 1e-6)):
        assert np.abs(ours - theirs).max() < bound, np.abs(ours - theirs).max()
    section = [loss_of(weights), *predictions]
    for name, shape in shapes().items():
        if name.endswith("bias"):
            continue
        direction, before = uniform(name + ".direction", int(np.prod(shape))).reshape(shape), weights[name]
        sides = []
        for side in (1e-5, -1e-5):
            weights[name] = before + side * direction
            sides.append(loss_of(weights))
        weights[name] = before
        section.append((sides[0] - sides[1]) / 2e-5)
    path = HERE / "prediction_golden.bin"
    np.array(section, "<f8").tofile(path)
    print(path, path.stat().st_size, "bytes; loss", section[0], "modules", predictions)


if __name__ == "__main__":
    main()
