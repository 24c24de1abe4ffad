#!/usr/bin/env python3
"""Lists registers, shared memory and spills of every kernel in a CUDA build, as NVIDIA's assembler reported them.

    student/bench/kernel_report.py build/cuda [--arch sm_90] [--check]

Prints one Markdown row for each kernel; instantiations of one template are one row with the range of their registers and the
largest figure of the other columns.
--check prints only kernels that spill registers, and exits with 1 when there is one: a test of the CUDA build.
"""
import argparse
import collections
import pathlib
import re
import subprocess
import sys

ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(sm_\d+)\w*'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


class Kernel:
    def __init__(self):
        self.registers = self.shared = self.stack = self.spills = 0


class Row:
    def __init__(self):
        self.registers = []  # of each instantiation
        self.shared = self.stack = self.spills = 0

    def add(self, kernel):
        self.registers.append(kernel.registers)
        for field in ("shared", "stack", "spills"):
            setattr(self, field, max(getattr(self, field), getattr(kernel, field)))

    def __str__(self):
        low, high = min(self.registers), max(self.registers)
        registers = str(low) if low == high else f"{low}–{high}"
        return f"{len(self.registers)} | {registers} | {self.shared} | {self.stack} | {self.spills}"


def read(build, arch):
    """{(source, mangled name): Kernel} of one architecture."""
    kernels = {}
    for path in sorted(pathlib.Path(build).rglob("*.cu.o.ptxas")):
        source = path.name[:-len(".o.ptxas")]
        current = None
        for line in path.read_text().splitlines():
            if match := ENTRY.search(line):
                current = kernels.setdefault((source, match[1]), Kernel()) if match[2] == arch else None
            elif current is not None and (match := SPILLS.search(line)):
                current.stack = max(current.stack, int(match[1]))
                current.spills = max(current.spills, int(match[2]) + int(match[3]))
            elif current is not None and (match := USED.search(line)):
                current.registers = int(match[1])
                match = SHARED.search(line)
                current.shared = int(match[1]) if match else 0
    return kernels


def plain_names(mangled):
    out = subprocess.run(["c++filt"], input="\n".join(mangled), stdout=subprocess.PIPE, text=True, check=True)
    names = {}
    for symbol, name in zip(mangled, out.stdout.splitlines()):
        name = re.sub(r"\(anonymous namespace\)::", "", name)
        name = re.sub(r"^void ", "", name.split("(")[0])
        names[symbol] = re.sub(r"<.*", "", name).split("::")[-1]
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--arch", default="sm_90")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    kernels = read(options.build, options.arch)
    if not kernels:
        sys.exit(f"kernel_report: no report of a kernel for {options.arch} under {options.build}; wanted a CUDA build")
    names = plain_names([symbol for _, symbol in kernels])
    rows = collections.defaultdict(Row)
    for (source, symbol), kernel in kernels.items():
        rows[source, names[symbol]].add(kernel)
    spilling = 0
    print("| file | kernel | instances | registers | static shared bytes | stack bytes | spilled bytes |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for (source, name), row in sorted(rows.items()):
        spilling += row.spills > 0
        if not options.check or row.spills > 0:
            print(f"| {source} | {name} | {row} |")
    print(f"\n{len(rows)} kernels, {len(kernels)} instances on {options.arch}, {spilling} spill", file=sys.stderr)
    if options.check and spilling:
        sys.exit(1)


if __name__ == "__main__":
    main()
