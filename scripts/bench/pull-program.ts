// One pull in a process of its own: `pull-program REFERENCE DEST`. Prints seconds, peak memory and size as JSON.
import {checkQcow2} from '../../src/archive/qcow2.ts';
import {withRegistryImage} from '../../src/archive/registry/sources.ts';
import {systemClock} from '../../src/host/clock.ts';
import {dockerCredentials} from '../../src/host/docker-config.ts';
import {localFiles} from '../../src/host/files.ts';
import {localImages} from '../../src/host/images.ts';
import {localRegistryTools} from '../../src/host/registry.ts';
import {parseReference} from '../../src/plan/reference.ts';

const [reference = '', dest = ''] = process.argv.slice(2);
const {signal} = new AbortController();
const warn = (message: string): void => console.error(message);
const startedMs = performance.now();
await withRegistryImage(
  {clock: systemClock, registry: localRegistryTools(dockerCredentials({env: process.env, warn}))},
  [parseReference(reference, 'archive')],
  {signal, warn},
  async ({image}) => {
    for (const layer of [...image.layers].reverse()) {
      if ((await localImages.extractFile(layer, 'vm.qcow2', dest, signal)) !== 'absent') return;
    }
    throw new Error('there is no /vm.qcow2');
  },
);
const head = await localFiles.readRange(dest, 0, 4);
if (head.toString('latin1') === 'QFI\xfb') await checkQcow2(localFiles, dest, 'archive');
const seconds = (performance.now() - startedMs) / 1000;
const peakMb = (process.resourceUsage().maxRSS * 1024) / 1e6;
console.log(JSON.stringify({seconds, peakMb, sizeBytes: await localFiles.size(dest)}));
