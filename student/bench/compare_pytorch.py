#!/usr/bin/env python3
"""Trains one shape with PyTorch (transformers' DeepseekV3ForCausalLM) on the device on which device_bench trains it, and
prints both and the ratio.

    student/bench/compare_pytorch.py build/release/bin/device_bench --device=cuda --shape=nano --tokens=16384

Arguments after the program are passed on to it. Both sides take the same shape (device_bench says it), the same number of
tokens in documents of equal length, the same loss (cross-entropy mixed with the divergence from a stored top-k teacher with
one tail bucket), clipping at 1 and AdamW; fp32 master weights, matrix products in the type that device_bench used (bf16 by
autocast). The experts run in the fastest of transformers' implementations that works here; so does AdamW.

Exit status: 0 when both were measured, 77 when PyTorch or transformers is missing, 1 when something failed.
"""
import json
import math
import statistics
import subprocess
import sys
import time

SKIPPED = 77
WARM_UP_STEPS, STEPS = 2, 5
CE_WEIGHT, TEACHER_K = 0.1, 32
EXPERTS = ("grouped_mm", "batched_mm", "eager")  # fastest first


def run_ours(command):
    out = subprocess.run(command + ["--skip-operators"], stdout=subprocess.PIPE, text=True)
    if out.returncode != 0:
        sys.exit(f"compare_pytorch: {command[0]} ended with {out.returncode}")
    ours = json.loads(out.stdout)
    if not ours["step"] or "refusal" in ours["step"]:
        sys.exit(f"compare_pytorch: no training step was measured: {ours['step']}")
    return ours


def make_model(torch, transformers, shape, device, experts):
    fields = dict(shape, routed_scaling_factor=float(shape["routed_scaling_factor"]), num_mtp_layers=0, use_cache=False)
    rope = {"rope_type": "default", "rope_theta": float(fields.pop("rope_theta"))}
    config = transformers.DeepseekV3Config(**fields, rope_parameters=rope)
    config._experts_implementation = experts
    torch.manual_seed(1)
    with torch.device(device):
        return transformers.DeepseekV3ForCausalLM(config).train()


def make_batch(torch, ours, vocabulary, device):
    documents = ours["tokens"] // ours["document"]
    if documents * ours["document"] != ours["tokens"]:
        sys.exit(f"compare_pytorch: saw --tokens={ours['tokens']}, wanted a multiple of --document={ours['document']}")
    shape = (documents, ours["document"])
    random = torch.Generator().manual_seed(1)
    tokens = torch.randint(vocabulary, shape, generator=random).to(device)
    targets = torch.randint(vocabulary, shape, generator=random).to(device)
    first = torch.randint(vocabulary, shape + (1,), generator=random)
    k = min(TEACHER_K, vocabulary // 2)
    ids = ((first + torch.arange(k) * (vocabulary // (k + 1))) % vocabulary).to(device)
    logprobs = (-(torch.arange(k) + 1.0) * math.log(2)).to(device)
    return tokens, targets, ids, logprobs


def loss_of(torch, logits, targets, ids, teacher):
    logp = torch.log_softmax(logits.float(), dim=-1)
    ce = -logp.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    stored = logp.gather(-1, ids)
    q = teacher.exp()
    log_q_tail = teacher[-1]  # the entries are halves of halves: the tail has what the last one has
    p_tail = torch.log(-torch.expm1(torch.clamp(stored.logsumexp(-1), max=-1e-7)))
    kl = (q * (teacher - stored)).sum(-1) + log_q_tail.exp() * (log_q_tail - p_tail)
    return (CE_WEIGHT * ce + (1 - CE_WEIGHT) * kl).mean()


def train(torch, transformers, ours, device, experts):
    shape = ours["config"]
    model = make_model(torch, transformers, shape, device, experts)
    tokens, targets, ids, teacher = make_batch(torch, ours, shape["vocab_size"], device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=device == "cuda")
    finish = torch.cuda.synchronize if device == "cuda" else lambda: None
    seconds = []
    for step in range(WARM_UP_STEPS + STEPS):
        finish()
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16, enabled=ours["compute"] == "bf16"):
            logits = model(input_ids=tokens).logits
        loss_of(torch, logits, targets, ids, teacher).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        finish()
        if step >= WARM_UP_STEPS:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if len(sys.argv) > 1 else 2)
    try:
        import torch
        import transformers
    except ImportError as missing:
        print(f"compare_pytorch: {missing.name} is not installed for {sys.executable}: nothing to compare with", file=sys.stderr)
        sys.exit(SKIPPED)
    ours = run_ours(sys.argv[1:])
    device = ours["kind"]
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("compare_pytorch: device_bench used CUDA, and this PyTorch sees no CUDA device")
    seconds, used = None, None
    for experts in EXPERTS:
        try:
            seconds, used = train(torch, transformers, ours, device, experts), experts
            break
        except (RuntimeError, ValueError, NotImplementedError, ImportError) as failure:
            print(f"compare_pytorch: experts by {experts}: {str(failure).splitlines()[0]}", file=sys.stderr)
    if seconds is None:
        sys.exit("compare_pytorch: PyTorch could not train this shape")
    theirs = ours["tokens"] / seconds
    rate = ours["step"]["tokens_per_second"]
    print(f"{ours['device']} ({ours['kind']}, {ours['compute']}), shape {ours['shape']}, {ours['tokens']} tokens a step",
          file=sys.stderr)
    print(f"  retort                           {rate:12.0f} tokens/s", file=sys.stderr)
    print(f"  PyTorch {torch.__version__:<12} {used:<12}{theirs:12.0f} tokens/s", file=sys.stderr)
    print(f"  ratio                            {rate / theirs:12.2f}", file=sys.stderr)
    print(json.dumps({"benchmark": "compare_pytorch", "device": ours["device"], "compute": ours["compute"],
                      "shape": ours["shape"], "tokens": ours["tokens"], "tokens_per_second": rate,
                      "pytorch": torch.__version__, "transformers": transformers.__version__, "experts": used,
                      "pytorch_tokens_per_second": theirs, "ratio": rate / theirs}))


if __name__ == "__main__":
    main()
