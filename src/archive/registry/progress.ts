import type {PullProgress} from './blob.ts';

/**
 * Turns what `onProgress` is told into a line now and then: `94 of 235 MB, 47 MB/s, 3 s left`, and one at the end of each layer.
 * @param say Takes the lines. @param intervalMs Between two lines.
 */
export function progressMeter(
  clock: {nowMs(): number},
  say: (text: string) => void,
  intervalMs = 2_000,
): (progress: PullProgress) => void {
  let digest: string | undefined;
  let startedMs = 0;
  let saidMs = 0;
  return progress => {
    const nowMs = clock.nowMs();
    if (progress.digest !== digest) {
      digest = progress.digest;
      startedMs = nowMs;
      saidMs = nowMs;
    }
    const isDone = progress.receivedBytes >= progress.totalBytes;
    if (!isDone && nowMs - saidMs < intervalMs) return;
    saidMs = nowMs;
    say(progressText(progress, nowMs - startedMs));
  };
}

/** @param elapsedMs Since the layer's first bytes came. Megabytes are 10⁶ bytes, as networks count. */
export function progressText({receivedBytes, totalBytes}: PullProgress, elapsedMs: number): string {
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(bytes < 10e6 ? 1 : 0);
  const bytesPerMs = elapsedMs > 0 ? receivedBytes / elapsedMs : undefined;
  const speed = bytesPerMs === undefined ? '' : `, ${megabytes(bytesPerMs * 1000)} MB/s`;
  if (receivedBytes >= totalBytes) return `${megabytes(totalBytes)} MB${speed}`;
  const leftMs = bytesPerMs ? (totalBytes - receivedBytes) / bytesPerMs : undefined;
  const left = leftMs === undefined ? '' : `, ${timeText(Math.ceil(leftMs / 1000))} left`;
  return `${megabytes(receivedBytes)} of ${megabytes(totalBytes)} MB${speed}${left}`;
}

function timeText(seconds: number): string {
  return seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}
