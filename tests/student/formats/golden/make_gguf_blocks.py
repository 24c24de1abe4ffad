#!/usr/bin/env python3
"""Makes gguf_blocks.json: random blocks of each GGUF type with the fp32 values that the gguf package makes of them.

    python make_gguf_blocks.py > gguf_blocks.json     (needs: pip install gguf numpy)
"""
import json

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q8_0", "Q4_K", "Q6_K"]
# Where the fp16 scales of a block are: they are drawn from ordinary numbers, so that no value is NaN or infinite.
SCALES = {"F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q8_0": [0], "Q4_K": [0, 2], "Q6_K": [208]}


def main():
    random = np.random.default_rng(2026)
    out = []
    for name in TYPES:
        kind = GGMLQuantizationType[name]
        weights, size = GGML_QUANT_SIZES[kind]
        count = 3 if weights > 32 else 4 if weights > 1 else 24
        blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
        if name in ("F32", "BF16"):
            value = random.standard_normal(count).astype(np.float32).view(np.uint8).reshape(count, 4)
            blocks = value if name == "F32" else np.ascontiguousarray(value[:, 2:])
        for at in SCALES.get(name, []):
            scale = (random.standard_normal(count) / 16).astype(np.float16)
            blocks[:, at:at + 2] = scale.view(np.uint8).reshape(count, 2)
        values = quants.dequantize(blocks.reshape(1, -1) if name not in ("F32",) else blocks.view(np.float32).reshape(1, -1), kind)
        values = np.ascontiguousarray(values, dtype=np.float32)
        assert values.size == count * weights and np.isfinite(values).all()
        out.append({"type": int(kind), "name": name, "blocks": blocks.tobytes().hex(), "values": values.tobytes().hex()})
    print(json.dumps({"made_by": "make_gguf_blocks.py", "types": out}).replace('{"type"', '\n{"type"'))


if __name__ == "__main__":
    main()
