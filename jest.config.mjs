// Unit tests; the ones that need a real VM are *.itg.ts and have jest.itg.config.mjs.
export default {
  testMatch: ['<rootDir>/__tests__/**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: {'^.+\\.ts$': '<rootDir>/scripts/jest-esbuild.mjs'},
  testEnvironment: 'node',
  maxWorkers: 2,
  // A busy machine is no failure.
  testTimeout: 120_000,
};
