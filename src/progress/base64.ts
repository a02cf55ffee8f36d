const nothing = new Uint8Array(0);

/** Bytes of a Go `[]byte` in JSON (standard base64); empty for anything else. */
export function fromBase64(value: unknown): Uint8Array {
  if (typeof value !== 'string') return nothing;
  try {
    const binary = atob(value);
    const bytes = new Uint8Array(binary.length);
    for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
    return bytes;
  } catch {
    return nothing;
  }
}

/** Text of a Go `[]byte` in JSON. */
export function textFromBase64(value: unknown): string {
  return new TextDecoder().decode(fromBase64(value));
}
