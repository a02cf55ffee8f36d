import {gzipSync} from 'node:zlib';
import tarStream from 'tar-stream';

/** The head of an ELF-64 executable for x86-64, and something behind it. */
export function elf(text = 'program', machine = 62): Buffer {
  const head = Buffer.alloc(64);
  head.writeUInt32BE(0x7f454c46, 0);
  head[4] = 2;
  head.writeUInt16LE(machine, 18);
  return Buffer.concat([head, Buffer.from(text)]);
}

export type TarEntries = Readonly<Record<string, Buffer | {readonly linkTo: string}>>;

/** A gzipped tar with these files and symbolic links. */
export async function tarball(entries: TarEntries): Promise<Buffer> {
  const pack = tarStream.pack();
  const bytes = (async () => {
    const parts: Buffer[] = [];
    for await (const part of pack) parts.push(part as Buffer);
    return Buffer.concat(parts);
  })();
  for (const [name, entry] of Object.entries(entries)) {
    if (Buffer.isBuffer(entry)) pack.entry({name, mode: 0o755}, entry);
    else pack.entry({name, type: 'symlink', linkname: entry.linkTo});
  }
  pack.finalize();
  return gzipSync(await bytes);
}

/** A BuildKit release's, with programs that only look like programs. */
export const releaseTarball = (more: TarEntries = {}): Promise<Buffer> =>
  tarball({'bin/buildctl': elf('buildctl'), 'bin/buildkitd': elf('buildkitd'), ...more});
