#!/usr/bin/env bash
# Prints the files with the CustomResourceDefinitions of cert-manager and of the Prometheus operator that our objects need, from
# the modules that definitions/go.mod pins. Nothing of them is built. Needs go; the first time, the network.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/definitions"

folder_of() { go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }

cert_manager=$(folder_of github.com/cert-manager/cert-manager)
prometheus=$(folder_of github.com/prometheus-operator/prometheus-operator)
printf '%s\n' "$cert_manager"/deploy/crds/cert-manager.io_{certificates,issuers,clusterissuers}.yaml \
  "$prometheus"/example/prometheus-operator-crd/monitoring.coreos.com_{prometheusrules,servicemonitors}.yaml
