import {UserError} from '../base/errors.ts';
import type {Inputs} from './inputs.ts';
import type {Plan} from './plan.ts';

export interface RegistryLogin {
  readonly registry: string;
  readonly username: string;
  readonly password: string;
}

/**
 * The login given by `registry-username` and `registry-password`, for the first registry that is asked and for no other. Not a part of the plan: it is
 * printed nowhere.
 * @throws UserError when only one of the two is given, or no registry is asked.
 */
export function loginOf(inputs: Inputs, plan: Plan): RegistryLogin | undefined {
  const {'registry-username': username, 'registry-password': password} = inputs;
  if (username === '' && password === '') return undefined;
  const missing = username === '' ? 'registry-username' : password === '' ? 'registry-password' : undefined;
  if (missing !== undefined) {
    throw new UserError(`${missing} is missing: a login has a name and a password`, {
      input: missing,
      stage: 'inputs',
      hint: 'give both, or neither to use the logins of docker/login-action',
    });
  }
  const [image] = plan.archive.images;
  return image && {registry: image.registry, username, password};
}
