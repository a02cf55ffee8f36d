import type {Session} from '../base/ports.ts';
import type {BuildRequest} from '../base/request.ts';
import type {GuestLayout} from './arg-list.ts';
import {type BuildctlCommand, buildctlArgs} from './buildctl-args.ts';
import {GUEST_PATHS, guestOutput, secretPath} from './guest.ts';
import type {Release} from './versions/table.ts';

/** With docker's folder for buildctl, in which its logins are. */
export type SiteLayout = GuestLayout & {readonly docker: string};

/** Where buildctl runs, and with it the files that it reads and writes: in the VM, or on this machine. */
export interface BuildSite extends AsyncDisposable {
  /** Commands there. */
  readonly session: Session;
  readonly layout: SiteLayout;
  /** What stands for `buildctl` on its command line. */
  readonly buildctl: readonly string[];
  /** A command there that interrupts this buildctl. */
  readonly interrupt: readonly string[];
}

/** buildctl in the VM. */
export function siteInVm(session: Session): BuildSite {
  return {
    session,
    layout: GUEST_LAYOUT,
    buildctl: ['buildctl'],
    interrupt: ['pkill', '-INT', '-x', 'buildctl'],
    // It ends with the VM.
    [Symbol.asyncDispose]: async () => undefined,
  };
}

export const GUEST_LAYOUT: SiteLayout = {
  ...GUEST_PATHS,
  output: guestOutput,
  secret: secretPath,
};

/** buildctl's command line for a request at a site. @throws UserError when the release cannot honour it. */
export function commandAt(site: BuildSite, request: BuildRequest, release: Release): BuildctlCommand {
  const {argv, warnings} = buildctlArgs(request, site.layout, release);
  return {argv: [...site.buildctl, ...argv.slice(1)], warnings};
}
