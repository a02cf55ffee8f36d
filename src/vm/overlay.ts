import type {Files} from '../base/ports.ts';

const CLUSTER_BITS = 16;
const CLUSTER_BYTES = 1 << CLUSTER_BITS;
const HEADER_BYTES = 104;
const L1_ENTRY_BYTES = 8;
/** One L2 table fills a cluster with entries of 8 bytes, one a cluster. */
const BYTES_PER_L1_ENTRY = CLUSTER_BYTES * (CLUSTER_BYTES / 8);

/**
 * An empty qcow2 image (QEMU, docs/interop/qcow2.txt, version 3) for an overlay. It names no backing file: what lies under it
 * is said on QEMU's command line, so that the image stays good when the files move. `qemu-img` would make the same, but is a package of its own.
 * @param virtualBytes size of the disk that the guest sees, a multiple of 512.
 */
export function emptyQcow2(virtualBytes: bigint): Buffer {
  const l1Entries = Number((virtualBytes + BigInt(BYTES_PER_L1_ENTRY) - 1n) / BigInt(BYTES_PER_L1_ENTRY));
  const l1Clusters = Math.max(1, Math.ceil((l1Entries * L1_ENTRY_BYTES) / CLUSTER_BYTES));
  const [refcountTable, refcountBlock, l1Table] = [1, 2, 3];
  const clusters = l1Table + l1Clusters;
  const image = Buffer.alloc(clusters * CLUSTER_BYTES);
  image.write('QFI\xfb', 0, 'latin1');
  image.writeUInt32BE(3, 4);
  image.writeUInt32BE(CLUSTER_BITS, 20);
  image.writeBigUInt64BE(virtualBytes, 24);
  image.writeUInt32BE(l1Entries, 36);
  image.writeBigUInt64BE(BigInt(l1Table * CLUSTER_BYTES), 40);
  image.writeBigUInt64BE(BigInt(refcountTable * CLUSTER_BYTES), 48);
  image.writeUInt32BE(1, 56);
  // Refcounts of 2^4 bits.
  image.writeUInt32BE(4, 96);
  image.writeUInt32BE(HEADER_BYTES, 100);
  image.writeBigUInt64BE(BigInt(refcountBlock * CLUSTER_BYTES), refcountTable * CLUSTER_BYTES);
  for (let cluster = 0; cluster < clusters; cluster++)
    image.writeUInt16BE(1, refcountBlock * CLUSTER_BYTES + cluster * 2);
  return image;
}

/** The size in bytes of the disk that a qcow2 image holds (header, bytes 24 to 31). */
export async function virtualSize(files: Files, path: string): Promise<bigint> {
  return (await files.readRange(path, 24, 8)).readBigUInt64BE();
}
