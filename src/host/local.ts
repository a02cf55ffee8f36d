import type {Logins} from '../base/http.ts';
import {AGENT_PORT_NAME} from '../base/ports.ts';
import {agentsAt} from './agents.ts';
import {systemClock} from './clock.ts';
import {localCpu} from './cpu.ts';
import {localDocker} from './docker.ts';
import {dockerCredentials, givenCredentials, maskedLogins} from './docker-config.ts';
import {treeImager} from './ext4/imager.ts';
import {localFiles} from './files.ts';
import {localForwards} from './forward.ts';
import {localImages} from './images.ts';
import {localKvm} from './kvm.ts';
import {openLocalSession} from './local-session.ts';
import {stagingDirs} from './place.ts';
import {localProcesses} from './processes.ts';
import {localRegistryTools} from './registry.ts';
import {localSockets} from './sockets.ts';
import {localSsh} from './ssh.ts';
import {openStoreFolder} from './store.ts';
import {tarFrames} from './store-frame.ts';
import {treePacker} from './tar.ts';
import {resultStore} from './tar-receive.ts';
import {localLinks} from './tree.ts';
import {unpack} from './unpack.ts';

export interface LocalOptions {
  readonly env: NodeJS.ProcessEnv;
  /** A login for one registry, before docker's own. */
  readonly login?:
    | {readonly registry: string; readonly username: string; readonly password: string}
    | undefined;
  readonly warn: (message: string) => void;
  /** Told each secret of docker's config before it is used. */
  readonly mask?: (secret: string) => void;
}

/** All ports, for real, on this machine, with the logins that a job may use. */
export function openPorts({env, login, warn, mask = () => undefined}: LocalOptions) {
  const logins = maskedLogins(dockerCredentials({env, warn}), mask);
  return {...localPorts, logins, registry: localRegistryTools(givenCredentials(login, logins))};
}

const noLogins: Logins = {find: async () => undefined, registries: async () => []};

/** All ports, for real, on this machine; registries without a login. */
export const localPorts = {
  agents: agentsAt(AGENT_PORT_NAME),
  clock: systemClock,
  cpu: localCpu,
  docker: localDocker(process.env),
  files: {...localFiles, ...localLinks},
  forwards: localForwards,
  frames: tarFrames,
  imager: treeImager({stagingDirs: () => stagingDirs(process.env)}),
  images: localImages,
  unpack,
  kvm: localKvm,
  logins: noLogins,
  openLocalSession,
  openStore: openStoreFolder,
  packer: treePacker(),
  processes: localProcesses,
  registry: localRegistryTools(noLogins),
  results: resultStore(),
  sockets: localSockets,
  ssh: localSsh,
} as const;
