import type {BuildTrace} from '../base/trace.ts';

export interface ImageFacts {
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Digest of the image's config. */
  readonly imageId?: string;
  /** Digest of the image's manifest, or of its index. */
  readonly digest?: string;
}

/**
 * What is known of the image that was made. `--metadata-file` (v0.9.0 on) says it; before, only the statuses of the export step do
 * (`exporting manifest sha256:…`, `exporting config sha256:…`).
 */
export function imageFacts(metadataText: string | undefined, trace: BuildTrace): ImageFacts {
  const metadata = parseObject(metadataText);
  const imageId = stringOf(metadata, 'containerimage.config.digest') ?? exported(trace, 'config');
  const digest =
    stringOf(metadata, 'containerimage.digest') ??
    exported(trace, 'manifest list') ??
    exported(trace, 'manifest');
  return {
    ...(metadata && {metadata}),
    ...(imageId !== undefined && {imageId}),
    ...(digest !== undefined && {digest}),
  };
}

function parseObject(text: string | undefined): Readonly<Record<string, unknown>> | undefined {
  if (text === undefined || text.trim() === '') return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function stringOf(metadata: Readonly<Record<string, unknown>> | undefined, key: string): string | undefined {
  const value = metadata?.[key];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function exported(trace: BuildTrace, what: string): string | undefined {
  const pattern = new RegExp(`^exporting ${what} (sha256:[0-9a-f]{64})$`);
  for (const step of trace.steps) {
    if (!step.name.startsWith('exporting to')) continue;
    for (const status of step.statuses) {
      const digest = pattern.exec(status.id)?.[1];
      if (digest !== undefined) return digest;
    }
  }
  return undefined;
}
