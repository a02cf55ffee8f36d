# Sourced by the other scripts: makes a fresh Debian or Ubuntu machine able to run them. Installs only what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Everything that is slow to get lives outside the repository.
export BUILDKIT_ARCHIVE_CACHE="${BUILDKIT_ARCHIVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/buildkit-archive}"
mkdir -p "$BUILDKIT_ARCHIVE_CACHE/bin"
export PATH="$BUILDKIT_ARCHIVE_CACHE/bin:$PATH"

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need_packages PACKAGE…: installs those that dpkg does not list as installed.
need_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  say "installing ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# Debian's package, where there is no docker engine of another origin, whose packages it would replace.
need_docker() {
  [ -n "$(PATH="$PATH:/usr/sbin:/sbin" command -v dockerd)" ] || need_packages docker.io
}

# Node.js 20 or newer; distributions have older ones, the npm package "node" has all.
need_node() {
  local major
  major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
  if [ "$major" -lt 20 ]; then
    command -v npm >/dev/null || need_packages npm
    say "installing Node.js 24"
    npm install --silent --no-audit --no-fund --allow-scripts=node --prefix "$BUILDKIT_ARCHIVE_CACHE/node" node@24 >&2
    ln -sf "$BUILDKIT_ARCHIVE_CACHE/node/node_modules/node/bin/node" "$BUILDKIT_ARCHIVE_CACHE/bin/node"
    hash -r
  fi
}

# A Go that can fetch the toolchain a module asks for (1.21 and newer do); an older one fetches its successor by hand.
need_go() {
  command -v go >/dev/null || need_packages golang-go
  local minor
  minor=$(go env GOVERSION | sed -E 's/^go1\.([0-9]+).*/\1/')
  if [ "$minor" -lt 21 ]; then
    say "fetching a newer Go"
    local dir
    dir=$(go mod download -json golang.org/toolchain@v0.0.1-go1.26.0.linux-amd64 | sed -nE 's/^\t"Dir": "(.*)",?$/\1/p')
    chmod -R u+w "$dir" && chmod +x "$dir"/bin/* "$dir"/pkg/tool/*/*
    ln -sf "$dir/bin/go" "$BUILDKIT_ARCHIVE_CACHE/bin/go"
    hash -r
  fi
}

need_forge_packages() {
  need_packages ca-certificates mmdebstrap debian-archive-keyring e2fsprogs grub-common grub-pc-bin qemu-utils qemu-system-x86
}

# forge VERSION: makes the archive of that BuildKit once; prints its folder.
forge_archive() {
  local dir="$BUILDKIT_ARCHIVE_CACHE/archives/$1"
  if [ ! -f "$dir/archive.json" ]; then
    say "forging the archive of BuildKit $1 (some minutes, once)"
    node dist/cli.cjs forge --buildkit "$1" --output "$dir" >&2
  fi
  printf '%s\n' "$dir"
}
