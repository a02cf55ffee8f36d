import unit from './jest.config.mjs';

export default {
  ...unit,
  testMatch: ['<rootDir>/__tests__/**/*.act.ts'],
  maxWorkers: 1,
  testTimeout: 1_200_000,
};
