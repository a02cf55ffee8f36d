#!/usr/bin/env bash
# The main job from nothing: installs what is missing, forges BuildKit v0.20.2 and builds examples/hello in it.
. "$(dirname "$0")/setup.sh"

version="${1:-v0.20.2}"
need_node
need_forge_packages
need_packages busybox-static tar
[ -d "$BUILDKIT_ARCHIVE_CACHE/archives/$version" ] || need_go
archive=$(forge_archive "$version")

cp -p "$(dpkg -L busybox-static | grep -E '/busybox$' | head -n 1)" examples/hello/busybox
mkdir -p out
say "building examples/hello on BuildKit $version"
node dist/cli.cjs build --archive "$archive/vm.qcow2" --buildkit-version "$version" \
  --output type=local,dest=out/hello --result out/hello.json \
  --summary-file out/summary.md --outputs-file out/outputs.txt examples/hello
say "the step outputs, as a workflow would have them"
cut -c 1-160 out/outputs.txt
say "the step summary (out/summary.md)"
cat out/summary.md
say "out/hello/hello.txt, made in the VM:"
cat out/hello/hello.txt
