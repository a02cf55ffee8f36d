import {readFile} from 'node:fs/promises';
import type {Cpu, CpuFacts} from '../base/cpu.ts';

export const localCpu: Cpu = {
  facts: async () => parseCpuinfo(await readFile('/proc/cpuinfo', 'utf8').catch(() => '')),
};

/** Reads the first processor of /proc/cpuinfo (proc(5)); undefined when a field is missing, as on other architectures than x86. */
export function parseCpuinfo(text: string): CpuFacts | undefined {
  const first = text.split('\n\n', 1)[0] ?? '';
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}\\s*:[ \\t]*(.+)$`, 'm').exec(first)?.[1]?.trim();
  const [vendor, family, model, stepping, flags] = [
    'vendor_id',
    'cpu family',
    'model',
    'stepping',
    'flags',
  ].map(field);
  if (!vendor || !family || !model || !stepping || !flags) return undefined;
  // A hypervisor may hide the microcode's revision.
  return {vendor, family, model, stepping, microcode: field('microcode') ?? '', flags: flags.split(/\s+/)};
}
