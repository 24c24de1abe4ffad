#!/usr/bin/env python3
"""Compares exported students with transformers' DeepseekV3ForCausalLM, and records its logits as a golden file.

Needs Python packages torch, transformers, safetensors and numpy. Never run by the tests; they read what it recorded.

  mkdir /tmp/golden
  RETORT_GOLDEN_DIR=/tmp/golden build/release/bin/student_export_test --gtest_filter='*AgreesWithTransformers'
  python3 tests/student/golden/check_export_with_transformers.py /tmp/golden \\
      --record tests/student/golden/export_logits.safetensors
  build/release/bin/student_export_test --gtest_filter='*AgreesWithTransformers'     # prints the largest difference
"""
import argparse
import pathlib

import numpy
import safetensors.numpy
import torch
import transformers


def logits_of(folder: pathlib.Path) -> numpy.ndarray:
    """Logits [tokens, vocabulary] in fp32 of the ids that the test left beside the export."""
    ids = [int(word) for word in (folder / "ids.txt").read_text().split()]
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[kind]:
            raise SystemExit(f"{folder}: {kind}: {report[kind]}")
    if type(model).__name__ != "DeepseekV3ForCausalLM":
        raise SystemExit(f"{folder}: loads as {type(model).__name__}")
    model.eval()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].to(torch.float32).numpy()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True)
    if not text.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"):
        raise SystemExit(f"{folder}: unexpected chat template result {text!r}")
    return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="folder of exported students")
    parser.add_argument("--record", type=pathlib.Path, help="safetensors file to write")
    arguments = parser.parse_args()
    tensors = {}
    for folder in sorted(path for path in arguments.folder.iterdir() if path.is_dir()):
        tensors[f"{folder.name}.logits"] = logits_of(folder)
        print(f"{folder.name}: {tensors[f'{folder.name}.logits'].shape} loads and runs")
    if arguments.record:
        safetensors.numpy.save_file(tensors, arguments.record, metadata={
            "implementation": "transformers DeepseekV3ForCausalLM, eager attention, fp32, CPU",
            "transformers": transformers.__version__, "torch": torch.__version__})


if __name__ == "__main__":
    main()
