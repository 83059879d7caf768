# What `run` and `test` need on a fresh Debian or Ubuntu with Rust: looked for first, installed once where it is missing.
# Sourced, not run; the caller sets `root` to the repository and stands in it.
# shellcheck shell=bash

tools=${XDG_CACHE_HOME:-$HOME/.cache}/loopmaster/bin # cargo's own tools, kept outside the clone

say() { printf '%s\n' "$*" >&2; }
stop() { say "$@"; exit 1; }

# need_packages COMMAND:PACKAGE…: apt-get install the packages whose command is not there.
need_packages() {
  local missing=() pair
  for pair; do command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  local by=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || stop "Missing: ${missing[*]}. As root: apt-get install ${missing[*]}"
    by=(sudo)
  fi
  command -v apt-get >/dev/null || stop "Missing: ${missing[*]}. Install them with this system's package manager; the names are Debian's."
  say "Installing ${missing[*]} …"
  "${by[@]}" apt-get update -qq >/dev/null || say "apt-get update failed; trying with the package lists that are here."
  "${by[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    stop "apt-get could not install ${missing[*]}. Install them by hand and start again."
}

# The toolchain of rust-toolchain.toml; where it can neither be found nor fetched, the machine's own stable if it is new enough.
need_rust() {
  command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
  command -v cargo >/dev/null || stop "Rust is missing. Install it from https://rustup.rs and start again."
  cargo --version >/dev/null 2>&1 && return
  local wanted have
  wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
  say "Installing Rust $wanted …"
  rustup toolchain install "$wanted" --profile minimal -c clippy -c rustfmt --no-self-update >&2 && return
  have=$(rustc +stable --version | cut -d' ' -f2)
  [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -1)" = "$wanted" ] ||
    stop "Rust $wanted cannot be fetched and the installed stable is ${have:-missing}. Run: rustup toolchain install $wanted"
  say "Rust $wanted cannot be fetched; going on with the installed stable, $have."
  export RUSTUP_TOOLCHAIN=stable
}

# need_target TRIPLE: the standard library for another platform; false where it cannot be fetched.
need_target() {
  [ -d "$(rustc --print sysroot)/lib/rustlib/$1" ] || rustup target add "$1" >&2
}

# need_tool NAME VERSION: a cargo tool in exactly this version, built unoptimised (a minute, not ten).
need_tool() {
  PATH=$tools/$1-$2/bin:$PATH
  [ -x "$tools/$1-$2/bin/$1" ] || {
    say "Building $1 $2 once …"
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root "$tools/$1-$2" "$1@$2"
  }
}

# The C libraries inside the crates (LAME, libFLAC, libopus) are built with these.
build_packages=(c++:build-essential make:build-essential cmake:cmake)
