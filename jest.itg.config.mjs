import unit from './jest.config.mjs';

// One worker: each test file drives its own real VM, and two VMs under TCG starve each other.
export default {
  ...unit,
  testMatch: ['<rootDir>/__tests__/**/*.itg.ts'],
  maxWorkers: 1,
  testTimeout: 900_000,
};
