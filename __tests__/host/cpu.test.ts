import {expect, test} from '@jest/globals';
import {parseCpuinfo} from '../../src/host/cpu.ts';

const INTEL = `processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Platinum 8272CL CPU @ 2.60GHz
stepping\t: 7
microcode\t: 0xffffffff
flags\t\t: fpu vme avx512f
vmx flags\t: vnmi

processor\t: 1
vendor_id\t: Other
`;

test('the first processor is read', () => {
  expect(parseCpuinfo(INTEL)).toEqual({
    vendor: 'GenuineIntel',
    family: '6',
    model: '85',
    stepping: '7',
    microcode: '0xffffffff',
    flags: ['fpu', 'vme', 'avx512f'],
  });
});

test('a hypervisor may hide the microcode', () => {
  expect(parseCpuinfo(INTEL.replace(/^microcode.*\n/m, ''))).toMatchObject({microcode: ''});
});

test.each([
  ['arm64', 'processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n'],
  ['nothing', ''],
])('%s is unknown', (_name, text) => expect(parseCpuinfo(text)).toBeUndefined());
