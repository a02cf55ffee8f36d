/** Devices of a running machine that come and go. */
export interface Devices {
  /**
   * Plugs in a file of this machine as a raw disk. When it returns, the file is open and its name is no longer needed.
   * @param disk.serial what the guest finds the disk by: another one for each disk, up to 20 of `[A-Za-z0-9.-]` (virtio-blk's room).
   * @returns disposing it takes the disk out again, within seconds, and never throws.
   * @throws when the machine refuses it.
   */
  attachDisk(disk: {
    readonly path: string;
    readonly serial: string;
    readonly readOnly: boolean;
  }): Promise<AsyncDisposable>;
}
