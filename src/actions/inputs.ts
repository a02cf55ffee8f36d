import * as core from '@actions/core';
import {type Inputs, parseInputs} from '../plan/inputs.ts';

const PREFIX = 'INPUT_';

/**
 * Reads the step's inputs and takes them out of the environment, so that no child inherits a secret. The runner sets `INPUT_<NAME>` also for names that
 * action.yml does not know (and only warns), which makes a typo an error here.
 * @throws UserError for an unknown name or a bad value.
 */
export function readInputs(env: NodeJS.ProcessEnv): Inputs {
  const raw: Record<string, string> = {};
  for (const [key, value] of Object.entries(env)) {
    if (!key.startsWith(PREFIX)) continue;
    // The runner writes a name in upper case and turns its spaces into underscores; hyphens stay (actions/toolkit, `getInput`).
    raw[key.slice(PREFIX.length).toLowerCase()] = value ?? '';
    delete env[key];
  }
  const inputs = parseInputs(raw);
  maskSecrets(inputs);
  return inputs;
}

/** Values of secrets are masked line by line, which is how the runner compares them with its log. */
function maskSecrets(inputs: Inputs): void {
  if (inputs['registry-password'] !== '') core.setSecret(inputs['registry-password']);
  for (const secret of inputs.secrets) {
    if (secret.kind !== 'value') continue;
    core.setSecret(secret.value);
    for (const line of secret.value.split(/\r?\n/)) if (line.trim().length > 2) core.setSecret(line.trim());
  }
}
