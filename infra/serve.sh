#!/usr/bin/env bash
# The whole product on this machine:  infra/serve.sh FOLDER-OF-PROGRAMS
# Storage, database, api and worker are one process, the edge is another; when one of them ends, both do.
# LOOPMASTER_DATA is where everything is kept; PORT is the page's, the two above it are the api's and the storage's.
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
programs=$1
data=${LOOPMASTER_DATA:-$root/.loopmaster}
port=${PORT:-3000}
# Secrets lie there: only this account reads them, and nobody else can have put files there.
umask 077
mkdir -p "$data"
if [ ! -O "$data" ] || [ -n "$(find "$data/." -maxdepth 0 -perm /022)" ]; then
  printf '%s\n' "$data is not this user's alone: it belongs to $(stat -Lc %U "$data") (mode $(stat -Lc %a "$data")). Look through it, then chmod -R go-rwx or chown it." >&2
  exit 1
fi
chmod 700 "$data"

export LOOPMASTER_DATA=$data
# Drivers of graphics cards look for a folder of their own, and complain where there is none.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$data}
for pair in PUBLIC_URL:0 API_URL:1 FILES_URL:2; do
  export "LOOPMASTER_${pair%:*}=http://127.0.0.1:$((port + ${pair#*:}))"
  export "SPIN_VARIABLE_${pair%:*}=http://127.0.0.1:$((port + ${pair#*:}))"
done
export LOOPMASTER_LISTEN__API=127.0.0.1:$((port + 1)) LOOPMASTER_LISTEN__FILES=127.0.0.1:$((port + 2))

# Secrets of this machine, made once: what the edge signs its requests with, and what it signs guest cookies with.
for secret in edge.key cookie.key; do
  [ -s "$data/$secret" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$data/$secret"
done
unset LOOPMASTER_EDGE__KEYS__LOCAL SPIN_VARIABLE_EDGE_KEY SPIN_VARIABLE_COOKIE_KEYS
export LOOPMASTER_EDGE__KEYS__LOCAL_FILE=$data/edge.key SPIN_VARIABLE_EDGE_KEY_FILE=$data/edge.key SPIN_VARIABLE_COOKIE_KEYS_FILE=$data/cookie.key

"$programs/loopmaster" serve &
service=$!
edge=
end() {
  trap - EXIT INT TERM
  # The edge first: visitors get an answer as long as there is an api to ask.
  [ -z "$edge" ] || kill "$edge" 2>/dev/null || true
  kill "$service" 2>/dev/null || true
  wait
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
"$programs/loopmaster-edge-host" --manifest "$root/edge/spin.toml" --listen "127.0.0.1:$port" --data "$data/edge" &
edge=$!
for _ in $(seq 1 600); do
  kill -0 "$service" 2>/dev/null && kill -0 "$edge" 2>/dev/null || { wait -n; exit 1; }
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && (exec 3<>"/dev/tcp/127.0.0.1/$((port + 1))") 2>/dev/null; then
    printf '\n  LoopMastering is open at http://127.0.0.1:%s   (Ctrl-C ends it; mails lie in %s/mail)\n\n' "$port" "$data" >&2
    break
  fi
  sleep 0.1
done
wait -n "$service" "$edge"
