#!/usr/bin/env bash
# Finds a CUDA 13 toolkit, or fetches NVIDIA's wheels from PyPI into a cache folder, and prints its path on standard
# output. Nothing is installed system-wide and no GPU is needed: enough to compile and link.
#
#   CUDACXX=$(deploy/setup/cuda.sh)/bin/nvcc cmake --preset cuda
set -euo pipefail

readonly TOOLKIT=${XDG_CACHE_HOME:-$HOME/.cache}/retort/cuda-13.0
readonly WHEELS=(nvidia-cuda-nvcc==13.0.* nvidia-cuda-crt==13.0.* nvidia-nvvm==13.0.* nvidia-cuda-cccl==13.0.*
  nvidia-cuda-runtime==13.0.* nvidia-nvml-dev==13.0.* nvidia-cublas==13.*)

say() { printf 'cuda: %s\n' "$*" >&2; }

is_cuda_13() { "$1/bin/nvcc" --version 2>/dev/null | grep -q 'release 13\.'; }

for root in "${CUDA_HOME:-}" /usr/local/cuda "$TOOLKIT/nvidia/cu13"; do
  if [ -n "$root" ] && [ -x "$root/bin/nvcc" ] && is_cuda_13 "$root" && [ -e "$root/lib64/libcublas.so" ]; then
    say "using $root"
    printf '%s\n' "$root"
    exit 0
  fi
done

say "downloading the CUDA 13 toolkit from PyPI (0.9 GB) into $TOOLKIT"
rm -rf "$TOOLKIT.part"
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$TOOLKIT.part" "${WHEELS[@]}" >&2 ||
  { say "cannot download ${WHEELS[*]}; with no network, set CUDA_HOME to a CUDA 13 toolkit"; exit 1; }
cd "$TOOLKIT.part/nvidia/cu13"
# The wheels carry only versioned library names, and the compiler looks in lib64.
for library in lib/*.so.*; do
  name=${library%%.so.*}.so
  [ -e "$name" ] || ln -s "$(basename "$library")" "$name"
done
[ -e lib64 ] || ln -s lib lib64
rm -rf "$TOOLKIT"
mv "$TOOLKIT.part" "$TOOLKIT"
say "kept at $TOOLKIT"
printf '%s\n' "$TOOLKIT/nvidia/cu13"
