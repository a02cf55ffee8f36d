import {text} from 'node:stream/consumers';
import {listen} from './forward.ts';
import {RelayHub} from './relay.ts';

/** A forward that outlives the process that asked for it (`lend.ts`); it ends with the machine, or is ended. */
async function main(): Promise<void> {
  const {socketPath, token} = JSON.parse(await text(process.stdin)) as {socketPath: string; token: string};
  const say = (what: unknown): boolean => process.stdout.write(`${JSON.stringify(what)}\n`);
  // Who started it is gone by the time it works.
  process.stdout.on('error', () => undefined);
  const hub = await RelayHub.open(token);
  say({port: hub.port});
  await hub.connected;
  const listener = await listen(socketPath, () => hub.dial());
  say({ready: true});
  await new Promise(resolve => hub.lost.addEventListener('abort', resolve, {once: true}));
  await listener.close();
  hub.close();
}

void main();
