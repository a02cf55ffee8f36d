import unit from './jest.config.mjs';

// What takes an hour and more under emulation; scripts/large.sh looks after the room that it needs.
export default {
  ...unit,
  testMatch: ['<rootDir>/__tests__/**/*.large.ts'],
  maxWorkers: 1,
  testTimeout: 86_400_000,
};
