#!/usr/bin/env bash
# Makes what one host needs before `systemctl start retortd`: an authority, certificates, signing keys, who may do what, and the
# configuration. Run it as root after `cmake --install`. It never changes what is there: each file that exists is kept, and said.
#
#   deploy/systemd/provision.sh --deployment retort.example --host retort.example.internal --person anna [--person bo]...
#
#   --deployment NAME   DNS-like name of this installation: trust domain of its identities and origin of its logs
#   --host NAME[:PORT]  what clients connect to; port 7443 when left out
#   --person NAME       gets a certificate and, the first time, every role in the project "default"; may be repeated
#   --gguf FILE         where the embedded teacher's file is; default: where deploy/setup/debian.sh puts it. Other teachers are
#                       added to retortd.yaml by hand: policy must be told truly what they are
#   --root DIR          put everything below DIR instead of / (packagers, tests); owners are then left alone
#   --prefix DIR        where Retort is installed; default /usr/local
set -euo pipefail

die() { printf 'provision: %s\n' "$*" >&2; exit 1; }
say() { printf 'provision: %s\n' "$*"; }

deployment='' host='' root='' prefix=/usr/local people=()
gguf=${XDG_CACHE_HOME:-$HOME/.cache}/retort/SmolLM2-135M-Instruct.Q4_1.gguf
readonly GGUF_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "$1: wanted a value; the first lines of this file say what there is"
  case $1 in
    --deployment) deployment=$2 ;;
    --host) host=$2 ;;
    --person) people+=("$2") ;;
    --gguf) gguf=$2 ;;
    --root) root=${2%/} ;;
    --prefix) prefix=$2 ;;
    *) die "$1: not an option; the first lines of this file say what there is" ;;
  esac
  shift 2
done
[[ $deployment =~ ^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$ ]] || die "--deployment: saw '$deployment', wanted lower-case letters, digits, dots and dashes"
port=7443
[[ $host == *:* ]] && port=${host##*:} host=${host%:*}
[[ $host =~ ^[A-Za-z0-9.-]+$ ]] || die "--host: saw '$host', wanted a DNS name or an IPv4 address"
[[ $port =~ ^[0-9]{1,5}$ ]] || die "--host: saw port '$port'"
[ "${#people[@]}" -gt 0 ] || die "--person: wanted at least one; nobody could do anything otherwise"
for person in "${people[@]}"; do
  [[ $person =~ ^[a-z0-9][a-z0-9-]{0,31}$ ]] || die "--person: saw '$person', wanted lower-case letters, digits and dashes"
done
[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || die "wanted root, or --root for a folder of your own"
[ -r "$gguf" ] || die "--gguf: $gguf is not readable; run deploy/setup/debian.sh, which fetches it, or say where it is"
[ "$(sha256sum "$gguf" | cut -d' ' -f1)" = "$GGUF_SHA256" ] ||
  die "--gguf: $gguf is not SmolLM2-135M-Instruct.Q4_1.gguf (its SHA-256 is another); add other teachers to retortd.yaml by hand"
for program in openssl "$root$prefix/bin/retort"; do
  command -v "$program" >/dev/null || die "$program is not there: run cmake --install first, and apt-get install openssl"
done
readonly retort=$root$prefix/bin/retort etc=$root/etc/retort state=$root/var/lib/retort
umask 077
[ -n "$root" ] || { systemd-sysusers retort.conf && systemd-tmpfiles --create retort.conf; }
mkdir -p "$etc/tls" "$etc/keys" "$etc/authority" "$etc/people" "$state/teachers"

exists() { [ -e "$1" ] && say "kept $1"; }

make_authority() {
  exists "$etc/authority/ca.key" && return
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=$deployment authority" \
    -keyout "$etc/authority/ca.key" -out "$etc/tls/ca.crt" 2>/dev/null
  say "made the authority $etc/authority/ca.key: move it to a place that is not on the network"
}

issue() { # issue FILE-WITHOUT-SUFFIX SPIFFE-PATH DAYS SUBJECT-ALTERNATIVE-NAMES...
  local file=$1 path=$2 days=$3 names
  shift 3
  exists "$file.crt" && return
  [ -e "$etc/authority/ca.key" ] || die "$etc/authority/ca.key is away: bring it back to issue $file.crt"
  names=$(IFS=,; echo "URI:spiffe://$deployment/$path${*:+,$*}")
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=${path##*/}" -keyout "$file.key" -out "$file.csr" 2>/dev/null
  openssl x509 -req -in "$file.csr" -CA "$etc/tls/ca.crt" -CAkey "$etc/authority/ca.key" -CAcreateserial -days "$days" -out "$file.crt" \
    -extfile <(printf 'subjectAltName=%s\nbasicConstraints=critical,CA:FALSE\n' "$names") 2>/dev/null
  rm "$file.csr"
  say "issued $file.crt for spiffe://$deployment/$path, $days days"
}

make_keys() {
  local role
  for role in log teacher policy reviewer jobs trainer; do
    exists "$etc/keys/$role.key" || "$retort" key generate --name "$deployment/$role" --out "$etc/keys/$role.key" >/dev/null 2>&1
  done
  exists "$etc/keys/vault.key" || openssl rand -hex 32 > "$etc/keys/vault.key"
  say "back up $etc/keys: without the vault's key texts are gone, without the log's no entry can follow"
}

make_access() {
  exists "$etc/access.yaml" && return
  {
    printf '# Who may do what; read again when it changes. docs/operations.md has the roles.\ntrust_domain: %s\ngrants:\n' "$deployment"
    printf '  - identity: spiffe://%s/services/retortd\n    roles: [service_jobs, service_teacher, service_policy, service_ledger, service_trainer]\n    projects: ["*"]\n' "$deployment"
    for person in "${people[@]}"; do
      printf '  - identity: spiffe://%s/people/%s\n    roles: [submitter, reviewer, policy_admin, auditor, operator]\n    projects: [default]\n' "$deployment" "$person"
    done
  } > "$etc/access.yaml"
  say "wrote $etc/access.yaml"
}

make_config() {
  exists "$etc/retortd.yaml" && return
  local role vkey
  {
    cat <<YAML
deployment: $deployment
listen: 0.0.0.0:$port
data_dir: /var/lib/retort
packs_dir: $prefix/share/retort/packs
access_file: /etc/retort/access.yaml
tls:
  certificate: /etc/retort/tls/server.crt
  private_key: /etc/retort/tls/server.key
  authorities: /etc/retort/tls/ca.crt
keys:
YAML
    for role in log teacher policy reviewer jobs trainer vault; do printf '  %s: /etc/retort/keys/%s.key\n' "$role" "$role"; done
    printf 'trusted_keys:\n'
    for role in teacher policy reviewer jobs trainer; do
      vkey=$("$retort" key show "$etc/keys/$role.key")
      printf '  - {role: %s, vkey: "%s"}\n' "$role" "$vkey"
    done
    cat <<YAML
teachers:
  - id: embedded
    provider: huggingface
    channel: CHANNEL_OPEN_WEIGHTS
    model: SmolLM2-135M-Instruct
    local: {gguf: /var/lib/retort/teachers/embedded.gguf}
YAML
  } > "$etc/retortd.yaml"
  say "wrote $etc/retortd.yaml"
}

make_authority
issue "$etc/tls/server" services/retortd 90 "DNS:$host" DNS:localhost IP:127.0.0.1
for person in "${people[@]}"; do issue "$etc/people/$person" "people/$person" 30; done
make_keys
make_access
make_config
exists "$state/teachers/embedded.gguf" || install -m 0644 "$gguf" "$state/teachers/embedded.gguf"
if [ -z "$root" ]; then
  chown -R retort:retort "$state" "$etc/tls" "$etc/keys" "$etc/retortd.yaml" "$etc/access.yaml"
  chmod 0755 "$etc"
fi
cat <<EOT
provision: done. Start with: systemctl enable --now retortd
provision: then, with the files of $etc/people and $etc/tls/ca.crt,
  retort --server $host:$port --tls-ca ca.crt --tls-cert ${people[0]}.crt --tls-key ${people[0]}.key job list
EOT
