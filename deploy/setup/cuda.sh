#!/usr/bin/env bash
# Prints the folder of a CUDA 13 toolkit on standard output: one that is installed, or else one made of NVIDIA's wheels
# from PyPI (deploy/setup/cuda-wheels.txt: exact versions and SHA-256), kept in a cache folder. Nothing is installed
# system-wide, and neither root nor a GPU is needed.
#
#   deploy/setup/cuda.sh              finds or fetches (1.2 GB once); a second run only prints the folder
#   deploy/setup/cuda.sh --find       finds; downloads nothing; exit 1 when there is none
#
# Looked at in this order: $CUDA_HOME, the nvcc in $PATH, /usr/local/cuda, the cache. One that is installed must be of
# release 13 and have cuBLAS. Index and proxy are pip's own: PIP_INDEX_URL, PIP_FIND_LINKS, HTTPS_PROXY and so on.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly WHEELS=$here/cuda-wheels.txt
readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/retort

say() { printf 'cuda: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

is_toolkit() { # is_toolkit FOLDER: nvcc of release 13 that runs here, with cuBLAS to link
  [ -x "$1/bin/nvcc" ] && [ -e "$1/lib64/libcublas.so" ] && "$1/bin/nvcc" --version 2>/dev/null | grep -q 'release 13\.'
}

find_installed() {
  local root in_path
  in_path=$(command -v nvcc || true)
  [ -z "$in_path" ] || in_path=$(dirname "$(dirname "$(readlink -f "$in_path")")")
  for root in "${CUDA_HOME:-}" "$in_path" /usr/local/cuda "$toolkit/nvidia/cu13"; do
    if [ -n "$root" ] && is_toolkit "$root"; then printf '%s\n' "$root"; return 0; fi
  done
  return 1
}

# NVIDIA's wheels carry only versioned library names, and compilers look in lib64.
complete_links() { # complete_links FOLDER
  local library
  for library in "$1"/lib/*.so.* "$1"/../nccl/lib/*.so.*; do
    [ -e "$library" ] || continue
    [ -e "${library%%.so.*}.so" ] || ln -s "$(basename "$library")" "${library%%.so.*}.so"
  done
  [ -e "$1/lib64" ] || ln -s lib "$1/lib64"
}

# Everything is made in a folder of its own and moved in one step, so a run that is killed leaves nothing that a later
# one would take for a toolkit; a lock keeps two runs apart.
fetch() {
  python3 -m pip --version >/dev/null 2>&1 ||
    die "no CUDA 13 toolkit is installed and python3 has no pip to fetch one: install python3-pip, or set CUDA_HOME"
  rm -rf "$CACHE"/cuda.part.*
  local work
  work=$(mktemp -d "$CACHE/cuda.part.XXXXXX")
  # shellcheck disable=SC2064  # the folder's name is fixed now
  trap "rm -rf '$work'" EXIT
  say "fetching the CUDA 13 toolkit (1.2 GB) from PyPI into $toolkit"
  mkdir "$work/temporary"
  # pip unpacks in TMPDIR first, and /tmp may be small. --target needs no leave from an externally managed Python.
  TMPDIR=$work/temporary PIP_USER=no PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir \
    --no-compile --no-deps --only-binary :all: --require-hashes --target "$work/toolkit" --requirement "$WHEELS" >&2 ||
    die "cannot fetch the wheels that $WHEELS names (pip says why above); with no network, set CUDA_HOME to the folder \
of a CUDA 13 toolkit, or PIP_INDEX_URL or PIP_FIND_LINKS to where these wheels are"
  complete_links "$work/toolkit/nvidia/cu13"
  is_toolkit "$work/toolkit/nvidia/cu13" || die "the toolkit that the wheels make does not run here ($(uname -m))"
  sync -f "$work/toolkit"
  rm -rf "$toolkit"
  mv "$work/toolkit" "$toolkit"
  say "kept at $toolkit"
}

main() {
  local find_only=no
  case $#:${1:-} in
    0:) ;;
    1:--find) find_only=yes ;;
    1:-h | 1:--help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "saw '$*', wanted --find, --help or nothing" ;;
  esac
  local digest
  digest=$(sha256sum "$WHEELS")
  toolkit=$CACHE/cuda-13.0-${digest:0:12}
  if find_installed; then exit 0; fi
  [ "$find_only" = no ] || die "no CUDA 13 toolkit in CUDA_HOME, PATH, /usr/local/cuda or $toolkit"
  mkdir -p "$CACHE"
  exec 9>"$CACHE/cuda.lock"
  flock 9
  find_installed || { fetch && printf '%s\n' "$toolkit/nvidia/cu13"; }
}

main "$@"
