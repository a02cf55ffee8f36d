/**
 * A shell command that prints a digest over all in the directory `$1`: names, types, permissions, mtimes to the nanosecond, link targets, hard links, contents and
 * extended attributes, read by GNU tar, which the host and the machine both have. A socket has no place in a tar; the tree's only one is left out by its name.
 */
export const DIGEST_SCRIPT = `
cd "$1" || exit 1
find . -mindepth 1 ! -name socket -print0 | LC_ALL=C sort -z |
  tar --create --format=posix --pax-option=exthdr.name=%d/%f,delete=atime,delete=ctime --xattrs '--xattrs-include=*' \\
    --owner=0 --group=0 --numeric-owner --null --verbatim-files-from --no-unquote --no-recursion --files-from=- |
  sha256sum
`;

/** A directory as lines: path, type, permissions, mtime, size, links, target. Devices and FIFOs do not come out of a machine, so
 * they are left out, and so is the socket, which is an empty file in a tar stream. */
export const LISTING_SCRIPT = `
cd "$1" || exit 1
find . -mindepth 1 ! -name socket \\( -type f -o -type l \\) -printf '%P|%y|%m|%T@|%s|%n|%l\\n' -o -type d -printf '%P|%y|%m|%T@\\n' | LC_ALL=C sort
`;
