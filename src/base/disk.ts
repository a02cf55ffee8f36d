/** Reads bytes of a disk, or of a part of it, as a guest sees them: zeros where nothing was written. @throws when they are not all within it. */
export type ReadAt = (offsetBytes: number, lengthBytes: number) => Promise<Buffer>;

/** A disk, or a part of one. */
export interface BlockRange {
  readonly sizeBytes: number;
  readonly read: ReadAt;
}

/** Raw deflate (RFC 1951), or one zstd frame (RFC 8878). */
export type Packing = 'deflate' | 'zstd';

/** Unpacks what holds `sizeBytes`, whatever follows it. @throws when it does not hold as many. */
export type Unpack = (packing: Packing, packed: Buffer, sizeBytes: number) => Promise<Buffer>;
