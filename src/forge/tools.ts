import {constants} from 'node:fs';
import {access} from 'node:fs/promises';
import {delimiter, join} from 'node:path';
import {UserError} from '../base/errors.ts';

/** A tool the forge runs, and the Debian package that has it. */
export interface Tool {
  readonly command: string;
  readonly debianPackage: string;
}

const ALWAYS: readonly Tool[] = [
  {command: 'mmdebstrap', debianPackage: 'mmdebstrap'},
  {command: 'tar', debianPackage: 'tar'},
  {command: 'mke2fs', debianPackage: 'e2fsprogs'},
  {command: 'debugfs', debianPackage: 'e2fsprogs'},
  {command: 'e2fsck', debianPackage: 'e2fsprogs'},
  {command: 'grub-mkimage', debianPackage: 'grub-common'},
  {command: 'qemu-img', debianPackage: 'qemu-utils'},
];

const WITHOUT_ROOT: readonly Tool[] = [
  {command: 'fakeroot', debianPackage: 'fakeroot'},
  {command: 'newuidmap', debianPackage: 'uidmap'},
];

/** Files that tools read, and the Debian packages that have them. */
export const GRUB_BOOT_IMAGE = '/usr/lib/grub/i386-pc/boot.img';
export const DEBIAN_KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

// Debian keeps mke2fs and friends outside an ordinary user's PATH.
const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** The tools that a forge needs; more of them when it does not run as root. */
export function neededTools(asRoot: boolean): readonly Tool[] {
  return asRoot ? ALWAYS : [...ALWAYS, ...WITHOUT_ROOT];
}

/** `env` with the system folders on its PATH and messages in English, for the tools' sake. */
export function toolEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const folders = (env.PATH ?? '').split(delimiter).filter(Boolean);
  const missing = SYSTEM_FOLDERS.filter(folder => !folders.includes(folder));
  return {...env, PATH: [...folders, ...missing].join(delimiter), LC_ALL: 'C.UTF-8'};
}

/** The full path of `command` on the PATH of `env`; undefined when there is none. */
export async function findTool(command: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const folder of (env.PATH ?? '').split(delimiter)) {
    if (folder && (await isExecutable(join(folder, command)))) return join(folder, command);
  }
  return undefined;
}

/** @throws UserError naming all that is missing at once, with the command that installs it. */
export async function checkTools(env: NodeJS.ProcessEnv, asRoot: boolean): Promise<void> {
  const missing: Tool[] = [];
  for (const tool of neededTools(asRoot)) {
    if (!(await findTool(tool.command, env))) missing.push(tool);
  }
  if (!(await exists(GRUB_BOOT_IMAGE))) missing.push({command: 'boot.img', debianPackage: 'grub-pc-bin'});
  if (!(await exists(DEBIAN_KEYRING))) {
    missing.push({command: "Debian's archive keys", debianPackage: 'debian-archive-keyring'});
  }
  if (missing.length > 0) throw missingTools(missing);
}

/** The one error for all missing tools. */
export function missingTools(missing: readonly Tool[]): UserError {
  const packages = [...new Set(missing.map(tool => tool.debianPackage))].sort();
  return new UserError(`the forge needs tools that are not here: ${missing.map(t => t.command).join(', ')}`, {
    hint: `install them: sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages.join(' ')}`,
    stage: 'forge',
  });
}

async function isExecutable(path: string): Promise<boolean> {
  return await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
