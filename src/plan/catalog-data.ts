// Made from catalog.yml by "npm run catalog"; change that file.

/** One published archive. The fields are explained in catalog.yml. */
export interface CatalogEntry {
  readonly name: string;
  readonly buildkit: string;
  readonly commit?: string;
  readonly runc?: string;
  readonly reports?: string;
  readonly revisions: readonly string[];
  readonly port?: number;
  readonly debugger?: number;
  readonly digests?: {readonly [revision: string]: {readonly [source: string]: string}};
}

export const CATALOG: readonly CatalogEntry[] = [
  {
    name: 'v0.3.0',
    buildkit: 'v0.3.0',
    commit: '663f185a07b532664020d616b0e55873c2741307',
    runc: '1.0.0-rc6',
    revisions: ['v0.1.0'],
    port: 3001,
  },
  {
    name: 'v0.4.0',
    buildkit: 'v0.4.0',
    commit: 'c35410878ab9070498c66f6c67d3e8bc3b92241f',
    runc: '1.0.0-rc7',
    revisions: ['v0.1.0'],
    port: 4001,
  },
  {
    name: 'v0.5.0',
    buildkit: 'v0.5.0',
    commit: '8c0fa8fdec187d8f259a349d2da16dc2dc5f144a',
    runc: '1.0.0-rc7',
    revisions: ['v0.1.0'],
    port: 5001,
  },
  {
    name: 'v0.7.0',
    buildkit: 'v0.7.0',
    commit: 'c60a1eb215d795a12e43ceff6a5ed67ce1ad958d',
    runc: '1.0.0-rc10',
    revisions: ['v0.1.0'],
    port: 7000,
  },
  {
    name: 'v0.9.0',
    buildkit: 'v0.9.0',
    commit: 'c8bb937807d405d92be91f06ce2629e6202ac7a9',
    runc: '1.0.0',
    revisions: ['v0.1.0'],
    port: 9001,
  },
  {
    name: 'v0.10.0',
    buildkit: 'v0.10.0',
    commit: '068cf686a7e5c3254244d0acc54636f4f393611e',
    runc: '1.0.2',
    revisions: ['v0.1.0'],
    port: 10002,
  },
  {
    name: 'v0.10.3',
    buildkit: 'v0.10.3',
    reports: 'buildkitd github.com/moby/buildkit v0.10.0 068cf686a7e5c3254244d0acc54636f4f393611e',
    runc: '1.0.2',
    revisions: ['v0.1.0'],
    port: 10301,
  },
  {
    name: 'v0.10.5',
    buildkit: 'v0.10.5',
    commit: 'bc26045116045516ff2427201abd299043eaf8f7',
    runc: '1.0.2',
    revisions: ['v0.1.0'],
    port: 10500,
  },
  {
    name: 'v0.10.6',
    buildkit: 'v0.10.6',
    commit: '0c9b5aeb269c740650786ba77d882b0259415ec7',
    runc: '1.0.2',
    revisions: ['v0.1.0'],
    port: 10600,
  },
  {
    name: 'v0.11.0-rc1',
    buildkit: 'v0.11.0-rc1',
    commit: 'e8dac6c052dd208dee98b3eabec7c6d22c9a6f20',
    runc: '1.1.4',
    revisions: ['v0.1.0'],
    port: 11013,
  },
  {
    name: 'v0.11.0-rc2',
    buildkit: 'v0.11.0-rc2',
    commit: 'a489366c7c793b96817994fa4c8195f2cbecd64a',
    runc: '1.1.4',
    revisions: ['v0.1.0'],
    port: 11020,
  },
  {
    name: 'v0.11.0',
    buildkit: 'v0.11.0',
    commit: '830288a71f447b46ad44ad5f7bd45148ec450d44',
    runc: '1.1.4',
    revisions: ['v0.1.0'],
    port: 11002,
  },
  {
    name: 'v0.12.0',
    buildkit: 'v0.12.0',
    commit: '18fc875d9bfd6e065cd8211abc639434ba65aa56',
    runc: '1.1.7',
    revisions: ['v0.1.0'],
    port: 12002,
  },
  {
    name: 'v0.12.4',
    buildkit: 'v0.12.4',
    commit: '833949d0f7908608b00ab6b93b8f92bdb147fcca',
    runc: '1.1.7',
    revisions: ['v0.1.0'],
    port: 12401,
  },
  {
    name: 'v0.12.4-debug',
    buildkit: 'v0.12.4',
    commit: '833949d0f7908608b00ab6b93b8f92bdb147fcca',
    runc: '1.1.7',
    revisions: ['v0.1.0'],
    port: 12402,
    debugger: 2345,
  },
  {
    name: 'v0.12.5',
    buildkit: 'v0.12.5',
    commit: 'bac3f2b673f3f9d33e79046008e7a38e856b3dc6',
    runc: '1.1.12',
    revisions: ['v0.1.0'],
    port: 12501,
  },
  {
    name: 'v0.12.5-debug',
    buildkit: 'v0.12.5',
    commit: 'bac3f2b673f3f9d33e79046008e7a38e856b3dc6',
    runc: '1.1.12',
    revisions: ['v0.1.0'],
    port: 12502,
    debugger: 2345,
  },
  {
    name: 'v0.20.2',
    buildkit: 'v0.20.2',
    commit: '97437fdd7e32f29bb80288d800cd4ffcb34e1c15',
    runc: '1.2.5',
    revisions: ['v0.1.0', 'v0.2.0'],
    port: 20201,
  },
  {
    name: 'v0.21.0-rc1',
    buildkit: 'v0.21.0-rc1',
    commit: '40a5c2d56d8b064f98718f29dd2fd7d5940d7b1c',
    runc: '1.2.6',
    revisions: ['v0.1.0'],
    port: 21021,
  },
  {
    name: 'v0.21.0-rc2',
    buildkit: 'v0.21.0-rc2',
    commit: '52b004d2afe20c5c80967cc1784e718b52d69dae',
    runc: '1.2.6',
    revisions: ['v0.1.0'],
    port: 21020,
  },
  {
    name: 'v0.21.0',
    buildkit: 'v0.21.0',
    commit: '52b004d2afe20c5c80967cc1784e718b52d69dae',
    runc: '1.2.6',
    revisions: ['v0.1.0'],
    port: 21022,
  },
  {
    name: 'v0.21.1',
    buildkit: 'v0.21.1',
    commit: '66735c67040bc80e6ed104f451683e094030a4e1',
    runc: '1.2.6',
    revisions: ['v0.1.0'],
    port: 21109,
  },
];
