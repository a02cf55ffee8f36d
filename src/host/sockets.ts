import {connect} from 'node:net';
import type {Sockets} from '../base/ports.ts';

export const localSockets: Sockets = {
  connectUnix: path =>
    new Promise((resolve, reject) => {
      const socket = connect({path});
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(socket);
      });
    }),
  accepts: (port, timeoutMs) =>
    new Promise(resolve => {
      const socket = connect({host: '127.0.0.1', port, timeout: timeoutMs});
      const end = (accepted: boolean): void => {
        socket.destroy();
        resolve(accepted);
      };
      socket.once('connect', () => end(true));
      socket.once('timeout', () => end(false));
      socket.once('error', () => end(false));
    }),
};
