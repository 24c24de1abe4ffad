#!/usr/bin/env python3
"""Checks of the tree that no compiler makes: direction of includes, names, words, sizes, README files.

Every finding is one line: file:line: what was seen, what is wanted. Exit 1 when there is any.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What a folder may include besides itself. Entries with a slash are single headers or folders: the small leaves that
# cross the border between two libraries (docs/architecture.md says why each does).
SIGNING = ("ledger/signing.h", "ledger/signed_statement.h", "ledger/statement.h", "ledger/digest.h", "ledger/hex.h",
           "ledger/uuid.h", "ledger/dsse.h", "ledger/base64.h")
ARROWS = {
    "proto": (),
    "ledger": ("proto/", "retort/", "google/"),
    "policy": ("proto/", "retort/", "google/") + SIGNING,
    "student": ("ledger/approved_sample.h",),
    "teacher": ("student/inference/", "student/tokenizer/", "student/formats/"),
    "services": ("proto/", "ledger/", "policy/", "teacher/", "student/", "retort/", "google/"),
}
PROJECT_FOLDERS = ("proto", "ledger", "policy", "teacher", "student", "services", "tests", "deploy")
SAYS_NOTHING = re.compile(r"(^|[/_.])(utils?|common|helpers?|misc)([/_.]|$)", re.I)
# Paths of one machine, registries' hosts, and words about how the tree came to be do not belong in it.
FORBIDDEN = re.compile("|".join((
    r"/wo" r"rk/", r"\.\./sha" r"red", r"/ro" r"ot/", r"pypi\.or" r"g", r"registry\.npm" r"js", r"deb\.debi" r"an\.org",
    r"\bTO" r"DO\b", r"\bFIX" r"ME\b", r"\bXX" r"X\b", r"not implement" r"ed yet")))
LINES_MAX = 700
BYTES_MAX = 1 << 20


def tracked():
    out = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    return [pathlib.PurePosixPath(p) for p in out.decode().split("\0") if p and (ROOT / p).is_file()]


def include_findings(path, text):
    top = path.parts[0]
    if top not in ARROWS:
        return
    allowed = ARROWS[top]
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match:
            continue
        target = match.group(1)
        if target.startswith(top + "/"):
            continue
        if any(target == a or (a.endswith("/") and target.startswith(a)) for a in allowed):
            continue
        if target.split("/")[0] in PROJECT_FOLDERS or "/" not in target:
            yield f"{path}:{number}: includes {target}; {top}/ may include itself and {', '.join(allowed) or 'nothing else'}"


def findings():
    files = tracked()
    for path in files:
        size = (ROOT / path).stat().st_size
        if size > BYTES_MAX:
            yield f"{path}: {size} bytes; wanted at most {BYTES_MAX}"
        if SAYS_NOTHING.search(str(path)):
            yield f"{path}: a name that says nothing; wanted the name of the concept"
        try:
            text = (ROOT / path).read_text("utf-8")
        except UnicodeDecodeError:
            continue  # golden files and fuzz corpora are bytes
        if path.parts[0] == "tests" and path.parts[1:2] == ("fuzz",) and path.suffix not in (".cc", ".md"):
            continue
        if path.suffix in (".h", ".cc", ".cu", ".cuh"):
            yield from include_findings(path, text)
            lines = text.count("\n")
            if lines > LINES_MAX:
                yield f"{path}: {lines} lines; wanted at most {LINES_MAX}"
            if path.suffix == ".h" and path.parts[0] != "tests":
                guard = str(path).upper().replace("/", "_").replace(".", "_").replace("-", "_") + "_"
                if f"#ifndef {guard}" not in text:
                    yield f"{path}: no include guard {guard}"
        if path.name == "check_tree.py":
            continue
        for number, line in enumerate(text.splitlines(), 1):
            match = FORBIDDEN.search(line)
            if match:
                yield f"{path}:{number}: holds '{match.group(0)}'"
    for folder in ("proto", "ledger", "policy", "teacher", "student", "services", "deploy", "tests"):
        readme = ROOT / folder / "README.md"
        if not readme.is_file():
            yield f"{folder}/README.md: missing"
        elif readme.read_text("utf-8").count("\n") > 70:
            yield f"{folder}/README.md: longer than a page (70 lines)"


def main():
    found = list(findings())
    print("\n".join(found) if found else "no findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
