import {execFileSync} from 'node:child_process';
import {copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {findQemuInRootfs} from '../../src/archive/qemu-in-image.ts';
import {localPorts} from '../../src/host/local.ts';
import {proveQemu} from '../../src/vm/find-qemu.ts';

/** Two programs of another C library than this machine's: what they are asked and what they answer is QEMU's, how they are started is the test. */
const LIBRARY = `
#include <string.h>
const char *answer(const char *option) {
  if (!strcmp(option, "-accel")) return "tcg\\n";
  if (!strcmp(option, "-machine")) return "pc  a board\\n";
  if (!strcmp(option, "-netdev")) return "user\\n";
  if (!strcmp(option, "-object")) return "memory-backend-file\\nmemory-backend-memfd\\n";
  return "name \\"ide-hd\\"\\nname \\"virtio-net-pci\\"\\nname \\"VGA\\"\\nname \\"virtio-blk-pci\\"\\n"
         "name \\"virtio-serial-pci\\"\\nname \\"virtserialport\\"\\n";
}
`;
const PROGRAM = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
const char *answer(const char *option);
int main(int argc, char **argv) {
  if (!strcmp(argv[argc - 1], "--version")) printf("QEMU emulator version 9.1.2\\n");
  else if (!strcmp(argv[argc - 1], "where")) { for (int i = 1; i < argc; i++) printf("%s ", argv[i]); puts(getenv("QEMU_MODULE_DIR")); }
  else fputs(answer(argv[argc - 2]), stdout);
  return 0;
}
`;

let root: string;

/** A root file system laid out like Alpine's: the loader is the C library, in lib/; everything else in usr/. */
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'itg-musl-'));
  for (const dir of ['lib', 'usr/bin', 'usr/lib/qemu', 'usr/share/qemu', 'usr/share/seabios']) {
    mkdirSync(join(root, dir), {recursive: true});
  }
  writeFileSync(join(root, 'lib.c'), LIBRARY);
  writeFileSync(join(root, 'qemu.c'), PROGRAM);
  const cc = (...args: string[]): void => void execFileSync('musl-gcc', args, {cwd: root, stdio: 'pipe'});
  cc('-shared', '-fPIC', '-o', 'usr/lib/libpart.so.1', 'lib.c');
  symlinkSync('libpart.so.1', join(root, 'usr/lib/libpart.so'));
  cc('-o', 'usr/bin/qemu-system-x86_64', 'qemu.c', '-Lusr/lib', '-l:libpart.so.1');
  copyFileSync('/lib/ld-musl-x86_64.so.1', join(root, 'lib/ld-musl-x86_64.so.1'));
  execFileSync('chmod', ['755', join(root, 'lib/ld-musl-x86_64.so.1')]);
});
afterAll(() => rmSync(root, {recursive: true}));

describe('a QEMU that is linked against musl', () => {
  test("is run through its image's own loader, with its image's libraries and firmware", async () => {
    const found = await findQemuInRootfs(localPorts.files, root);
    if (!found) throw new Error('not found');
    expect(found.file).toBe(join(root, 'lib/ld-musl-x86_64.so.1'));
    const {stdout} = await localPorts.processes.output({
      file: found.file,
      args: [...found.prefixArgs, 'where'],
      env: found.env,
    });
    expect(stdout).toBe(
      `-L ${root}/usr/share/qemu -L ${root}/usr/share/seabios where ${root}/usr/lib/qemu\n`,
    );
    expect(await proveQemu(localPorts.processes, {...found, origin: 'archive'}, 'tcg')).toMatchObject({
      version: '9.1.2',
      origin: 'archive',
    });
  });

  test('without one of its libraries it is passed over with what the loader says', async () => {
    rmSync(join(root, 'usr/lib/libpart.so.1'));
    const found = await findQemuInRootfs(localPorts.files, root);
    if (!found) throw new Error('not found');
    await expect(proveQemu(localPorts.processes, {...found, origin: 'archive'}, 'tcg')).rejects.toThrow(
      /the archive's QEMU does not run: .*libpart\.so\.1/,
    );
  });
});
