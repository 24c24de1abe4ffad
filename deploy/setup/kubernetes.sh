#!/usr/bin/env bash
# Installs or upgrades Retort on the cluster of the current kubectl context, in one command. What is there already is kept:
# keys and certificates are made once and never replaced.
#
#   deploy/setup/kubernetes.sh                                  the chart, with its defaults, in the namespace retort
#   deploy/setup/kubernetes.sh -- -f my-values.yaml --wait      everything after -- goes to `helm upgrade --install`
#   deploy/setup/kubernetes.sh --kustomize deploy/kustomize/overlays/prod
#   deploy/setup/kubernetes.sh --secrets-only                   namespace, keys and certificates; install by yourself
#   deploy/setup/kubernetes.sh --client anna                    a certificate for a person: anna.crt, anna.key, anna-ca.crt here
#
#   --namespace NAME    default retort; --name NAME: of the release, default retort (only retort with --kustomize)
#   --cert-manager      make no certificates: cert-manager does (goes with certManager.enabled or that component)
#   --deployment NAME   name in the keys, default retort: that of the values
#   --trust-domain NAME in the certificates, default retort.internal: that of the values
#
# Needs kubectl, helm (not with --kustomize), openssl, and `retort` on the PATH or named by RETORT.
# It makes: the namespace, which enforces the restricted Pod Security level; Secrets <name>-<role>-keys with signing keys and
# <name>-<role>-tls with certificates of an authority whose key is in the Secret <name>-ca; the ConfigMap <name>-public-keys.
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)

namespace=retort name=retort deployment=retort trust_domain=retort.internal how=helm overlay='' certificates=yes client=''
helm_arguments=()
RETORT=${RETORT:-retort}
readonly ROLES=(ledger jobs policy teacher trainer)
readonly CERTIFICATE_DAYS=365

say() { printf 'retort: %s\n' "$*"; }
die() { printf 'retort: %s\n' "$*" >&2; exit 1; }

while [ $# -gt 0 ]; do
  case $1 in
    --namespace | --name | --deployment | --trust-domain | --kustomize | --client)
      [ $# -ge 2 ] || die "$1 needs a value"
      case $1 in
        --namespace) namespace=$2 ;;
        --name) name=$2 ;;
        --deployment) deployment=$2 helm_arguments+=(--set "deployment=$2") ;;
        --trust-domain) trust_domain=$2 helm_arguments+=(--set "trustDomain=$2") ;;
        --kustomize) how=kustomize overlay=$2 ;;
        --client) how=client client=$2 ;;
      esac
      shift 2
      ;;
    --secrets-only) how=none; shift ;;
    --cert-manager) certificates=no; shift ;;
    --) shift; helm_arguments+=("$@"); break ;;
    -h | --help) sed -n '2,18s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "unknown argument '$1' (--help lists them; arguments for helm come after --)" ;;
  esac
done
if [ "$how" = kustomize ] && [ ${#helm_arguments[@]} -gt 0 ]; then
  die "--kustomize: ${helm_arguments[*]} go with helm only; change your overlay instead"
fi
if [ "$how" = kustomize ] && [ "$name" != retort ]; then die "--name $name: the Kustomize tree names its objects retort-*"; fi
case $name in *retort*) ;; *) die "--name $name: wanted a name with 'retort' in it, so that the chart uses it as it is" ;; esac

[[ $how != client || $client =~ ^[a-z0-9][a-z0-9.-]{0,62}$ ]] || die "--client $client: wanted lower-case letters, digits, dots and dashes"
[ ! -e "$client.key" ] || die "$client.key is there already; keys are never overwritten"

need() { command -v "$1" >/dev/null || die "needs $1$2"; }
need kubectl ''
need openssl ''
[ "$how" != helm ] || need helm ' (or use --kustomize)'
[ "$how" = client ] || need "$RETORT" ", the program of Retort: put it on the PATH or name it by RETORT=path"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 700 "$work"

k() { kubectl --namespace "$namespace" "$@"; }
has() { k get "$1" "$2" >/dev/null 2>&1; }

make_namespace() {
  kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"
  # Kept from weakening by accident: what the chart makes needs no more.
  kubectl label namespace "$namespace" --overwrite pod-security.kubernetes.io/enforce=restricted \
    pod-security.kubernetes.io/enforce-version=latest >/dev/null
}

# Keys of a role as a Secret, and their public halves in $work/public.
make_keys() { # ROLE KEY...
  local role=$1 secret=$name-$1-keys key files=()
  shift
  if has secret "$secret"; then
    say "secret $secret: kept"
    for key; do
      [ "$key" = vault ] && continue
      k get secret "$secret" -o "jsonpath={.data.$key\\.key}" | base64 -d >"$work/kept.key"
      chmod 600 "$work/kept.key"
      "$RETORT" key show "$work/kept.key" >"$work/public/$key.vkey"
      rm "$work/kept.key"
    done
    return
  fi
  mkdir "$work/$role"
  for key; do
    if [ "$key" = vault ]; then
      (umask 077; openssl rand -hex 32 >"$work/$role/vault.key")
    else
      [ -e "$work/shared/$key.key" ] || "$RETORT" key generate --name "$deployment/$key" --out "$work/shared/$key.key" \
        >"$work/public/$key.vkey" 2>/dev/null
      cp -p "$work/shared/$key.key" "$work/$role/$key.key"
    fi
    files+=(--from-file="$work/$role/$key.key")
  done
  k create secret generic "$secret" "${files[@]}" >/dev/null
  say "secret $secret: made"
}

fetch_authority() { # made here, or by cert-manager
  k get secret "$name-ca" -o 'jsonpath={.data.tls\.crt}' | base64 -d >"$work/ca.crt"
  (umask 077; k get secret "$name-ca" -o 'jsonpath={.data.tls\.key}' | base64 -d >"$work/ca.key")
}

make_authority() {
  if has secret "$name-ca"; then fetch_authority; return; fi
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/ca.key" -out "$work/ca.crt" \
    -days 3650 -subj "/CN=$name" -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
    2>/dev/null
  k create secret tls "$name-ca" --cert="$work/ca.crt" --key="$work/ca.key" >/dev/null
  say "secret $name-ca: made; it signs every certificate of this installation"
}

issue() { # COMMON-NAME ALTERNATIVE-NAMES: into $work/tls.key and tls.crt
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/tls.key" -out "$work/tls.csr" -subj "/CN=$1" \
    2>/dev/null
  openssl x509 -req -in "$work/tls.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days "$CERTIFICATE_DAYS" \
    -out "$work/tls.crt" -extfile <(printf '%s\n' 'basicConstraints=critical,CA:FALSE' 'keyUsage=critical,digitalSignature' \
      'extendedKeyUsage=serverAuth,clientAuth' "subjectAltName=$2") 2>/dev/null
}

make_client() {
  has secret "$name-ca" || die "no secret $name-ca in namespace $namespace: install first, or ask whoever runs your authority"
  fetch_authority
  issue "$client" "URI:spiffe://$trust_domain/people/$client"
  cp "$work/ca.crt" "$client-ca.crt"
  cp "$work/tls.crt" "$client.crt"
  install -m 600 "$work/tls.key" "$client.key"
  say "made $client.crt, $client.key and $client-ca.crt for spiffe://$trust_domain/people/$client, for $CERTIFICATE_DAYS days; then"
  say "  kubectl -n $namespace port-forward service/$name-jobs 7443"
  say "  retort --server localhost:7443 --tls-ca $client-ca.crt --tls-cert $client.crt --tls-key $client.key job list"
}

make_certificate() { # ROLE
  local secret=$name-$1-tls host=$name-$1
  if has secret "$secret"; then say "secret $secret: kept"; return; fi
  # localhost: through kubectl port-forward.
  issue "$host" "URI:spiffe://$trust_domain/role/$1,DNS:$host,DNS:$host.$namespace,DNS:$host.$namespace.svc,DNS:localhost"
  k create secret generic "$secret" --type=kubernetes.io/tls --from-file="$work/tls.crt" --from-file="$work/tls.key" \
    --from-file="$work/ca.crt" >/dev/null
  say "secret $secret: made, for $CERTIFICATE_DAYS days"
}

make_secrets() {
  mkdir "$work/public" "$work/shared"
  # First the trainer: its key is also the jobs role's, which hands it to trainers on its own machine.
  if has secret "$name-trainer-keys"; then
    (umask 077; k get secret "$name-trainer-keys" -o 'jsonpath={.data.trainer\.key}' | base64 -d >"$work/shared/trainer.key")
  fi
  make_keys trainer trainer
  make_keys ledger log vault
  make_keys jobs jobs trainer
  make_keys policy policy reviewer
  make_keys teacher teacher
  if has configmap "$name-public-keys"; then
    say "configmap $name-public-keys: kept"
  else
    k create configmap "$name-public-keys" --from-file="$work/public" >/dev/null
    say "configmap $name-public-keys: made"
  fi
  [ "$certificates" = yes ] || return 0
  make_authority
  local role
  for role in "${ROLES[@]}"; do make_certificate "$role"; done
}

if [ "$how" = client ]; then make_client; exit 0; fi
make_namespace
make_secrets
case $how in
  helm)
    helm upgrade --install "$name" "$here/deploy/helm/retort" --namespace "$namespace" "${helm_arguments[@]}"
    ;;
  kustomize) k apply --kustomize "$overlay" ;;
esac
