import type {ImageReference} from '../../base/image-reference.ts';
import {RegistryClient, type RegistryPorts} from './client.ts';
import {damaged, RegistryError} from './errors.ts';
import type {PullOptions} from './image.ts';
import {DEFAULT_POLICY} from './policy.ts';

const LIST_LIMIT_BYTES = 4 * 1024 * 1024;
const MAX_PAGES = 1_000;

/**
 * All tags of a reference's repository, page by page (distribution spec, "Listing Tags"); none when there is no such repository.
 * @throws RegistryError
 */
export async function listTags(
  ports: RegistryPorts,
  reference: ImageReference,
  options: PullOptions,
): Promise<readonly string[]> {
  const client = new RegistryClient(ports, reference, {...DEFAULT_POLICY, ...options.policy});
  const tags: string[] = [];
  let query = 'n=1000';
  for (let page = 0; page < MAX_PAGES; page++) {
    const answer = await client
      .fetch(`tags/list?${query}`, LIST_LIMIT_BYTES, {signal: options.signal})
      .catch((error: unknown) => {
        if (error instanceof RegistryError && error.status === 404) return undefined;
        throw error;
      });
    if (!answer) return tags;
    tags.push(...tagsOf(answer.bytes, reference));
    // RFC 8288: `</v2/x/tags/list?n=1000&last=z>; rel="next"`.
    const next = /<[^>?]*\?([^>]*)>\s*;[^,]*\brel="?next"?/i.exec(answer.headers.link ?? '')?.[1];
    if (next === undefined) return tags;
    query = next;
  }
  throw damaged(reference, `its list of tags has no end (${MAX_PAGES} pages)`);
}

function tagsOf(bytes: Buffer, reference: ImageReference): readonly string[] {
  try {
    const {tags} = JSON.parse(bytes.toString('utf8'));
    if (tags === null || Array.isArray(tags))
      return (tags ?? []).filter((tag: unknown) => typeof tag === 'string');
  } catch {
    // Said below.
  }
  throw damaged(reference, 'its list of tags is none');
}
