/** How a server wants to be asked (RFC 9110, 11.6.1). */
export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  readonly params: Readonly<Record<string, string>>;
}

const TOKEN = "[\\w!#$%&'*+.^`|~-]+";
const PIECE = new RegExp(`(${TOKEN})(?:\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s,"]+)))?`, 'g');

/** Parses the value of `WWW-Authenticate`, which may hold several challenges one after the other. */
export function parseChallenges(header: string): readonly Challenge[] {
  const found: {scheme: string; params: Record<string, string>}[] = [];
  for (const [, name = '', quoted, plain] of header.matchAll(PIECE)) {
    const value = quoted?.replace(/\\(.)/g, '$1') ?? plain;
    const current = found.at(-1);
    if (value === undefined) found.push({scheme: name.toLowerCase(), params: {}});
    else if (current) current.params[name.toLowerCase()] = value;
  }
  return found;
}

/**
 * The address of a token for a Bearer challenge (distribution spec, "token authentication", 2021).
 * @param account The name that is logged in with. @returns undefined when the challenge names no address.
 */
export function tokenUrl(
  {params}: Challenge,
  scope: string,
  account: string | undefined,
): string | undefined {
  const realm = params.realm;
  if (realm === undefined || !URL.canParse(realm)) return undefined;
  const url = new URL(realm);
  if (params.service !== undefined) url.searchParams.set('service', params.service);
  for (const one of (params.scope ?? scope).split(' ')) url.searchParams.append('scope', one);
  if (account !== undefined) url.searchParams.set('account', account);
  return url.href;
}
