const lineFeed = 0x0a;
const sliceBytes = 64 * 1024;

/**
 * Cuts a stream of bytes into lines. Chunks may end anywhere, even within a character: bytes are cut at line
 * feeds first and decoded as UTF-8 after, and a line feed is never part of a longer UTF-8 sequence. Invalid
 * bytes become U+FFFD. A carriage return before the line feed is taken off; others stay.
 */
export class LineSplitter {
  private readonly decoder = new TextDecoder('utf-8', {ignoreBOM: true});
  private readonly encoder = new TextEncoder();
  private readonly onLine: (line: string) => void;
  private readonly onCutLine: (line: string) => void;
  private readonly maxBytes: number;
  private carry = new Uint8Array(0);
  private carryBytes = 0;
  private overflowed = false;
  private highSurrogate = '';

  /**
   * @param maxBytes at least 64 KiB. Of a longer line the first `maxBytes` go to `onCutLine`, and the rest is
   *   dropped.
   */
  constructor(maxBytes: number, onLine: (line: string) => void, onCutLine: (line: string) => void = onLine) {
    this.maxBytes = Math.max(maxBytes, sliceBytes);
    this.onLine = onLine;
    this.onCutLine = onCutLine;
  }

  write(chunk: Uint8Array | string): void {
    const bytes = typeof chunk === 'string' ? this.encode(chunk) : chunk;
    for (let at = 0; at < bytes.length; at += sliceBytes) this.slice(bytes.subarray(at, at + sliceBytes));
  }

  /** Gives out what stands after the last line feed. */
  end(): void {
    if (this.highSurrogate !== '') this.write('');
    if (this.carryBytes > 0 || this.overflowed) this.finishCarry(new Uint8Array(0));
  }

  /** What stands after the last line feed so far. */
  rest(): string {
    return this.carryBytes === 0 ? '' : this.decode(this.carry.subarray(0, this.carryBytes));
  }

  private encode(chunk: string): Uint8Array {
    let text = this.highSurrogate + chunk;
    this.highSurrogate = '';
    const last = text.charCodeAt(text.length - 1);
    if (chunk !== '' && last >= 0xd800 && last <= 0xdbff) {
      this.highSurrogate = text.slice(-1);
      text = text.slice(0, -1);
    }
    return this.encoder.encode(text);
  }

  private slice(bytes: Uint8Array): void {
    const last = bytes.lastIndexOf(lineFeed);
    if (last < 0) {
      this.keep(bytes);
      return;
    }
    let start = 0;
    if (this.carryBytes > 0 || this.overflowed) {
      start = bytes.indexOf(lineFeed) + 1;
      this.finishCarry(bytes.subarray(0, start - 1));
    }
    if (start <= last) {
      const text = this.decode(bytes.subarray(start, last));
      let from = 0;
      for (let to = text.indexOf('\n'); to >= 0; to = text.indexOf('\n', from)) {
        this.onLine(text.slice(from, text.charCodeAt(to - 1) === 13 && to > from ? to - 1 : to));
        from = to + 1;
      }
      this.onLine(withoutReturn(text.slice(from)));
    }
    this.keep(bytes.subarray(last + 1));
  }

  private keep(bytes: Uint8Array): void {
    const room = this.maxBytes - this.carryBytes;
    if (bytes.length > room) this.overflowed = true;
    const kept = bytes.subarray(0, room);
    const neededBytes = this.carryBytes + kept.length;
    if (neededBytes > this.carry.length) {
      const grown = new Uint8Array(Math.max(neededBytes, 2 * this.carry.length, 256));
      grown.set(this.carry.subarray(0, this.carryBytes));
      this.carry = grown;
    }
    this.carry.set(kept, this.carryBytes);
    this.carryBytes = neededBytes;
  }

  private finishCarry(bytes: Uint8Array): void {
    this.keep(bytes);
    const line = withoutReturn(this.decode(this.carry.subarray(0, this.carryBytes)));
    const wasCut = this.overflowed;
    if (this.carry.length > sliceBytes) this.carry = new Uint8Array(0);
    this.carryBytes = 0;
    this.overflowed = false;
    if (wasCut) this.onCutLine(line);
    else this.onLine(line);
  }

  private decode(bytes: Uint8Array): string {
    return this.decoder.decode(bytes);
  }
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line;
}
