import type {Rule} from './facts.ts';

const FILE_STEP = /(?:^|\] )(?:ONBUILD )?(?:LINK )?(?:COPY|ADD|WORKDIR) /;
/** A user that is looked for in the image's own lists. */
const NO_USER =
  /\/etc\/(?:passwd|group): no such file|unable to (?:find|convert) (?:user|uid|group|gid)|no such (?:user|group)|no matching entries in (?:passwd|group)|invalid user index|can't find (?:uid|gid) for/;
const NO_FOLDER =
  /(?:^|[\s:])(?:mkdir|stat|lstat|open|openat|create|chown) (\/\S*): (?:not a directory|file exists|is a directory)|cannot copy to non-directory: (\S+)/m;
/** Where the daemon mounts the image's files while it copies into them. */
const MOUNT = /^.*\/buildkit(?:-mount)?\d+(?=\/)/;

/** COPY, ADD or WORKDIR that the files of the image stand in the way of. */
export const copyFault: Rule = ({errors, step}) => {
  const name = step?.name ?? '';
  if (!FILE_STEP.test(name)) return undefined;
  const owner = /--chown=(\S+)/.exec(name)?.[1];
  if (owner !== undefined && NO_USER.test(errors)) {
    return {
      kind: 'dockerfile',
      summary: `The image has no user or group of --chown=${owner}`,
      hint: 'Names are looked up in /etc/passwd and /etc/group of the image: make the user before, or write numbers, such as --chown=1000:1000.',
    };
  }
  const found = NO_FOLDER.exec(errors);
  if (!found) return undefined;
  const path = (found[1] ?? found[2])?.replace(MOUNT, '');
  return {
    kind: 'dockerfile',
    summary: `${path ? `"${path}"` : 'The destination'} is a file in the image where the step needs a folder, or the other way round`,
    hint: 'Choose another destination, or remove what lies there first.',
  };
};
