import type {Agents} from '../base/ports.ts';
import {wakeBySession} from './wake.ts';

export const localAgents: Agents = {
  install: async () => 'not there yet',
  wake: wakeBySession,
  connect: async () => {
    throw new Error('not there yet');
  },
};
