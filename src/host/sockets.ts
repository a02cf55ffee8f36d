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
};
