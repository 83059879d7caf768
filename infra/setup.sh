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

# need_unpacked PROGRAM PACKAGE: a program of a Debian package, unpacked into the cache and not installed, since the package would start
# a server. False where it cannot be had.
need_unpacked() {
  local folder=${tools%/bin}/unpacked/$2 part
  command -v "$1" >/dev/null && return
  if [ ! -x "$folder/usr/bin/$1" ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    say "Fetching $1 once …"
    mkdir -p "${folder%/*}"
    part=$(mktemp -d "$folder.XXXXXX")
    (cd "$part" && apt-get download "$2" >/dev/null 2>&1 && dpkg-deb -x "$2"_*.deb unpacked) || { rm -rf "$part"; return 1; }
    rm -rf "$folder" && mv "$part/unpacked" "$folder" && rm -rf "$part"
  fi
  PATH=$PATH:$folder/usr/bin
}

# The programs of a PostgreSQL server, for tests that start one of their own. Debian keeps them out of PATH.
need_postgres() {
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || need_packages pg_ctlcluster:postgresql
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

# The scripts and styles of the pages, which the edge embeds: built where a source is newer than the last build.
need_web() {
  need_packages node:nodejs npm:npm
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || stop "Node.js $(node --version) is too old: 20.19 or later builds the pages. See https://nodejs.org."
  local built=edge/web/dist/.vite/manifest.json
  [ edge/web/node_modules/.package-lock.json -nt edge/web/package-lock.json ] || npm --prefix edge/web ci --silent --no-fund --no-audit >&2
  [ -e "$built" ] && [ -z "$(find edge/web -path edge/web/node_modules -prune -o -path edge/web/dist -prune -o -type f -newer "$built" -print -quit)" ] ||
    npm --prefix edge/web run --silent build >&2
}

# The system's Chromium, and what drives it. CHROMIUM names another one.
need_browser() {
  [ -n "${CHROMIUM:-}" ] || need_packages chromium:chromium
  export CHROMIUM=${CHROMIUM:-$(command -v chromium)}
  [ tests/browser/node_modules/.package-lock.json -nt tests/browser/package-lock.json ] ||
    npm --prefix tests/browser ci --silent --ignore-scripts --no-fund --no-audit >&2
}

# need_tool NAME VERSION: a cargo tool in exactly this version, built unoptimised (a minute, not ten).
need_tool() {
  PATH=$tools/$1-$2/bin:$PATH
  [ -x "$tools/$1-$2/bin/$1" ] || {
    say "Building $1 $2 once …"
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root "$tools/$1-$2" "$1@$2"
  }
}

# check_advisories: known faults of the crates and of what npm brings. Fails where there is one. Where a database of them cannot be had
# that is no pass: it goes into `unchecked`, and with ADVISORIES=required it fails.
check_advisories() {
  local missing=() folder report
  if cargo deny --locked fetch db >&2; then
    cargo deny --locked check --disable-fetch advisories || stop "A crate has a known fault; see above."
  else
    missing+=("crates, because RustSec's database could not be fetched (https://github.com/rustsec/advisory-db)")
  fi
  for folder in edge/web tests/browser tests/peers; do
    report=$(npm --prefix "$folder" audit --package-lock-only --json 2>/dev/null) || true
    case $(node -p 'const report = JSON.parse(require("fs").readFileSync(0)); report.auditReportVersion ? report.metadata.vulnerabilities.total : "none"' <<<"$report" 2>/dev/null) in
      0) ;;
      '' | none) missing+=("npm's packages of $folder, because the registry does not answer about advisories") ;;
      *) npm --prefix "$folder" audit --package-lock-only >&2; stop "A package of $folder has a known fault; see above." ;;
    esac
  done
  [ ${#missing[@]} -eq 0 ] && return
  printf 'Advisories NOT CHECKED for %s\n' "${missing[@]}" >&2
  [ "${ADVISORIES:-}" != required ] || stop "ADVISORIES=required: what cannot be checked fails."
  unchecked+=("${missing[@]/#/advisories of }")
}

# need_peers: the servers and clients of tests/peers with what they take from npm, in the versions of the lock file. Prints their folder.
need_peers() {
  local folder
  folder=${XDG_CACHE_HOME:-$HOME/.cache}/loopmaster/peers-$(cat tests/peers/package-lock.json tests/peers/*.mjs | sha256sum | cut -c1-16)
  [ -e "$folder/ready" ] || {
    need_packages node:nodejs npm:npm
    say "Installing the peers of the tests …"
    mkdir -p "$folder"
    cp tests/peers/package.json tests/peers/package-lock.json tests/peers/*.mjs "$folder"
    (cd "$folder" && npm ci --silent --ignore-scripts --no-audit --no-fund >&2) || stop "npm could not install tests/peers/package-lock.json."
    touch "$folder/ready"
  }
  printf '%s\n' "$folder"
}

# need_venv NAME PACKAGE==VERSION…: Python programs in an environment of their own, made anew when the list changes.
need_venv() {
  local venv=${tools%/bin}/venv/$1 list=${*:2}
  [ "$(cat "$venv/packages" 2>/dev/null)" = "$list" ] && return
  say "Installing $list once …"
  rm -rf "$venv"
  python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check "${@:2}" >&2 ||
    stop "Python's packages $list could not be installed into $venv."
  printf '%s' "$list" >"$venv/packages"
}

# The C libraries inside the crates (LAME, libFLAC, libopus) are built with these.
build_packages=(c++:build-essential make:build-essential cmake:cmake)

# A Vulkan driver, so that the kernels for graphics cards run somewhere: Mesa's llvmpipe lets the processor play the card. False where
# there is none and none can be had.
need_vulkan() {
  [ -n "${XDG_RUNTIME_DIR:-}" ] || { XDG_RUNTIME_DIR=$(mktemp -d) && export XDG_RUNTIME_DIR; }
  local loader=/sbin/ldconfig
  if "$loader" -p 2>/dev/null | grep -q 'libvulkan\.so\.1' && compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null; then return; fi
  if compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null || [ -n "${VK_DRIVER_FILES:-}" ]; then return; fi
  command -v apt-get >/dev/null || return 1
  # These packages bring no command to look for.
  need_packages no-command:mesa-vulkan-drivers no-command:libvulkan1
}

# first_build PROGRAM WHAT GB MINUTES: says before a first build what is built and about how long it takes (MINUTES of one core), and
# stops where the disk has less than GB free.
first_build() {
  [ ! -x "$1" ] || return 0
  local cores free minutes
  cores=$(getconf _NPROCESSORS_ONLN)
  free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free" -ge "$3" ] || stop "Building $2 takes $3 GB of disk, and $(pwd) has $free GB free. Make room, or clone to another disk."
  minutes=$(($4 / cores > 0 ? $4 / cores : 1))
  say "Building $2 once, on $cores cores: about $minutes minutes."
}

# build ARGUMENTS…: cargo build. On a terminal one line counts the crates; what is wrong is shown as cargo says it, and nothing where there
# is nothing to build.
build() {
  local text count=0 clear= failed=0
  [ ! -t 2 ] || clear=$'\r\033[K'
  cargo build --locked --target-dir target "$@" 2>&1 | while IFS= read -r text; do
    if [[ $text =~ ^\ *(Finished|Blocking)\  ]]; then
      continue
    elif [[ -n $clear && $text =~ ^\ *(Compiling .*) ]]; then
      count=$((count + 1))
      printf '%s%4d %s' "$clear" "$count" "${BASH_REMATCH[1]}"
    else
      printf '%s%s\n' "$clear" "$text"
    fi
  done >&2 || failed=$? # the caller has set pipefail
  [ -z "$clear" ] || printf '%s' "$clear" >&2
  return "$failed"
}
