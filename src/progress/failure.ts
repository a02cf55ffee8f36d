const prefixes: readonly RegExp[] = [
  /^failed to solve: /,
  /^failed to build: /,
  /^failed to receive status: /,
  /^failed to get status: /,
  /^failed to dial gRPC: /,
  /^listing workers for Build: failed to list workers: /,
  /^failed to solve with frontend [\w./:-]+: /,
  /^failed to (?:build LLB|create LLB definition): /,
  /^failed to run Build function: /,
  /^rpc error: code = (?:Unknown|Canceled) desc = /,
  /^Canceled: (?=context canceled)/,
];
// v0.31.0 and v0.31.1 give their own tracing 50 ms to end, and add this when it takes longer (common/trace.go).
const tracerShutdown = /(?<=.)\ncontext deadline exceeded\s*$/s;
const rpcCode = /^rpc error: code = (\w+) desc = /;

/**
 * A final error without what only tells the release apart: the chain of `failed to solve: `, `rpc error: code =
 * Unknown desc = ` (up to v0.8.3), `failed to solve with frontend dockerfile.v0: `, `failed to build LLB: `, …
 * Other gRPC codes say something and are kept in the spelling of v0.9.0 and later: `Unavailable: …`.
 */
export function stripErrorPrefixes(error: string): string {
  let rest = error;
  for (;;) {
    const before = rest;
    for (const prefix of prefixes) rest = rest.replace(prefix, '');
    rest = rest.replace(rpcCode, '$1: ');
    if (rest === before) return rest.replace(tracerShutdown, '').trim();
  }
}
