// ts-jest refuses TypeScript 7, which has no transpile API; esbuild only strips the types.
import {transformSync} from 'esbuild';

export default {
  process(source, filename) {
    const {code, map} = transformSync(source, {
      loader: 'ts',
      format: 'esm',
      target: 'node20',
      sourcefile: filename,
      sourcemap: 'external',
    });
    return {code, map};
  },
};
