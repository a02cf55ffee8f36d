import {describe, expect, test} from '@jest/globals';
import {parseGrub, parseSyslinux} from '../../src/disk/boot-config.ts';
import {GRUB_CFG, GRUB_COMMAND_LINE, SYSLINUX_CFG, SYSLINUX_COMMAND_LINE} from '../support/boot-disk.ts';

describe('SYSLINUX', () => {
  test('the configuration that published archives have', () => {
    expect(parseSyslinux(SYSLINUX_CFG)).toEqual({
      kernel: '/boot/vmlinuz',
      initrd: '/boot/initrd.img',
      commandLine: SYSLINUX_COMMAND_LINE,
    });
  });

  test.each<[string, string, string, string | undefined]>([
    ['no initrd', 'DEFAULT a\nLABEL a\nKERNEL /k\nAPPEND ro', 'BOOT_IMAGE=/k ro', undefined],
    ['no options', 'DEFAULT a\nLABEL a\nKERNEL /k', 'BOOT_IMAGE=/k', undefined],
    ['INITRD', 'default a\nlabel a\nlinux /k\ninitrd /i\nappend ro', 'BOOT_IMAGE=/k ro initrd=/i', '/i'],
    [
      'the default of several, comments, what is only shown',
      '# x\nTIMEOUT 10\nPROMPT 0\r\nLABEL b\n KERNEL /other\nDEFAULT a\n\nLABEL a\n\tKERNEL  /k \n  SAY KERNEL /no\n',
      'BOOT_IMAGE=/k',
      undefined,
    ],
  ])('%s', (_name, text, commandLine, initrd) => {
    expect(parseSyslinux(text)).toEqual({kernel: '/k', initrd, commandLine});
  });

  test.each<[string, string, RegExp]>([
    ['nothing', '', /default names no kernel/],
    ['no default', 'LABEL linux\nKERNEL /k', /default names no kernel/],
    ['a default that is a kernel', 'DEFAULT /k root=x', /default names no kernel/],
    ['a default with options', 'DEFAULT a quiet\nLABEL a\nKERNEL /k', /default names no kernel/],
    ['two defaults', 'DEFAULT a\nDEFAULT b\nLABEL a\nKERNEL /k', /two defaults/],
    ['a menu', 'UI menu.c32\nDEFAULT a\nLABEL a\nKERNEL /k', /says "UI"/],
    ['a menu default', 'DEFAULT a\nLABEL a\nMENU DEFAULT\nKERNEL /k', /says "MENU"/],
    ['an include', 'INCLUDE other.cfg\nDEFAULT a\nLABEL a\nKERNEL /k', /says "INCLUDE"/],
    ['a program', 'DEFAULT a\nLABEL a\nCOM32 chain.c32', /says "COM32"/],
    ['options for all', 'APPEND ro\nDEFAULT a\nLABEL a\nKERNEL /k', /says "APPEND"/],
    ['what happens after a wait', 'ONTIMEOUT b\nDEFAULT a\nLABEL a\nKERNEL /k', /says "ONTIMEOUT"/],
    ['two of a label', 'DEFAULT a\nLABEL a\nKERNEL /k\nLABEL a\nKERNEL /l', /two labels "a"/],
    ['two kernels', 'DEFAULT a\nLABEL a\nKERNEL /k\nLINUX /l', /two kernels/],
    ['two appends', 'DEFAULT a\nLABEL a\nKERNEL /k\nAPPEND a\nAPPEND b', /two of append/],
    ['two initrds', 'DEFAULT a\nLABEL a\nKERNEL /k\nAPPEND initrd=/a\nINITRD /b', /more than one initrd/],
    [
      'a list of initrds',
      'DEFAULT a\nLABEL a\nKERNEL /k\nAPPEND initrd=/a,/b',
      /"\/a,\/b", which is no plain/,
    ],
    ['a relative kernel', 'DEFAULT a\nLABEL a\nKERNEL k', /"k", which is no plain path/],
    ['another disk', 'DEFAULT a\nLABEL a\nKERNEL (hd0)/k', /no plain path/],
    ['a control character', 'DEFAULT a\nLABEL a\nKERNEL /k\nAPPEND a\u0007b', /no plain text/],
    ['too long', `DEFAULT a\nLABEL a\nKERNEL /k\nAPPEND ${'x'.repeat(2048)}`, /too long/],
  ])('is not guessed at: %s', (_name, text, reason) => {
    expect(() => parseSyslinux(text)).toThrow(reason);
  });
});

describe('GRUB', () => {
  test('the configuration that the forge writes', () => {
    expect(parseGrub(GRUB_CFG)).toEqual({
      kernel: '/vmlinuz',
      initrd: '/initrd.img',
      commandLine: GRUB_COMMAND_LINE,
    });
  });

  test('one entry, as it is written by hand', () => {
    const text =
      'set default="0"\nset timeout=0\ninsmod part_msdos\n\nmenuentry \'Linux 6\' --class os {\n  load_video\n  linux /k root=LABEL=r ro  quiet\n  initrd /i\n}\n';
    const commandLine = 'BOOT_IMAGE=/k root=LABEL=r ro quiet';
    expect(parseGrub(text)).toEqual({kernel: '/k', initrd: '/i', commandLine});
  });

  test.each<[string, string, RegExp]>([
    ['nothing', 'insmod ext2\n', /starts no Linux/],
    ['what grub-mkconfig writes', 'if [ -s $prefix/grubenv ]; then\n load_env\nfi', /"if" is a script/],
    ['a variable', 'linux /k root=$root', /"linux" is a script/],
    ['a quoted option', 'linux /k dyndbg="file x +p"', /"linux" is a script/],
    ['a search for another device', 'search --set=root --label x\nlinux /k', /says "search"/],
    ['another default', 'set default=1\nlinux /k', /says "set"/],
    ['a saved default', 'set default="saved"\nlinux /k', /"set" is a script/],
    ['two entries', "menuentry 'a' {\nlinux /a\n}\nmenuentry 'b' {\nlinux /b\n}", /more than one entry/],
    ['two kernels', 'linux /a\nlinux /b', /says "linux"/],
    ['two initrds', 'linux /a\ninitrd /b /c', /"\/b \/c", which is no plain path/],
    ['another device', 'linux (hd1)/a', /"linux" is a script/],
    ['another system', 'multiboot /xen', /says "multiboot"/],
    ['another file', 'configfile /other.cfg', /says "configfile"/],
    ['entries of the other kind', 'blscfg', /says "blscfg"/],
  ])('is not guessed at: %s', (_name, text, reason) => {
    expect(() => parseGrub(text)).toThrow(reason);
  });
});
