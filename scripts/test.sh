#!/usr/bin/env bash
# All tests on a new machine. Each part is its own npm script, for working on it.
. "$(dirname "$0")/setup.sh"

need_node
say "npm ci"
npm ci --no-audit --no-fund --loglevel=error
say "lint, types, dist, unit tests"
npx biome ci .
npx tsc --noEmit
node scripts/check-dist.mjs
npm run -s test:unit
bash scripts/itg.sh
bash scripts/act.sh
say "all tests passed"
