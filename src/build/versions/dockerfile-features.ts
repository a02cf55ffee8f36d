import {type Version, version} from '../../base/version.ts';

/** A thing that a Dockerfile can say, and the releases whose built-in `dockerfile.v0` frontend understands it. */
export interface DockerfileFeature {
  readonly id: string;
  /** As a user writes it in a Dockerfile. */
  readonly name: string;
  readonly first: Version;
  /** Last release that understands it; absent when none has dropped it. */
  readonly last?: Version;
  readonly remarks: string;
  /** Releases below `first` that leave it out without a word, where all others refuse it. */
  readonly ignored?: {readonly from: Version; readonly before: Version};
}

function since(first: string, id: string, name: string, remarks = ''): DockerfileFeature {
  return {id, name, first: version(first), remarks};
}

function ignoredBetween(from: string, before: string, feature: DockerfileFeature): DockerfileFeature {
  return {...feature, ignored: {from: version(from), before: version(before)}};
}

/**
 * First releases whose plain release build accepts a feature without a `# syntax=` line. Source: builds with 18
 * releases and a look at the release tags from v0.3.0 to v0.32.2. A feature that no release's built-in frontend
 * accepts stands in `LABS_ONLY_FEATURES`.
 */
export const DOCKERFILE_FEATURES: readonly DockerfileFeature[] = [
  since('v0.3.0', 'from-platform', 'FROM --platform'),
  since('v0.3.0', 'arg-global', 'ARG before FROM'),
  since('v0.3.0', 'arg-platform', 'ARG TARGETPLATFORM, BUILDPLATFORM and the like'),
  since('v0.3.0', 'copy-chown', 'COPY/ADD --chown'),
  since('v0.3.0', 'copy-from-image', 'COPY --from=IMAGE'),
  since('v0.3.0', 'onbuild', 'ONBUILD'),
  since('v0.3.0', 'escape-directive', '# escape='),
  since('v0.3.0', 'var-expand-default', '${x:-default}, ${x:+other}'),
  since(
    'v0.5.0',
    'copy-offline',
    'COPY and ADD without a helper image',
    'v0.3.x and v0.4.x pull an image with a copy program for every COPY and ADD',
  ),
  ignoredBetween(
    'v0.3.0',
    'v0.5.0',
    since(
      'v0.5.0',
      'specific-dockerignore',
      'Dockerfile.dockerignore',
      'earlier releases ignore the file without a word',
    ),
  ),
  since('v0.7.0', 'var-expand-required', '${x:?message}'),
  since('v0.8.0', 'run-mount-bind', 'RUN --mount=type=bind', 'earlier only with an external frontend'),
  since('v0.8.0', 'run-mount-cache', 'RUN --mount=type=cache', 'earlier only with an external frontend'),
  since('v0.8.0', 'run-mount-tmpfs', 'RUN --mount=type=tmpfs', 'earlier only with an external frontend'),
  since('v0.8.0', 'run-mount-secret', 'RUN --mount=type=secret', 'earlier only with an external frontend'),
  since('v0.8.0', 'run-mount-ssh', 'RUN --mount=type=ssh', 'earlier only with an external frontend'),
  since('v0.8.0', 'copy-chmod', 'COPY --chmod', 'octal modes'),
  since('v0.8.0', 'add-chmod', 'ADD --chmod', 'octal modes'),
  since('v0.8.0', 'arg-multi', 'ARG with several names'),
  since('v0.9.0', 'run-network-none', 'RUN --network=none'),
  since('v0.9.0', 'run-network-default', 'RUN --network=default'),
  since('v0.9.0', 'run-network-host', 'RUN --network=host', 'needs the entitlement network.host'),
  since('v0.10.0', 'run-heredoc', 'here-document in RUN'),
  since('v0.10.0', 'copy-heredoc', 'here-document in COPY or ADD'),
  since('v0.10.0', 'copy-link', 'COPY --link'),
  since('v0.10.0', 'add-link', 'ADD --link'),
  since('v0.10.0', 'run-mount-tmpfs-size', 'RUN --mount=type=tmpfs,size='),
  since('v0.12.0', 'add-checksum', 'ADD --checksum'),
  since('v0.12.0', 'add-git', 'ADD of a Git URL'),
  since('v0.12.0', 'var-expand-no-colon', '${x-default}, ${x+other}', 'earlier releases want the colon'),
  since('v0.12.0', 'healthcheck-start-interval', 'HEALTHCHECK --start-interval'),
  since('v0.13.0', 'var-expand-pattern', '${x#pattern}, ${x%pattern}, ${x/pattern/text}'),
  since('v0.14.0', 'check-directive', '# check=', 'earlier releases read the line as a comment'),
  since('v0.16.0', 'run-mount-secret-env', 'RUN --mount=type=secret,env='),
  ignoredBetween(
    'v0.8.0',
    'v0.16.0',
    since(
      'v0.20.0',
      'copy-chmod-symbolic',
      'COPY/ADD --chmod=u=rwX,go=rX',
      'v0.8.0 to v0.15.2 silently ignore a symbolic mode, v0.16.0 to v0.19.0 refuse it',
    ),
  ),
  since('v0.23.0', 'add-unpack', 'ADD --unpack'),
  since('v0.25.0', 'copy-exclude', 'COPY/ADD --exclude'),
  since('v0.26.0', 'copy-parents', 'COPY --parents'),
  since(
    'v0.26.0',
    'run-security-sandbox',
    'RUN --security',
    'insecure needs the entitlement security.insecure',
  ),
];

/** What is not looked for line by line: how a file names a frontend of its own, and what hangs on other files. */
export const FEATURES_NOT_LOOKED_FOR: readonly DockerfileFeature[] = [
  since('v0.3.0', 'syntax-directive', '# syntax='),
  since(
    'v0.11.0',
    'syntax-other-forms',
    '// syntax=, {"syntax": "…"}',
    'for files in another language; earlier releases do not see it',
  ),
  since(
    'v0.17.0',
    'onbuild-copy-from',
    'ONBUILD COPY --from=STAGE, ONBUILD RUN --mount=from=STAGE',
    'v0.3.x and v0.4.x find the stage, too; the releases between do not',
  ),
];

/** What no release's built-in frontend accepts so far: only an external `docker/dockerfile:…-labs` does. */
export const LABS_ONLY_FEATURES: readonly {readonly id: string; readonly name: string}[] = [
  {id: 'run-device', name: 'RUN --device'},
];
