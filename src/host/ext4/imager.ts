import {rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {messageOf, throwIfCanceled} from '../../base/errors.ts';
import {NoImageError, type TreeImage, type TreeImager} from '../../base/tree.ts';
import {localFiles} from '../files.ts';
import {finishImage} from './finish.ts';
import {imageSize} from './layout.ts';
import {fillImage, findMke2fs} from './mke2fs.ts';
import {inTemp, makeTemp, stagingDir} from './places.ts';
import {stageTree} from './stage.ts';
import {surveyTree} from './survey.ts';

/** What stays free for others on the disk that the image is written to. */
const LEAST_FREE_BYTES = 256 * 1024 ** 2;

export interface ImagerOptions {
  /** mke2fs's path; undefined when there is none. */
  readonly mke2fs?: string | undefined;
  /** Folders that a tree may be staged in; the first on the tree's own file system is taken. */
  readonly stagingDirs: () => readonly string[];
}

/** Images made by mke2fs, without privileges. */
export function treeImager({mke2fs, stagingDirs}: ImagerOptions): TreeImager {
  return {
    survey: surveyTree,
    async image(root, filter, survey, {signal, onTemp}) {
      const program = mke2fs ?? findMke2fs();
      if (program === undefined) throw new NoImageError('there is no mke2fs here (package e2fsprogs)');
      const size = imageSize(survey);
      const place = tmpdir();
      if ((await localFiles.freeBytes(place)) < size.storedBytes + LEAST_FREE_BYTES)
        throw new NoImageError(`an image of ${Math.ceil(size.storedBytes / 1e6)} MB has no room in ${place}`);
      const temp = await makeTemp(place, onTemp);
      const path = join(temp, 'context.ext4');
      const make = async (staged: string): Promise<void> => {
        await fillImage(program, path, staged, size, signal);
        await finishImage(path, {source: root, staged, signal});
      };
      try {
        if (survey.leftOut === 0) {
          await make(root);
        } else {
          await inTemp(await stagingDir(root, stagingDirs()), onTemp, async stage => {
            await stageTree(root, filter, stage, signal);
            await make(stage);
          });
        }
        return image(temp, path);
      } catch (error) {
        await rm(temp, {recursive: true, force: true});
        throwIfCanceled(signal);
        throw error instanceof NoImageError ? error : new NoImageError(messageOf(error), {cause: error});
      }
    },
  };
}

function image(temp: string, path: string): TreeImage {
  return {path, [Symbol.asyncDispose]: () => rm(temp, {recursive: true, force: true})};
}
