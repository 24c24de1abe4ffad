#!/usr/bin/env python3
"""Makes tokenizer_golden.json: what the `tokenizers` library gives for the embedded teacher's tokenizer.

    python make_tokenizer_golden.py MODEL.gguf [FOLDER] > tokenizer_golden.json
    (needs: pip install tokenizers gguf; with FOLDER also transformers)

The reference tokenizer is built here from the GGUF's tokens and merges: individual digits, then byte-level BPE with its
regular expression, special tokens added. FOLDER holds the files that Tokenizer::WriteHuggingFace wrote (the C++ test
leaves them in its temporary folder): they are loaded with `tokenizers` and with transformers and must give the same ids as
the reference everywhere below; only then are their digests recorded, and the C++ test compares them.

The 10,000 generated strings are not stored: generate() below is repeated word for word in generated_strings.h, and one
SHA-256 per 100 strings is kept.
"""
import hashlib
import json
import struct
import sys

import tokenizers
from gguf import GGUFReader
from tokenizers import decoders, models, pre_tokenizers

COUNT = 10_000
GROUP = 100
MASK = (1 << 64) - 1

WORDS = ["the", "The", "retort", "Distil", "hello", "WORLD", "don't", "we'll", "I'm", "they've", "you'd", "it's", "IT'S",
         "'", "''", "'s", "'re", "naïve", "Straße", "Ελληνικά", "русский", "日本語", "中文字符", "한국어", "العربية",
         "עברית", "हिन्दी", "ไทย", "é", "e\u0301", "\U0001F600", "\U0001F468\u200D\U0001F469\u200D\U0001F467",
         "\U0001F1E9\U0001F1EA", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_", "x86_64", "C++20", "a.b.c", "--",
         "==", "...", "?!", "http://example.com/a?b=c&d=1", "²", "③", "Ⅷ", "½", "٣", "१२", "0", "1", "42", "2026", "3.14",
         "1,000", "\u2028", "\u00a0", "\ufeff", "\u200b", "\ufffd", "_", "\\n", "{}", "[]();", "\"", "`", "~", "€", "µ"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n", "\t ", "\u3000", "\u2003", "\x0b", "\x0c", "\x85", "\x1c"]
BAD = [b"\x80", b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80",
       b"\xe2\x28\xa1", b"\xf8"]


class SplitMix64:
    def __init__(self, seed):
        self.state = seed

    def next(self, bound):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % bound


def generate(index):
    """Bytes of string `index`; one in ten or so is not UTF-8."""
    random = SplitMix64(index)
    out = b""
    for _ in range(random.next(24)):
        kind = random.next(10)
        if kind < 4:
            out += WORDS[random.next(len(WORDS))].encode()
        elif kind < 7:
            out += SPACES[random.next(len(SPACES))].encode()
        elif kind < 8:
            for _ in range(1 + random.next(8)):
                out += bytes([0x21 + random.next(94)])
        elif kind < 9:
            low, high = [(0xA0, 0x250), (0x250, 0x3000), (0x3000, 0xA000), (0xA000, 0xD800), (0xE000, 0x10000),
                         (0x10000, 0x20000), (0x20000, 0x110000)][random.next(7)]
            for _ in range(1 + random.next(4)):
                out += chr(low + random.next(high - low)).encode()
        elif random.next(3) == 0:
            out += BAD[random.next(len(BAD))]
    return out


TRAPS = [b"", b" ", b"  ", b"Hello world", b" leading", b"trailing ", b"  both  ", b"a 12", b"2026-11-22", b"1234567890", b"a1b2",
         b" 1", b"1 ", b"tab\tseparated\t", b"\t\ttabs", b"line\nline", b"crlf\r\nline\r\n", b"\n\n\n", b" \n \n", b"I'll don't we've I'M it'S 'tis",
         "²③Ⅷ½".encode(), "٣ १२ 一二三".encode(), "\U0001F600\U0001F468\u200D\U0001F469\u200D\U0001F467 ok".encode(),
         "日本語の文章、中文。".encode(), "e\u0301 vs é; a\u0308\u0323".encode(), "\u00a0nbsp\u2003em\u3000cjk".encode(),
         b"\xff\xfe", b"abc\x80def", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"ok\xc3(", b"<|im_start|>user\nhi<|im_end|>",
         b"<|endoftext|>", b"<|im_start|", b"x<|im_end|>y<|im_end|>", b"a" * 300, b" " * 100, b"=" * 77, b"0" * 40,
         b"The quick brown fox jumps over the lazy dog.", b"def f(x):\n    return x ** 2  # square\n",
         "\u2028\u2029\x85\x1c\x0b\x0c".encode(), "\ufeffBOM".encode(), b"\x00\x01\x7f"]

# Bytes that have no token in SmolLM2's vocabulary: text that holds them does not come back whole.
LOST = {4, 6, 19, 20, 22, 29, 192, 193, 241, 242, 245, 246, 247, 248, 249, 250, 251, 252, 253, 254, 255}

CHATS = [
    ([("user", "Hello")], True),
    ([("user", "Hello")], False),
    ([("system", "Be brief."), ("user", "2 + 2?"), ("assistant", "4"), ("user", "and 3 + 3?")], True),
    ([("user", ""), ("assistant", " spaced \n"), ("user", "\nnewline first")], True),
]


def reference(path):
    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([tokenizers.AddedToken(t, special=True, normalized=False)
                                  for t, k in zip(tokens, kinds) if k in (3, 4)])
    assert tokenizer.get_vocab_size() == len(tokens)
    digest = hashlib.sha256()
    for strings in (tokens, fields["tokenizer.ggml.merges"].contents()):
        digest.update(struct.pack("<I", len(strings)))
        for s in strings:
            digest.update(struct.pack("<I", len(s.encode())) + s.encode())
    return tokenizer, fields["tokenizer.chat_template"].contents(), digest.hexdigest()


def ids_of(tokenizer, data, specials):
    tokenizer.encode_special_tokens = not specials
    return tokenizer.encode(data.decode("utf-8", errors="replace"), add_special_tokens=False).ids


def group_digests(tokenizer):
    digests = []
    for first in range(0, COUNT, GROUP):
        h = hashlib.sha256()
        for index in range(first, first + GROUP):
            for specials in (False, True):
                ids = ids_of(tokenizer, generate(index), specials)
                h.update(struct.pack(f"<{len(ids) + 1}i", len(ids), *ids))
        digests.append(h.hexdigest()[:32])
    return digests


def render(chat, prompt):
    text = "" if chat[0][0] == "system" else (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n")
    text += "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in chat)
    return text + ("<|im_start|>assistant\n" if prompt else "")


def check_folder(folder, golden, chat_template):
    """The written files must behave as the reference does, in both libraries."""
    import transformers
    loaded = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json")
    assert group_digests(loaded) == golden["groups"]
    auto = transformers.AutoTokenizer.from_pretrained(folder)
    assert auto.chat_template == chat_template
    assert (auto.bos_token_id, auto.eos_token_id, auto.unk_token_id, auto.pad_token_id) == (1, 2, 0, 2)
    for trap in golden["traps"]:
        text = bytes.fromhex(trap["hex"]).decode("utf-8", errors="replace")
        assert auto(text, add_special_tokens=False)["input_ids"] == trap["with_specials"], text
        assert auto(text)["input_ids"] == trap["with_specials"], text
        if not LOST & set(text.encode()):
            assert loaded.decode(trap["plain"], skip_special_tokens=False) == text
    for chat, case in zip(CHATS, golden["chats"]):
        messages = [{"role": r, "content": c} for r, c in chat[0]]
        rendered = auto.apply_chat_template(messages, add_generation_prompt=chat[1], tokenize=False)
        assert auto(rendered, add_special_tokens=False)["input_ids"] == case["ids"]
    return {name: hashlib.sha256(open(f"{folder}/{name}", "rb").read()).hexdigest()
            for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")}


def main():
    tokenizer, chat_template, digest = reference(sys.argv[1])
    golden = {"made_by": "make_tokenizer_golden.py", "tokenizers": tokenizers.__version__, "digest": digest}
    golden["traps"] = [{"hex": t.hex(), "plain": ids_of(tokenizer, t, False), "with_specials": ids_of(tokenizer, t, True)}
                       for t in TRAPS]
    golden["chats"] = [{"turns": chat, "prompt": prompt, "ids": ids_of(tokenizer, render(chat, prompt).encode(), True)}
                       for chat, prompt in CHATS]
    golden["groups"] = group_digests(tokenizer)
    if len(sys.argv) > 2:
        golden["files"] = check_folder(sys.argv[2], golden, chat_template)
    lines = json.dumps(golden, ensure_ascii=True).replace('{"hex"', '\n{"hex"').replace('{"turns"', '\n{"turns"')
    print(lines.replace('"groups": [', '\n"groups": [').replace('"files"', '\n"files"'))


if __name__ == "__main__":
    main()
