#!/usr/bin/env bash
# Installs LoopMastering for this user, from a release where there is one for this machine, else from the checkout it lies in:
#   infra/install.sh [FOLDER-OR-URL-OF-A-RELEASE]        into ~/.local, or $PREFIX
# The archive is held against SHA256SUMS of the release before anything is installed; what was there before is replaced as a whole.
set -euo pipefail
stop() { printf '%s\n' "$*" >&2; exit 1; }
prefix=${PREFIX:-$HOME/.local}
from=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() {
  case $from in
    http://* | https://*) curl -fsSL --proto '=https,http' "$from/$1" -o "$work/$1" ;;
    *) cp "$from/$1" "$work/$1" ;;
  esac
}

if [ -n "$from" ]; then
  [ "$(uname -s)" = Linux ] || stop "Releases are for Linux; this is $(uname -s)."
  fetch SHA256SUMS 2>/dev/null || stop "There is no SHA256SUMS at $from; give the folder or the address of a release."
  archive=$(sed -n "s/^[0-9a-f]\{64\}  \(loopmaster-[0-9][^/]*-$(uname -m)-linux\.tar\.gz\)\$/\1/p" "$work/SHA256SUMS")
  [ "$(wc -w <<<"$archive")" = 1 ] || stop "The release at $from has no program for $(uname -m)."
  fetch "$archive" || stop "$archive cannot be fetched from $from."
  (cd "$work" && grep -F "  $archive" SHA256SUMS | sha256sum --check --status) || stop "$archive is not what SHA256SUMS says; nothing was installed."
  tar -C "$work" -xzf "$work/$archive"
  tree=$work/${archive%.tar.gz}
else
  root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
  [ -x "$root/run" ] || stop "Give the folder or the address of a release: infra/install.sh FOLDER-OR-URL"
  printf 'No release was named: compiling.\n' >&2
  "$root/infra/release" "$work/release" || stop "It could not be compiled; nothing was installed."
  "$0" "$work/release"
  exit
fi

lib=$prefix/lib/loopmaster
mkdir -p "$prefix/bin" "$prefix/lib"
rm -rf "$lib.new" && cp -R "$tree/lib/loopmaster" "$lib.new"
rm -rf "$lib" && mv "$lib.new" "$lib"
for program in "$tree"/bin/*; do
  name=$(basename "$program")
  cp "$program" "$prefix/bin/.$name.new" && mv "$prefix/bin/.$name.new" "$prefix/bin/$name"
done
printf 'Installed into %s/bin: %s\n' "$prefix" "$(cd "$tree/bin" && echo *)"
case :$PATH: in *":$prefix/bin:"*) ;; *) printf 'Add %s/bin to your PATH.\n' "$prefix" ;; esac
printf 'Master a file:      loopmaster master song.wav\nOpen the product:   loopmaster-up\n'
