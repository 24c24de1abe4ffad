#!/usr/bin/env python3
"""Writes unicode_classes.inc: which code points the `tokenizers` library takes for letters, numbers and white space.

The library is asked itself, one code point at a time, because its regular expression engine and its digit rule each carry
a Unicode version of their own, newer than Python's. unicodedata is used to show where they differ.

    python make_unicode_classes.py > unicode_classes.inc      (needs: pip install tokenizers)
"""
import sys
import unicodedata

import tokenizers
from tokenizers import pre_tokenizers

PATTERN = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
DIGITS = pre_tokenizers.Digits(individual_digits=True)


def pieces(pre_tokenizer, text):
    return len(pre_tokenizer.pre_tokenize_str(text))


def pattern_class(c):
    """L, N, S or O: which alternative of the GPT-2 pattern takes the character in with a neighbour of known class."""
    if pieces(PATTERN, "A" + c) == 1:
        return "L"
    if pieces(PATTERN, "1" + c) == 1:
        return "N"
    if pieces(PATTERN, "!" + c) == 1:
        return "O"
    return "S"


def ranges(members):
    out = []
    for point in members:
        if out and out[-1][1] == point - 1:
            out[-1][1] = point
        else:
            out.append([point, point])
    return out


def write(name, comment, members):
    table = ranges(members)
    print(f"// {comment}: {len(members)} code points.")
    print(f"constexpr CodePointRange {name}[] = {{")
    line = ""
    for first, last in table:
        entry = f"{{0x{first:x}, 0x{last:x}}}, "
        if len(line) + len(entry) > 106:
            print("    " + line.rstrip())
            line = ""
        line += entry
    print("    " + line.rstrip())
    print("};")


def main():
    classes = {"L": [], "N": [], "S": [], "O": []}
    numeric = []
    differ = 0
    for point in range(0x110000):
        if 0xD800 <= point <= 0xDFFF:
            continue
        c = chr(point)
        kind = pattern_class(c)
        classes[kind].append(point)
        if pieces(DIGITS, "a" + c + "a") == 3:
            numeric.append(point)
        category = unicodedata.category(c)[0]
        differ += (category == "L") != (kind == "L") or (category == "N") != (kind == "N")
    print(f"// Made by make_unicode_classes.py with tokenizers {tokenizers.__version__}; do not edit. {differ} code points are")
    print(f"// letters or numbers here and not in Unicode {unicodedata.unidata_version}, or the other way round.")
    write("kLetters", r"\p{L} of the library's pattern", classes["L"])
    write("kNumbers", r"\p{N} of the library's pattern", classes["N"])
    write("kSpaces", r"\s of the library's pattern", classes["S"])
    write("kNumeric", "Numeric characters of the library's digit rule", numeric)
    print(f"letters {len(classes['L'])} numbers {len(classes['N'])} spaces {len(classes['S'])} numeric {len(numeric)}",
          file=sys.stderr)


if __name__ == "__main__":
    main()
