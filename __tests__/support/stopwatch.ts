const SAMPLE_MS = 100;

/** How long stages took and how large this process grew in them, for a run that people wait for. */
export class Stopwatch {
  /** Stages may run inside of others. */
  async time<T>(stage: string, work: () => T | Promise<T>): Promise<T> {
    const startedMs = performance.now();
    let peakBytes = process.memoryUsage.rss();
    const sampling = setInterval(() => {
      peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
    }, SAMPLE_MS);
    try {
      return await work();
    } finally {
      clearInterval(sampling);
      const seconds = (performance.now() - startedMs) / 1000;
      this.note(stage, `${seconds.toFixed(1)} s, node at most ${mib(peakBytes)}`);
    }
  }

  /** Printed at once: a run of an hour that says nothing looks dead. */
  note(stage: string, text: string): void {
    process.stderr.write(`  ${stage}: ${text}\n`);
  }
}

export const mib = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`;
