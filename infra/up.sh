#!/usr/bin/env bash
# loopmaster-up: the whole product of a release on this machine, without a checkout; what infra/serve.sh is to one.
set -euo pipefail
bin=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
data=${LOOPMASTER_DATA:-${XDG_DATA_HOME:-$HOME/.local/share}/loopmaster}
mkdir -p "$(dirname "$data")"
LOOPMASTER_DATA=$data exec "$bin/../lib/loopmaster/infra/serve.sh" "$bin"
