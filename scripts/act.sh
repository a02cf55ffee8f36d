#!/usr/bin/env bash
# End to end: a local runner (act, host mode) plays workflows that use this action. Arguments go to jest.
. "$(dirname "$0")/setup.sh"

need_node
need_forge_packages
need_packages busybox-static tar git zstd skopeo docker-registry
need_go
[ -d node_modules ] || npm ci --silent --no-audit --no-fund
if ! command -v act >/dev/null; then
  say "installing act"
  GOBIN="$BUILDKIT_ARCHIVE_CACHE/bin" go install github.com/nektos/act@v0.2.87
fi
forge_archive v0.20.2 >/dev/null
BUSYBOX="$(dpkg -L busybox-static | grep -E '/busybox$' | head -n 1)"
export BUSYBOX
say "workflows, played by act"
node --experimental-vm-modules --no-warnings node_modules/jest/bin/jest.js --config jest.act.config.mjs "$@"
