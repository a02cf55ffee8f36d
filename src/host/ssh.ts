import {connect, type Socket} from 'node:net';
import ssh2, {type ConnectConfig} from 'ssh2';
import {asCanceled} from '../base/errors.ts';
import type {InteractiveSession, Ssh, SshLine, SshTarget} from '../base/ports.ts';
import {SshSession} from './ssh-session.ts';

/** Unanswered keep-alives end the link after (count + 1) × interval = 14 s. */
const KEEPALIVE_INTERVAL_MS = 3_500;
const KEEPALIVE_COUNT_MAX = 3;

export const localSsh: Ssh = {knock, connect: connectSession};

/** What a server may say before its identification (RFC 4253, 4.2) is not endless. */
const MAX_BANNER_BYTES = 4096;

class Line implements SshLine {
  readonly socket: Socket;
  constructor(socket: Socket) {
    this.socket = socket;
  }
  close(): void {
    this.socket.destroy();
  }
}

function knock(
  host: string,
  port: number,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<SshLine | undefined> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(asCanceled(signal));
    const socket = connect({host, port, noDelay: true});
    let seen = Buffer.alloc(0);
    const settle = (action: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      for (const event of ['error', 'close', 'data']) socket.removeAllListeners(event);
      // Whoever gets the line listens for its errors; until then, and after it is closed, they are nobody's.
      socket.on('error', () => undefined);
      action();
    };
    const giveUp = (): void => {
      settle(() => {
        socket.destroy();
        resolve(undefined);
      });
    };
    const onAbort = (): void => {
      settle(() => {
        socket.destroy();
        reject(asCanceled(signal as AbortSignal));
      });
    };
    const timer = setTimeout(giveUp, timeoutMs);
    signal?.addEventListener('abort', onAbort, {once: true});
    socket.on('error', giveUp);
    socket.on('close', giveUp);
    socket.on('data', chunk => {
      seen = Buffer.concat([seen, chunk]);
      if (seen.length > MAX_BANNER_BYTES) return giveUp();
      if (!/^SSH-/m.test(seen.toString('latin1'))) return;
      settle(() => {
        socket.pause();
        // The login reads it again.
        socket.unshift(seen);
        resolve(new Line(socket));
      });
    });
  });
}

async function connectSession(
  target: SshTarget,
  options: {timeoutMs: number; signal?: AbortSignal; line?: SshLine | undefined},
): Promise<InteractiveSession> {
  const client = new ssh2.Client();
  try {
    await new Promise<void>((resolve, reject) => {
      const {signal} = options;
      if (signal?.aborted) return reject(asCanceled(signal));
      const onAbort = (): void => reject(asCanceled(signal as AbortSignal));
      const settle = (action: () => void): void => {
        signal?.removeEventListener('abort', onAbort);
        action();
      };
      signal?.addEventListener('abort', onAbort, {once: true});
      client.once('ready', () => settle(resolve));
      client.once('error', error => settle(() => reject(error)));
      client.once('close', () =>
        settle(() => reject(new Error('the SSH connection was closed during login'))),
      );
      client.on('keyboard-interactive', (_name, _instructions, _lang, prompts, answer) =>
        answer(prompts.map(() => target.password)),
      );
      client.connect(connectConfig(target, options));
    });
  } catch (error) {
    client.on('error', () => undefined);
    client.destroy();
    options.line?.close();
    throw error;
  }
  return new SshSession(client);
}

function connectConfig(
  target: SshTarget,
  {timeoutMs, line}: {timeoutMs: number; line?: SshLine | undefined},
): ConnectConfig {
  return {
    ...target,
    // One that broke in the meantime would be waited for until the time is up.
    ...(line instanceof Line && !line.socket.destroyed && {sock: line.socket}),
    readyTimeout: timeoutMs,
    keepaliveInterval: KEEPALIVE_INTERVAL_MS,
    keepaliveCountMax: KEEPALIVE_COUNT_MAX,
    tryKeyboard: true,
    authHandler: ['password', 'keyboard-interactive'],
  };
}
