/** What tells one CPU from another, as /proc/cpuinfo has it (proc(5)). */
export interface CpuFacts {
  readonly vendor: string;
  readonly family: string;
  readonly model: string;
  readonly stepping: string;
  readonly microcode: string;
  readonly flags: readonly string[];
}

export interface Cpu {
  /** Undefined when the system does not say. */
  facts(): Promise<CpuFacts | undefined>;
}
