import {createHash} from 'node:crypto';
import {connect, type Socket} from 'node:net';
import type {Agents, Session} from '../base/ports.ts';
import {AGENT_PROGRAM} from './agent-guest.ts';
import {LocalAgentSession} from './agent-session.ts';
import {wakeBySession} from './wake.ts';

/**
 * Starts the program on the port of that name, with the environment of a login, so that commands run as they do over SSH; where there is systemd in a unit of
 * its own, beside the logins and away from BuildKit's, which lives on when a command of it was out of memory (systemd before 243 knows no OOMPolicy, and lets it
 * live). (PERL_BADLANG: perl(1) complains of a LANG that is not installed.) It says on standard error when it is ready, or why not.
 */
const INSTALL_SCRIPT = `
name=$1
fail() { echo "$*"; exit 3; }
command -v perl >/dev/null || fail 'it has no perl'
for port in /sys/class/virtio-ports/*/name; do
  [ "$(cat "$port" 2>/dev/null)" = "$name" ] && break
  port=
done
[ -n "$port" ] || fail 'it has no virtio-serial port'
port=\${port%/name}
dir=/run/buildkit-archive-agent
rm -rf "$dir" && mkdir -m 700 "$dir" && cat > "$dir/agent.pl" && : > "$dir/log" || fail "it has no room in $dir"
set -- sh -c 'cd "$0" && shift && exec "$@" 2>"$AGENT_LOG"' "\${HOME:-/}" AGENT \
  env -i PERL_BADLANG=0 PATH="$PATH" HOME="\${HOME:-/}" USER="\${USER:-root}" LOGNAME="\${LOGNAME:-root}" SHELL="\${SHELL:-/bin/sh}" \${LANG:+LANG="$LANG"} \
  perl "$dir/agent.pl" "/dev/\${port##*/}"
in_unit() {
  [ -d /run/systemd/system ] && systemd-run --quiet --collect --unit=buildkit-archive-agent --description='command agent' --slice=user.slice --setenv=AGENT_LOG="$dir/log" "$@" </dev/null >/dev/null 2>&1
}
in_unit --property=OOMPolicy=continue "$@" || in_unit "$@" ||
  AGENT_LOG=$dir/log setsid "$@" </dev/null >/dev/null 2>&1 &
tries=0
until [ -s "$dir/log" ]; do
  tries=$((tries + 1))
  [ "$tries" -le 100 ] || fail 'its agent does not start'
  sleep 0.1
done
read -r said < "$dir/log"
[ "$said" = ready ] || fail "its agent does not start: $said"
`;

/** The commands' agent in a machine: installed over SSH, spoken to over a virtio-serial port. */
export function agentsAt(portName: string): Agents {
  return {
    version: createHash('sha256').update(AGENT_PROGRAM).update(INSTALL_SCRIPT).digest('hex').slice(0, 16),
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
