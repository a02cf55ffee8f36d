#!/usr/bin/env bash
# Tests that need a real VM (emulated), a real registry, a real sshd. Arguments go to jest.
. "$(dirname "$0")/setup.sh"

need_node
need_forge_packages
need_packages busybox-static tar skopeo umoci docker-registry openssh-client sshpass zstd openssl util-linux curl docker.io iptables iproute2 musl-tools
need_go
[ -d node_modules ] || npm ci --silent --no-audit --no-fund
for version in v0.20.2 v0.12.5 v0.32.2; do forge_archive "$version" >/dev/null; done
# What the tests leave behind is looked for in here, away from other jobs on the machine. Short, since sockets lie in it.
TMPDIR=$(mktemp -d /tmp/itg-XXXXXX)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
say "integration tests"
node --experimental-vm-modules --no-warnings node_modules/jest/bin/jest.js --config jest.itg.config.mjs "$@"
