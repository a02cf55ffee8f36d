import {spawn} from 'node:child_process';
import {PassThrough, type Readable} from 'node:stream';

/**
 * One member of a tar as a stream, without unpacking the rest. GNU tar seeks over members in a file, where a streaming
 * reader would read hundreds of megabytes to get at `manifest.json`.
 * @throws when tar is missing; the stream fails when the member is.
 */
export async function startTarMember(path: string, member: string): Promise<Readable> {
  const child = spawn('tar', ['--extract', '--to-stdout', '--file', path, '--', member], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {...process.env, LC_ALL: 'C'},
  });
  const out = new PassThrough();
  let stderr = '';
  child.stderr.on('data', chunk => {
    stderr = (stderr + chunk).slice(-2048);
  });
  child.once('error', error => out.destroy(error));
  child.stdout.pipe(out, {end: false});
  child.once('close', code => {
    if (code === 0) out.end();
    else out.destroy(new Error(`cannot read ${member} in ${path}: ${stderr.trim()}`));
  });
  out.once('close', () => child.kill());
  return out;
}
