#!/usr/bin/env bash
# Submits a distillation job to the HTTP gateway of a Retort server with curl, follows it to its end, fetches the evidence.
#
#   submit_job.sh --server retort.example:7445 --cert me.crt --key me.key --ca ca.crt --job job.json --out evidence
#   submit_job.sh --dev --job job.json --out evidence          # a `retortd --dev` of this user
#
# The job is the JSON of a JobSpec (proto/retort/jobs/v1/job_spec.proto). Further arguments: --project ID (demo), --job-id ID.
# Needs curl and jq. Exit code: 0 succeeded, 1 failed, 2 wrong usage, 3 refused by policy, 7 the server cannot be reached.
set -euo pipefail

readonly USAGE=2 REFUSED=3 UNREACHABLE=7

fail() { printf 'error: %s\n' "$2" >&2; exit "$1"; }

# call METHOD JSON: a unary call. Prints the answer; an error goes to standard error and ends the program.
call() {
  local answer status code=1
  answer=$(curl --silent --show-error --max-time 30 "${TLS[@]}" --write-out '\n%{http_code}' \
    --header 'Content-Type: application/json' --header 'Connect-Protocol-Version: 1' \
    --data-binary "$2" "$URL/$1") || fail "$UNREACHABLE" "no answer from $URL"
  status=${answer##*$'\n'} answer=${answer%$'\n'*}
  if [ "$status" != 200 ]; then
    ! jq -e '.details[0].debug.reason // "" | startswith("POLICY_")' <<<"$answer" >/dev/null 2>&1 || code=$REFUSED
    fail "$code" "$(jq -r '"\(.message) (\(.details[0].debug.reason // .code))"' <<<"$answer" 2>/dev/null || echo "$answer")"
  fi
  printf '%s\n' "$answer"
}

# stream METHOD JSON: a call that streams its answer: one line of JSON a message. The last line is the end of the stream,
# after "end ". A message is one byte of flags, four of length in network order, and the text.
stream() {
  local length
  length=$(printf '%08x' "$(printf '%s' "$2" | wc -c)")
  # shellcheck disable=SC2059  # the format is the length, written by this script
  { printf '\0'; printf "\\x${length:0:2}\\x${length:2:2}\\x${length:4:2}\\x${length:6:2}"; printf '%s' "$2"; } |
    curl --silent --show-error --no-buffer "${TLS[@]}" --header 'Content-Type: application/connect+json' \
      --header 'Connect-Protocol-Version: 1' --data-binary @- "$URL/$1" |
    while read -r flags a b c d < <(head -c 5 | od -An -tu1) && [ -n "${d:-}" ]; do
      [ $((flags & 2)) -eq 0 ] || printf 'end '
      head -c $((a << 24 | b << 16 | c << 8 | d))
      printf '\n'
    done
}

# Follows the job; prints a line when something changes. A stream that breaks is taken up where it broke.
watch_job() {
  local token='' shown='' line state='' attempts=0 text
  while [ "$attempts" -lt 10 ]; do
    while IFS= read -r line; do
      case $line in
        'end '*) [ "$line" = 'end {}' ] || printf '%s\n' "${line#end }" | jq -r '.error.message // empty' >&2; break ;;
      esac
      attempts=0
      token=$(jq -r '.resumeToken // ""' <<<"$line")
      state=$(jq -r '.job.state // ""' <<<"$line")
      [ -n "$state" ] || continue
      JOB=$(jq -c '.job' <<<"$line")
      text=$(jq -r '"\(.state | ltrimstr("STATE_") | ascii_downcase) samples \(.progress.samplesDone // 0)/\(.progress.samplesTotal // 0)"' <<<"$JOB")
      [ "$text" = "$shown" ] || printf '%s\n' "$text"
      shown=$text
      case $state in STATE_SUCCEEDED | STATE_FAILED | STATE_CANCELLED) return ;; esac
    done < <(stream retort.jobs.v1.JobsService/WatchJob "$(jq -nc --arg n "$1" --arg t "$token" '{name: $n, resumeToken: $t}')")
    attempts=$((attempts + 1))
    sleep 1
  done
  fail "$UNREACHABLE" "the watch of $1 broke again and again; the job goes on"
}

# Prepares the evidence of the project's log and writes its files under a new folder.
fetch_evidence() {
  local log=projects/$1/ledgers/main out=$2 operation line path files=0
  mkdir "$out" || fail "$USAGE" "--out: wanted a folder that is not there yet"
  operation=$(call retort.ledger.v1.LedgerService/ExportEvidence "$(jq -nc --arg n "$log" '{name: $n}')")
  while [ "$(jq -r '.done // false' <<<"$operation")" != true ]; do
    operation=$(call google.longrunning.Operations/WaitOperation \
      "$(jq -c '{name, timeout: "20s"}' <<<"$operation")")
  done
  jq -e 'has("response")' <<<"$operation" >/dev/null || fail 1 "$(jq -r '.error.message' <<<"$operation")"
  while IFS= read -r line; do
    case $line in
      'end '*) [ "$(jq 'has("error")' <<<"${line#end }")" = false ] || fail 1 "$(jq -r '.error.message' <<<"${line#end }")"
        [ "$files" = "$(jq -r '.response.fileCount' <<<"$operation")" ] ||
          fail 1 "saw $files files, wanted $(jq -r '.response.fileCount' <<<"$operation")"
        printf 'evidence: %s files of %s entries in %s\n' "$files" "$(jq -r '.response.treeSize' <<<"$operation")" "$out"
        return ;;
    esac
    path=$(jq -r '.path' <<<"$line")
    # What a server says is a path must stay below the folder.
    case /$path/ in *[!A-Za-z0-9._/-]* | */../* | */./* | *//*) fail 1 "the server sent a path that is none" ;; esac
    mkdir -p "$out/$(dirname "$path")"
    jq -r '.content // ""' <<<"$line" | base64 --decode >>"$out/$path"
    [ "$(jq '.last // false' <<<"$line")" = false ] || files=$((files + 1))
  done < <(stream retort.ledger.v1.LedgerService/ReadEvidence \
    "$(jq -nc --arg n "$log" --arg t "$(jq -r '.response.treeSize' <<<"$operation")" '{name: $n, treeSize: $t}')")
  fail 1 "the stream of the evidence has no end"
}

main() {
  local server='' cert='' key='' ca='' dev=no job='' out='' project=demo job_id='' created
  while [ $# -gt 0 ]; do
    case $1 in
      --dev) dev=yes; shift; continue ;;
      -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    esac
    [ $# -ge 2 ] || fail "$USAGE" "$1: wanted a value"
    case $1 in
      --server) server=$2 ;; --cert) cert=$2 ;; --key) key=$2 ;; --ca) ca=$2 ;; --job) job=$2 ;; --out) out=$2 ;;
      --project) project=$2 ;; --job-id) job_id=$2 ;;
      *) fail "$USAGE" "unknown argument '$1'" ;;
    esac
    shift 2
  done
  if [ ! -r "$job" ] || [ -z "$out" ]; then fail "$USAGE" "wanted --job FILE and --out FOLDER"; fi
  if [ "$dev" = yes ]; then
    server=$(cat "${RETORT_DEV_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/retort/dev}/gateway") ||
      fail "$UNREACHABLE" "no retortd --dev of this user"
    URL=http://$server TLS=()
  else
    if [ -z "$server" ] || [ -z "$cert" ] || [ -z "$key" ] || [ -z "$ca" ]; then
      fail "$USAGE" "wanted --server, --cert, --key and --ca, or --dev"
    fi
    URL=https://$server TLS=(--cert "$cert" --key "$key" --cacert "$ca")
  fi
  # The request id makes this safe to repeat: the same id with the same job creates it once.
  created=$(call retort.jobs.v1.JobsService/CreateJob "$(jq -c --arg p "projects/$project" --arg i "$job_id" \
    --arg r "$(cat /proc/sys/kernel/random/uuid)" '{parent: $p, jobId: $i, requestId: $r, spec: .}' "$job")")
  JOB=$created
  printf 'created %s\n' "$(jq -r .name <<<"$JOB")"
  watch_job "$(jq -r .name <<<"$JOB")"
  case $(jq -r .state <<<"$JOB") in
    STATE_SUCCEEDED) ;;
    *) created=1
      ! jq -e '.stateReason // "" | startswith("POLICY_")' <<<"$JOB" >/dev/null || created=$REFUSED
      fail "$created" "$(jq -r '"\(.stateReason): \(.stateMessage)"' <<<"$JOB")" ;;
  esac
  fetch_evidence "$project" "$out"
}

main "$@"
