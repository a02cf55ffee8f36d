/** The candidate with the fewest changed letters; undefined when none is near. */
export function nearest(wanted: string, candidates: readonly string[]): string | undefined {
  const near = Math.max(1, Math.floor(wanted.length / 3));
  let best: {name: string; distance: number} | undefined;
  for (const name of candidates) {
    if (Math.abs(name.length - wanted.length) > near) continue;
    const distance = editDistance(wanted.toLowerCase(), name.toLowerCase());
    if (distance <= near && distance < (best?.distance ?? Number.POSITIVE_INFINITY)) best = {name, distance};
  }
  return best?.name;
}

/** Levenshtein distance, in letters. */
function editDistance(a: string, b: string): number {
  let row = Array.from({length: b.length + 1}, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
