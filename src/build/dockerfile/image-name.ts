/**
 * True when two references name the same image: `alpine` and `docker.io/library/alpine:latest`. A digest counts only
 * when both carry one. A name that a log cut off (`...`) fits what it begins.
 */
export function sameImage(a: string, b: string): boolean {
  const cut = [a, b].find(name => name.endsWith('...'));
  if (cut !== undefined) {
    const other = cut === a ? b : a;
    return normalized(other).name.startsWith(normalized(cut.slice(0, -3)).name.replace(/:latest$/, ''));
  }
  const left = normalized(a);
  const right = normalized(b);
  return left.name === right.name && (!left.digest || !right.digest || left.digest === right.digest);
}

/** The registry of an image: `docker.io` for `alpine`, `ghcr.io` for `ghcr.io/org/image:tag`. */
export function registryOf(reference: string): string {
  return normalized(reference).name.split('/')[0] ?? '';
}

function normalized(reference: string): {name: string; digest: string} {
  const [plain = '', digest = ''] = reference.replace(/^docker-image:\/\//, '').split('@');
  const host = plain.split('/')[0] ?? '';
  const hasHost = plain.includes('/') && (/[.:]/.test(host) || host === 'localhost');
  const full = hasHost ? plain : `docker.io/${plain.includes('/') ? '' : 'library/'}${plain}`;
  const name = full.replace(/^index\.docker\.io\//, 'docker.io/');
  return {name: /:[^/]+$/.test(name) ? name : `${name}:latest`, digest};
}
