#!/usr/bin/env bash
# Runs a program as a pod of a service account would reach the API server: its token, the server's address and authority, and
# no other credential. For driving the launcher of training runs against the plane of plane.py, or any cluster.
#
#   KUBECONFIG=... tests/kubernetes/as_service_account.sh NAMESPACE ACCOUNT PROGRAM [ARGUMENT...]
#
# The program finds RETORT_KUBERNETES_URL, RETORT_KUBERNETES_AUTHORITIES (PEM file), RETORT_KUBERNETES_TOKEN_FILE (an hour) and
# RETORT_KUBERNETES_NAMESPACE in its environment: what KubernetesApi of the server's configuration wants. KUBECONFIG is unset.
set -euo pipefail

[ $# -ge 3 ] || { echo "usage: $0 NAMESPACE ACCOUNT PROGRAM [ARGUMENT...]" >&2; exit 2; }
namespace=$1 account=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 700 "$work"

url=$(kubectl config view --minify --raw --output 'jsonpath={.clusters[0].cluster.server}')
authorities=$(kubectl config view --minify --raw --output 'jsonpath={.clusters[0].cluster.certificate-authority}')
if [ -n "$authorities" ]; then
  cp "$authorities" "$work/ca.crt"
else
  kubectl config view --minify --raw --output 'jsonpath={.clusters[0].cluster.certificate-authority-data}' | base64 -d >"$work/ca.crt"
fi
[ -s "$work/ca.crt" ] || { echo "$0: no authority of the server in the current context" >&2; exit 1; }
(umask 077; kubectl --namespace "$namespace" create token "$account" --duration=1h >"$work/token")

env --unset=KUBECONFIG RETORT_KUBERNETES_URL="$url" RETORT_KUBERNETES_AUTHORITIES="$work/ca.crt" \
  RETORT_KUBERNETES_TOKEN_FILE="$work/token" RETORT_KUBERNETES_NAMESPACE="$namespace" "$@"
