#!/usr/bin/env bash
# A context of 1 GiB in 100,000 files, all ways into a real VM (emulated). Takes more than an hour. Arguments go to jest.
. "$(dirname "$0")/setup.sh"

if [ "$(id -u)" != 0 ]; then
  say "needs root, since a buildkitd runs on this side, too: sudo npm run test:large"
  exit 1
fi
# The context, its image, the VM's disk, a BuildKit's store on this side, results: at once.
need_gib=20
place="${TMPDIR:-/tmp}"
free_gib=$(($(df --output=avail -k "$place" | tail -n 1) / 1024 / 1024))
if [ "$free_gib" -lt "$need_gib" ]; then
  say "needs $need_gib GiB, and $free_gib GiB are free in $place: make room, or set TMPDIR to a folder of another disk"
  exit 1
fi

need_node
need_forge_packages
need_packages tar python3
need_go
[ -d node_modules ] || npm ci --silent --no-audit --no-fund
forge_archive v0.20.2 >/dev/null
TMPDIR=$(mktemp -d "$place/lg-XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
say "a large context, under emulation (an hour and more)"
node --experimental-vm-modules --no-warnings node_modules/jest/bin/jest.js --config jest.large.config.mjs "$@"
