import {connect} from 'node:net';
import ssh2, {type ConnectConfig} from 'ssh2';
import {asCanceled} from '../base/errors.ts';
import type {InteractiveSession, Ssh, SshTarget} from '../base/ports.ts';
import {SshSession} from './ssh-session.ts';

/** Unanswered keep-alives end the link after (count + 1) × interval = 14 s. */
const KEEPALIVE_INTERVAL_MS = 3_500;
const KEEPALIVE_COUNT_MAX = 3;

export const localSsh: Ssh = {hasBanner, connect: connectSession};

function hasBanner(host: string, port: number, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(asCanceled(signal));
    const socket = connect({host, port});
    let seen = '';
    const finish = (found: boolean): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve(found);
    };
    const onAbort = (): void => {
      finish(false);
      reject(asCanceled(signal as AbortSignal));
    };
    const timer = setTimeout(() => finish(false), timeoutMs);
    signal?.addEventListener('abort', onAbort, {once: true});
    socket.on('error', () => finish(false));
    socket.on('close', () => finish(false));
    socket.on('data', chunk => {
      seen += chunk.toString('latin1');
      // A server may send other lines before its identification (RFC 4253, 4.2).
      if (/^SSH-/m.test(seen)) finish(true);
      else if (seen.length > 4096) finish(false);
    });
  });
}

async function connectSession(
  target: SshTarget,
  options: {timeoutMs: number; signal?: AbortSignal},
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
      client.connect(connectConfig(target, options.timeoutMs));
    });
  } catch (error) {
    client.on('error', () => undefined);
    client.destroy();
    throw error;
  }
  return new SshSession(client);
}

function connectConfig(target: SshTarget, timeoutMs: number): ConnectConfig {
  return {
    ...target,
    readyTimeout: timeoutMs,
    keepaliveInterval: KEEPALIVE_INTERVAL_MS,
    keepaliveCountMax: KEEPALIVE_COUNT_MAX,
    tryKeyboard: true,
    authHandler: ['password', 'keyboard-interactive'],
  };
}
