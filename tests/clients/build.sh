#!/usr/bin/env bash
# Builds grpcurl and the Connect conformance runner from the Go modules that go.mod pins, once: they are kept under
# ${XDG_CACHE_HOME:-~/.cache}/retort/clients, in a folder named by what is pinned, with the runner's protos in `proto`. Prints
# that folder. Needs go, of the version that go.mod asks for, and, the first time, the network of its module proxy.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

say() { printf 'clients: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

command -v go >/dev/null || die "there is no Go here. These tests run public clients, which are built from Go modules: install Go \
$(sed -n 's/^go //p' go.mod) or newer, or leave them to a machine that has it. 'make test' does not need it."
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  die "there is no Node here, or no npm: install Node 20 or newer, or leave these tests to a machine that has it. 'make test' does not need it."
fi

folder=${XDG_CACHE_HOME:-$HOME/.cache}/retort/clients/$(cat build.sh go.mod go.sum | sha256sum | cut -c1-12)
if [ ! -e "$folder/complete" ]; then
  mkdir -p "$folder/proto/connectrpc/conformance/v1"
  for package in github.com/fullstorydev/grpcurl/cmd/grpcurl connectrpc.com/conformance/cmd/connectconformance; do
    say "building $package"
    CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags='-s -w' -o "$folder/" "$package"
  done
  module=$(go list -mod=readonly -m -f '{{.Dir}}' connectrpc.com/conformance)
  install -m 0644 "$module"/proto/connectrpc/conformance/v1/*.proto "$folder/proto/connectrpc/conformance/v1/"
  touch "$folder/complete"
fi
printf '%s\n' "$folder"
