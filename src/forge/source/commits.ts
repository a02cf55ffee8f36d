/** Commits of the releases that the published archives hold, as each archive reports them. */
const COMMITS: Readonly<Record<string, string>> = {
  'v0.3.0': '663f185a07b532664020d616b0e55873c2741307',
  'v0.4.0': 'c35410878ab9070498c66f6c67d3e8bc3b92241f',
  'v0.5.0': '8c0fa8fdec187d8f259a349d2da16dc2dc5f144a',
  'v0.7.0': 'c60a1eb215d795a12e43ceff6a5ed67ce1ad958d',
  'v0.9.0': 'c8bb937807d405d92be91f06ce2629e6202ac7a9',
  'v0.10.0': '068cf686a7e5c3254244d0acc54636f4f393611e',
  'v0.10.5': 'bc26045116045516ff2427201abd299043eaf8f7',
  'v0.10.6': '0c9b5aeb269c740650786ba77d882b0259415ec7',
  'v0.11.0-rc1': 'e8dac6c052dd208dee98b3eabec7c6d22c9a6f20',
  'v0.11.0-rc2': 'a489366c7c793b96817994fa4c8195f2cbecd64a',
  'v0.11.0': '830288a71f447b46ad44ad5f7bd45148ec450d44',
  'v0.12.0': '18fc875d9bfd6e065cd8211abc639434ba65aa56',
  'v0.12.4': '833949d0f7908608b00ab6b93b8f92bdb147fcca',
  'v0.12.5': 'bac3f2b673f3f9d33e79046008e7a38e856b3dc6',
  'v0.20.2': '97437fdd7e32f29bb80288d800cd4ffcb34e1c15',
  'v0.21.0-rc1': '40a5c2d56d8b064f98718f29dd2fd7d5940d7b1c',
  'v0.21.0-rc2': '52b004d2afe20c5c80967cc1784e718b52d69dae',
  'v0.21.0': '52b004d2afe20c5c80967cc1784e718b52d69dae',
  'v0.21.1': '66735c67040bc80e6ed104f451683e094030a4e1',
};

/** The commit of a release, when it is one of the archived ones. */
export function knownCommit(release: string): string | undefined {
  return Object.hasOwn(COMMITS, release) ? COMMITS[release] : undefined;
}
