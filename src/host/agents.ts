import {connect, type Socket} from 'node:net';
import type {Agents, Session} from '../base/ports.ts';
import {AGENT_PROGRAM} from './agent-guest.ts';
import {LocalAgentSession} from './agent-session.ts';
import {wakeBySession} from './wake.ts';

/**
 * Starts the program on the port of that name, in a unit of its own where there is systemd, with the environment of a login, so that commands run as they
 * do over SSH. It is there once it has opened the port.
 */
const INSTALL_SCRIPT = `
name=$1
command -v perl >/dev/null || { echo 'it has no perl'; exit 3; }
port=
for port in /sys/class/virtio-ports/*/name; do
  [ "$(cat "$port" 2>/dev/null)" = "$name" ] && break
  port=
done
[ -n "$port" ] || { echo 'it has no virtio-serial port'; exit 3; }
port=/dev/$(basename "$(dirname "$port")")
mkdir -p -m 700 /run/buildkit-archive-agent && cd /run/buildkit-archive-agent || exit
umask 077
cat > agent.pl || exit
set -- env -i PATH="$PATH" HOME="\${HOME:-/root}" USER="\${USER:-root}" LOGNAME="\${LOGNAME:-root}" \${LANG:+LANG="$LANG"} perl "$PWD/agent.pl" "$port"
cd /
if [ -d /run/systemd/system ] && systemd-run --quiet --collect --unit=buildkit-archive-agent --property=WorkingDirectory=/root "$@" </dev/null >/dev/null 2>&1; then
  :
else
  setsid "$@" </dev/null >/dev/null 2>&1 &
fi
tries=0
until ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q -- "-> $port\\$"; do
  tries=$((tries + 1))
  [ "$tries" -lt 50 ] || { echo 'its agent does not start'; exit 3; }
  sleep 0.1
done
`;

/** The commands' agent in a machine: installed over SSH, spoken to over a virtio-serial port. */
export function agentsAt(portName: string): Agents {
  return {
    async install(session: Session, signal: AbortSignal) {
      const {code, stdout, stderr} = await session.output(['sh', '-c', INSTALL_SCRIPT, 'install', portName], {
        stdin: AGENT_PROGRAM,
        signal,
      });
      return code === 0
        ? undefined
        : (stdout || stderr).trim() || `its installation ended with status ${code}`;
    },
    wake: wakeBySession,
    async connect(socketPath, options) {
      return LocalAgentSession.open(await connected(socketPath), options);
    },
  };
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({path});
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
