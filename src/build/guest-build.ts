import type {Session} from '../base/ports.ts';
import type {BuildRequest} from '../base/request.ts';
import {type BuildctlCommand, buildctlArgs} from './buildctl-args.ts';
import {GUEST_LAYOUT} from './site.ts';
import {placeByHelp} from './versions/help.ts';
import {type Release, releaseOf, tagBelow} from './versions/table.ts';

/** buildctl's command line for a request inside the VM. @throws UserError when the release cannot honour it. */
export function buildctlCommand(request: BuildRequest, release: Release): BuildctlCommand {
  return buildctlArgs(request, GUEST_LAYOUT, release);
}

/** The release that the VM's buildctl is, or, for a commit or a fork, what its help texts say of it. */
export async function releaseInGuest(
  session: Session,
  reported: string,
  signal: AbortSignal,
): Promise<Release> {
  const release = releaseOf(reported);
  if (release) return release;
  const help = async (...argv: string[]): Promise<string> => {
    const {stdout, stderr} = await session.output([...argv, '--help'], {signal});
    return `${stdout}\n${stderr}`;
  };
  const texts = {
    buildctl: await help('buildctl'),
    build: await help('buildctl', 'build'),
    prune: await help('buildctl', 'prune'),
    buildkitd: await help('buildkitd'),
  };
  return placeByHelp(texts, tagBelow(reported));
}
