/** What `/dev/kvm` is good for. */
export type KvmState =
  | {readonly kind: 'usable'}
  | {readonly kind: 'absent'}
  /** It exists and cannot be opened; `reason` is the system's. */
  | {readonly kind: 'denied'; readonly reason: string};

export interface Kvm {
  probe(): Promise<KvmState>;
  /** Tries to open it for this user by `sudo -n`; gives the state afterwards. */
  repair(): Promise<KvmState>;
}
