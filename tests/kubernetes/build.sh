#!/usr/bin/env bash
# Builds the programs of a Kubernetes control plane from the Go modules that go.mod, kwok/go.mod and kueue/go.mod pin, once:
# they are kept under ${XDG_CACHE_HOME:-~/.cache}/retort/kubernetes, in a folder named by what is pinned. Prints that folder.
#
#   tests/kubernetes/build.sh             all of them; about 25 CPU-minutes the first time, then nothing
#   tests/kubernetes/build.sh helm kwok   some
#
# Needs go, of the version that go.mod asks for, and, the first time, the network of its module proxy.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"

readonly PROGRAMS=(kubectl helm etcd kube-apiserver kube-controller-manager kube-scheduler kwok kueue)

say() { printf 'kubernetes: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

command -v go >/dev/null || die "there is no Go here. These tests run a real control plane, which is built from Go modules: \
install Go $(sed -n 's/^go //p' go.mod) or newer, or leave them to a machine that has it. 'make test' does not need it."

folder_of() { # a folder for what is pinned now
  local pinned
  pinned=$(cat build.sh go.mod go.sum kwok/go.mod kwok/go.sum kueue/go.mod kueue/go.sum | sha256sum | cut -c1-12)
  printf '%s/retort/kubernetes/%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}" "$pinned"
}

minor_of() { cut -d. -f2 <<<"$1"; }

version_flags() { # a module build knows no git, and kubectl, the API server and feature gates compare versions
  local version=$1 package
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- '-X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitCommit=module -X %s.buildDate=1970-01-01T00:00:00Z ' \
      "$package" "$version" "$package" "$package" "$(minor_of "$version")" "$package" "$package"
  done
}

module_folder() { (cd "$1" && go list -m -f '{{.Dir}}' "$2"); }

# What kwok does with nodes and pods, and when: its own stages.
gather_stages() {
  local stages file
  stages=$(module_folder kwok sigs.k8s.io/kwok)/kustomize/stage
  for file in "$stages"/node/fast/node-initialize.yaml "$stages"/node/heartbeat-with-lease/node-*.yaml \
    "$stages"/pod/general/pod-*.yaml "$stages"/pod/chaos/pod-*.yaml; do
    printf -- '---\n'
    cat "$file"
    printf '\n'
  done
}

build() {
  local name=$1 module=. package flags='-s -w' begin=$SECONDS
  case $name in
    etcd) package=go.etcd.io/etcd/server/v3 ;;
    helm)
      package=helm.sh/helm/v3/cmd/helm
      # The Kubernetes that `helm template` assumes.
      flags+=" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1"
      flags+=" -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$(minor_of "$(go list -m -f '{{.Version}}' k8s.io/kubernetes)")"
      ;;
    kwok | kueue) module=$name package=sigs.k8s.io/$name/cmd/$name ;;
    kubectl | kube-*)
      package=k8s.io/kubernetes/cmd/$name
      flags+=" $(version_flags "$(go list -m -f '{{.Version}}' k8s.io/kubernetes)")"
      ;;
    *) die "unknown program '$name' (wanted ${PROGRAMS[*]})" ;;
  esac
  say "building $name"
  # The compiler collects its garbage less often: a fifth less work for memory that a build machine has.
  (cd "$module" && CGO_ENABLED=0 GOGC=400 go build -buildvcs=false -trimpath -ldflags "$flags" -o "$folder/$name.new" "$package")
  case $name in
    kwok) gather_stages >"$folder/kwok-stages.yaml" ;;
    kueue)
      rm -rf "$folder/kueue-config"
      cp -r --no-preserve=mode "$(module_folder kueue sigs.k8s.io/kueue)/config" "$folder/kueue-config"
      ;;
  esac
  mv "$folder/$name.new" "$folder/$name"
  say "built $name in $((SECONDS - begin)) s"
}

folder=$(folder_of)
mkdir -p "$folder"
[ $# -gt 0 ] || set -- "${PROGRAMS[@]}"
for name; do
  [ -x "$folder/$name" ] || build "$name"
done
printf '%s\n' "$folder"
