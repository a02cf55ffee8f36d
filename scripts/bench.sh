#!/usr/bin/env bash
# Benches on a new machine: makes sure of what they compare with, then runs scripts/bench/main.mjs. Rows go to standard output, all else to standard error.
. "$(dirname "$0")/setup.sh"

need_node
need_forge_packages
need_packages tar zstd curl skopeo docker-registry busybox-static openssh-client sshpass util-linux
need_docker
[ -d node_modules ] || npm ci --silent --no-audit --no-fund >&2
forge_archive v0.20.2 >/dev/null
exec node scripts/bench/main.mjs "$@"
