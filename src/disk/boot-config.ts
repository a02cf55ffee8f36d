/** What a boot loader starts. */
export interface BootEntry {
  /** Paths in the file system of the configuration; the kernel's stands as it was written, which is how the kernel's command line names it. */
  readonly kernel: string;
  readonly initrd: string | undefined;
  /** All of it, `BOOT_IMAGE` with it. */
  readonly commandLine: string;
}

/** x86's limit for a command line (arch/x86/include/asm/setup.h, COMMAND_LINE_SIZE), its NUL aside. */
const MAX_COMMAND_LINE_BYTES = 2047;

/** What decides nothing about which kernel is started, or how: texts, colours, waits, the console of the loader itself. */
const SYSLINUX_ASIDE: ReadonlySet<string> = new Set([
  ...['say', 'timeout', 'totaltimeout', 'prompt', 'serial', 'display', 'font', 'console', 'noescape'],
  ...['allowoptions', 'nohalt', 'kbdmap', 'f1', 'f2', 'f3', 'f4', 'f5', 'f6', 'f7', 'f8', 'f9', 'f10'],
]);

/**
 * The default entry of a SYSLINUX configuration (doc/syslinux.txt, "The configuration file").
 * @throws with what stands in the way when it cannot be told for sure: menus, includes, programs, an unknown word.
 */
export function parseSyslinux(text: string): BootEntry {
  let defaultLabel: string | undefined;
  let current: {kernel?: string; append?: string; initrd?: string} | undefined;
  const labels = new Map<string, NonNullable<typeof current>>();
  for (const {word, rest} of lines(text)) {
    const keyword = word.toLowerCase();
    if (SYSLINUX_ASIDE.has(keyword)) continue;
    if (keyword === 'default') {
      if (defaultLabel !== undefined) throw new Error('it has two defaults');
      defaultLabel = rest;
    } else if (keyword === 'label') {
      if (labels.has(rest)) throw new Error(`it has two labels ${JSON.stringify(rest)}`);
      current = {};
      labels.set(rest, current);
    } else if (current && (keyword === 'kernel' || keyword === 'linux')) {
      if (current.kernel !== undefined) throw new Error('a label has two kernels');
      current.kernel = rest;
    } else if (current && (keyword === 'append' || keyword === 'initrd')) {
      if (current[keyword] !== undefined) throw new Error(`a label has two of ${keyword}`);
      current[keyword] = rest;
    } else throw new Error(`it says ${JSON.stringify(word)}`);
  }
  const entry = defaultLabel === undefined ? undefined : labels.get(defaultLabel);
  if (!entry?.kernel) throw new Error('its default names no kernel');
  const append = entry.append ?? '';
  // "initrd=" among the options is SYSLINUX's own way, and stays on the command line.
  const initrds = [
    ...append.split(/\s+/).flatMap(option => /^initrd=(.*)$/.exec(option)?.[1] ?? []),
    ...(entry.initrd === undefined ? [] : [entry.initrd]),
  ];
  if (initrds.length > 1) throw new Error('it has more than one initrd');
  return entryOf(
    entry.kernel,
    initrds[0],
    [append, entry.initrd && `initrd=${entry.initrd}`].filter(Boolean).join(' '),
  );
}

const GRUB_ASIDE: ReadonlySet<string> = new Set([
  ...['serial', 'terminal', 'terminal_input', 'terminal_output', 'insmod', 'load_video', 'echo', 'boot'],
]);

/**
 * The one entry of a GRUB configuration that is a plain list of commands (GRUB manual, "Writing full configuration files directly").
 * @throws with what stands in the way: what `grub-mkconfig` writes is a script, and which kernel it starts depends on what it finds.
 */
export function parseGrub(text: string): BootEntry {
  let linux: {kernel: string; options: string} | undefined;
  let initrd: string | undefined;
  let entries = 0;
  for (const {word, rest} of lines(text)) {
    if (word === 'set' && /^(?:timeout|timeout_style|gfxpayload)=[\w-]+$|^default="?0"?$/.test(rest))
      continue;
    if (GRUB_ASIDE.has(word) || word === '}') continue;
    if (word === 'menuentry' && rest.endsWith('{')) {
      if (++entries > 1 || linux) throw new Error('it has more than one entry');
      continue;
    }
    if (/["'\\$`;&|<>(]/.test(rest)) throw new Error(`its line with ${JSON.stringify(word)} is a script`);
    if (word === 'linux' && !linux) {
      const [kernel = '', ...options] = rest.split(/\s+/);
      linux = {kernel, options: options.join(' ')};
    } else if (word === 'initrd' && initrd === undefined) initrd = rest;
    else throw new Error(`it says ${JSON.stringify(word)}`);
  }
  if (!linux) throw new Error('it starts no Linux');
  return entryOf(linux.kernel, initrd, linux.options);
}

function entryOf(kernel: string, initrd: string | undefined, options: string): BootEntry {
  for (const path of [kernel, initrd]) {
    // A relative one begins where the loader was installed; more than one, or a device's name, is not looked for.
    if (path !== undefined && !/^\/[^\s,()]+$/.test(path))
      throw new Error(`it names ${JSON.stringify(path)}, which is no plain path`);
  }
  const commandLine = `BOOT_IMAGE=${kernel} ${options}`.trim();
  if (!/^[\x20-\x7e]*$/.test(commandLine) || commandLine.length > MAX_COMMAND_LINE_BYTES)
    throw new Error('its command line is too long or no plain text');
  return {kernel, initrd, commandLine};
}

function* lines(text: string): Generator<{readonly word: string; readonly rest: string}> {
  for (const line of text.split(/\r?\n/)) {
    const [, word, rest = ''] = /^\s*(\S+)(?:\s+(.*?))?\s*$/.exec(line) ?? [];
    if (word !== undefined && !word.startsWith('#')) yield {word, rest};
  }
}
