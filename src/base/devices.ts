/** A disk in a running machine. */
export interface PluggedDisk {
  /**
   * Takes the disk out again, within seconds.
   * @returns true once neither the guest nor QEMU can reach the file any more; false when the guest keeps it until the machine ends. Never rejects.
   */
  detach(): Promise<boolean>;
}

/** Devices of a running machine that come and go. */
export interface Devices {
  /**
   * Plugs in a file of this machine as a raw disk. When it returns, the file is open and its name is no longer needed.
   * @param disk.serial what the guest finds the disk by: another one for each disk, up to 20 of `[A-Za-z0-9.-]` (virtio-blk's room).
   * @throws when the machine refuses it.
   */
  attachDisk(disk: {
    readonly path: string;
    readonly serial: string;
    readonly readOnly: boolean;
  }): Promise<PluggedDisk>;
}
