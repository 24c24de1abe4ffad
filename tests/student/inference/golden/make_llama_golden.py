#!/usr/bin/env python3
"""Makes llama_golden.json: greedy text and log-probabilities of the embedded teacher by transformers in fp32.

    python make_llama_golden.py MODEL.gguf > llama_golden.json     (needs: pip install torch transformers gguf numpy)

transformers dequantises the GGUF's weights to fp32 and runs LlamaForCausalLM; token ids of the prompts come from
tokenizer_golden's reference tokenizer rules by way of ids given to the C++ test, which renders the same prompts itself and
checks that they are equal. For every generated position the five most likely ids with their log-probabilities are kept,
and `gap`, the distance between the first two: where it is below `near_tie` a correct implementation may choose the other
token, and the C++ test compares the greedy ids only up to such a position.
"""
import json
import os
import sys

import torch
import transformers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tokenizer/golden"))
import make_tokenizer_golden as reference_tokenizer  # noqa: E402

NEAR_TIE = 2e-3
TOKENS = 40
PROMPTS = [
    "Why is the sky blue?",
    "Name three metals that conduct electricity well.",
    "Write one sentence about a copper still.",
    "Count from one to twenty in words, then explain what 12 + 30 is.",
    "Explain in two sentences how bread rises.",
]


def main():
    folder, name = os.path.split(os.path.abspath(sys.argv[1]))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    tokenizer, _, _ = reference_tokenizer.reference(sys.argv[1])
    cases = []
    for prompt in PROMPTS:
        text = reference_tokenizer.render([("user", prompt)], True)
        prompt_ids = reference_tokenizer.ids_of(tokenizer, text.encode(), True)
        ids = list(prompt_ids)
        case = {"prompt": prompt, "prompt_ids": prompt_ids, "ids": [], "top_ids": [], "top_logprobs": [], "near_ties": []}
        for position in range(TOKENS):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1].double()
            top = torch.topk(torch.log_softmax(logits, 0), 5)
            case["ids"].append(int(top.indices[0]))
            case["top_ids"].append(top.indices.tolist())
            case["top_logprobs"].append([round(v, 6) for v in top.values.tolist()])
            if float(top.values[0] - top.values[1]) < NEAR_TIE:
                case["near_ties"].append(position)
            ids.append(int(top.indices[0]))
            if ids[-1] == 2:
                break
        case["text"] = tokenizer.decode(case["ids"], skip_special_tokens=True)
        cases.append(case)
    golden = {"made_by": "make_llama_golden.py", "transformers": transformers.__version__, "torch": torch.__version__,
              "near_tie": NEAR_TIE, "cases": cases}
    print(json.dumps(golden).replace('{"prompt"', '\n{"prompt"').replace('"top_ids"', '\n"top_ids"'))


if __name__ == "__main__":
    main()
