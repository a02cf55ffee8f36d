import type {Credential, HttpResponse} from '../../base/http.ts';
import {formatReference, type ImageReference, isLoopback} from '../../base/image-reference.ts';
import {type Challenge, parseChallenges, tokenUrl} from './challenge.ts';
import {describeStatus, hintForStatus, RegistryError} from './errors.ts';

/** Asks a token service; the same retries and timeouts as for the registry. Gives the body as text. */
export type AskTokenService = (
  request: {
    readonly method: 'GET' | 'POST';
    readonly url: string;
    readonly headers: Record<string, string>;
    readonly body?: string;
  },
  signal: AbortSignal,
) => Promise<{readonly response: HttpResponse; readonly text: string; readonly detail: string}>;

const CLIENT_ID = 'buildkit-archive';

/** Keeps the `Authorization` header for one repository of a registry. */
export class Authorizer {
  readonly #reference: ImageReference;
  readonly #findCredential: () => Promise<Credential | undefined>;
  readonly #ask: AskTokenService;
  #credential: Promise<Credential | undefined> | undefined;
  #header: string | undefined;

  constructor(
    reference: ImageReference,
    findCredential: () => Promise<Credential | undefined>,
    ask: AskTokenService,
  ) {
    this.#reference = reference;
    this.#findCredential = findCredential;
    this.#ask = ask;
  }

  /** What to send along; undefined until the registry has asked for it. */
  get header(): string | undefined {
    return this.#header;
  }

  async isLoggedIn(): Promise<boolean> {
    return (await this.#find()) !== undefined;
  }

  /**
   * Answers the challenge of a 401. @returns false when the registry asks for nothing that could be given.
   * @throws RegistryError when the token service refuses.
   */
  async answer(header: string | undefined, signal: AbortSignal): Promise<boolean> {
    const challenges = parseChallenges(header ?? '');
    const credential = await this.#find();
    const bearer = challenges.find(({scheme}) => scheme === 'bearer');
    if (credential?.kind === 'bearer') {
      const given = `Bearer ${credential.token}`;
      if (this.#header === given) return false;
      this.#header = given;
      return true;
    }
    if (bearer) {
      this.#header = `Bearer ${await this.#fetchToken(bearer, credential, signal)}`;
      return true;
    }
    const isBasic = challenges.some(({scheme}) => scheme === 'basic');
    if (!isBasic || credential?.kind !== 'password') return false;
    const given = basic(credential.username, credential.password);
    if (this.#header === given) return false;
    this.#header = given;
    return true;
  }

  #find(): Promise<Credential | undefined> {
    this.#credential ??= this.#findCredential();
    return this.#credential;
  }

  async #fetchToken(
    challenge: Challenge,
    credential: Exclude<Credential, {kind: 'bearer'}> | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const scope = `repository:${this.#reference.repository}:pull`;
    const account = credential?.kind === 'password' ? credential.username : undefined;
    const url = tokenUrl(challenge, scope, account);
    if (url === undefined || !this.#mayTrust(url)) throw this.#badRealm(challenge.params.realm);
    const {response, text, detail} =
      credential?.kind === 'identity'
        ? await this.#ask(oauthRequest(url, credential.token), signal)
        : await this.#ask(
            {
              method: 'GET',
              url,
              headers: credential ? {authorization: basic(credential.username, credential.password)} : {},
            },
            signal,
          );
    if (response.status !== 200) {
      const answer = describeStatus(response.status, detail);
      throw new RegistryError(
        `${formatReference(this.#reference)}: the token service ${new URL(url).host} answers ${answer}`,
        {
          status: response.status,
          hint: hintForStatus(response.status, this.#reference, credential !== undefined),
        },
      );
    }
    return this.#tokenOf(text, url);
  }

  #tokenOf(text: string, url: string): string {
    let token: unknown;
    try {
      const {token: named, access_token: oauth} = JSON.parse(text);
      token = named || oauth;
    } catch {
      // Said below.
    }
    if (typeof token === 'string' && /^[\x21-\x7e]+$/.test(token)) return token;
    throw new RegistryError(
      `${formatReference(this.#reference)}: the token service ${new URL(url).host} answers without a token`,
      {hint: `${this.#reference.registry} has trouble: name another source with "registries"`},
    );
  }

  /** A password never goes over the network in the clear, unless the registry itself was asked for without TLS. */
  #mayTrust(url: string): boolean {
    const {protocol, host} = new URL(url);
    return protocol === 'https:' || (protocol === 'http:' && (this.#reference.plainHttp || isLoopback(host)));
  }

  #badRealm(realm: string | undefined): RegistryError {
    return new RegistryError(
      `${formatReference(this.#reference)}: ${this.#reference.registry} names no usable token service (${JSON.stringify(realm)})`,
      {hint: 'a token service must be reached over https://; name another source with "registries"'},
    );
  }
}

/** RFC 7617: the name may not hold a colon; both are UTF-8. */
function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** A refresh token is only taken by the OAuth2 form of the token service (distribution, "oauth.md"). */
function oauthRequest(url: string, refreshToken: string): Parameters<AskTokenService>[0] {
  const {origin, pathname, searchParams} = new URL(url);
  const form = new URLSearchParams({
    grant_type: 'refresh_token',
    client_id: CLIENT_ID,
    refresh_token: refreshToken,
    service: searchParams.get('service') ?? '',
    scope: searchParams.getAll('scope').join(' '),
  });
  return {
    method: 'POST',
    url: `${origin}${pathname}`,
    headers: {'content-type': 'application/x-www-form-urlencoded'},
    body: form.toString(),
  };
}
