import type {Docker} from '../../src/base/docker.ts';
import type {CommandLine, Output, Processes} from '../../src/base/ports.ts';

/** What a command prints, or how it ends. */
export type Answer = string | Partial<Output> | Error;

/** Programs by the path at which they are found; each answers by its arguments, joined by blanks. */
export type Programs = Readonly<Record<string, (args: string) => Answer | undefined>>;

/** A machine whose programs say what a test has them say. */
export function fakeProcesses(programs: Programs): Processes & {readonly asked: string[]} {
  const asked: string[] = [];
  const find = async (program: string): Promise<string | undefined> =>
    Object.keys(programs).find(path => path === program || path.endsWith(`/${program}`));
  return {
    asked,
    find,
    start: async () => {
      throw new Error('nothing is started here');
    },
    startDetached: async () => {
      throw new Error('nothing is started here');
    },
    output: async ({file, args}: CommandLine) => {
      const line = args.join(' ');
      asked.push(`${file} ${line}`);
      const answer = programs[file]?.(line) ?? {code: 1, stderr: `no answer to ${line}`};
      if (answer instanceof Error) throw answer;
      const nothing = {code: 0, signal: undefined, stdout: '', stderr: ''};
      return typeof answer === 'string' ? {...nothing, stdout: answer} : {...nothing, ...answer};
    },
  };
}

/** A docker client that is found where the programs have it. */
export function fakeDocker(
  processes: Pick<Processes, 'find'>,
  load: Docker['load'] = async () => undefined,
): Docker {
  return {
    load,
    command: async args => {
      const file = await processes.find('docker');
      return file === undefined ? undefined : {file, args};
    },
  };
}

// As QEMU 7.2 of Debian prints them, cut.
const HELP: Readonly<Record<string, string>> = {
  '-accel help': 'Accelerators supported in QEMU binary:\ntcg\nkvm\n',
  '-machine help':
    'Supported machines are:\nmicrovm              microvm (i386)\npc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-7.2)\nq35                  Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-7.2)\nnone                 empty machine\n',
  '-device help':
    'Controller/Bridge/Hub devices:\nname "i82801b11-bridge", bus PCI\n\nStorage devices:\nname "ide-hd", bus IDE, desc "virtual IDE disk"\nname "virtio-blk-pci", bus PCI, alias "virtio-blk"\n\nNetwork devices:\nname "virtio-net-pci", bus PCI, alias "virtio-net"\n\nInput devices:\nname "virtio-serial-pci", bus PCI, alias "virtio-serial"\nname "virtserialport", bus virtio-serial-bus\n\nDisplay devices:\nname "VGA", bus PCI\n',
  '-netdev help': 'Available netdev backend types:\nsocket\nhubport\ntap\nuser\n',
  '-object help':
    'List of user creatable objects:\n  iothread\n  memory-backend-file\n  memory-backend-memfd\n  memory-backend-ram\n',
  '--version': 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c) 2003-2022\n',
};

/** A QEMU that has everything, but for lines that `without` matches. */
export function qemuWithout(without?: RegExp): (args: string) => Answer | undefined {
  return args => {
    // A loader's own arguments come first.
    const question = /(?:^| )((?:-\w+ help)|--version)$/.exec(args)?.[1] ?? '';
    return HELP[question]
      ?.split('\n')
      .filter(line => !without?.test(line))
      .join('\n');
  };
}
