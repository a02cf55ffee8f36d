import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, describe, expect, test} from '@jest/globals';
import {UserError} from '../../src/base/errors.ts';
import {planToPrint, printPlan} from '../../src/cli/plan-command.ts';
import {parseInputs} from '../../src/plan/inputs.ts';

const dir = mkdtempSync(join(tmpdir(), 'bka-plan-'));
writeFileSync(join(dir, 'Dockerfile'), 'FROM a\nRUN <<EOF\nx\nEOF\n');
afterAll(() => rmSync(dir, {recursive: true, force: true}));

async function print(
  inputs: Record<string, string>,
  json = true,
): Promise<{text: string; notes: string; document: Record<string, unknown>}> {
  const printed = {text: '', notes: ''};
  await printPlan(
    planToPrint(parseInputs(inputs), {workspaceDir: dir, storeDir: '/store'}),
    {json},
    {
      print: text => {
        printed.text += text;
      },
      note: text => {
        printed.notes += text;
      },
    },
  );
  return {...printed, document: JSON.parse(printed.text) as Record<string, unknown>};
}

describe('buildctl for a release that nobody boots', () => {
  test.each<[string, Record<string, string>, string[]]>([
    [
      'v0.3.0',
      {target: 't', outputs: 'type=oci,dest=o.tar', 'no-cache': 'true'},
      ['--frontend-opt', 'target=t', '--frontend-opt', 'no-cache=', '--exporter', 'oci'],
    ],
    [
      'v0.9.0',
      {target: 't', outputs: 'type=oci,dest=o.tar', 'no-cache': 'true'},
      ['--opt', 'target=t', '--no-cache', '--output', '--metadata-file'],
    ],
    ['v0.32.2', {secrets: 'id1=hush'}, ['--secret', 'id=id1,src=/run/buildkit-archive/secrets/id1']],
  ])('%s %j', async (release, inputs, words) => {
    const {document, notes} = await print({'buildkit-version': release, ...inputs});
    const {argv} = document.buildctl as {argv: string[]};
    expect(argv.slice(0, 2)).toEqual(['buildctl', 'build']);
    expect(argv).toEqual(expect.arrayContaining(words));
    expect(document.buildctl).toMatchObject({release});
    expect(document.archive).toMatchObject({expectedBuildkit: release, storeDir: '/store'});
    expect(notes).toBe('');
  });

  test('with warnings, and what its frontend will not understand', async () => {
    const {document} = await print({'buildkit-version': 'v0.8.0', outputs: 'type=image,name=x'});
    expect(document.buildctl).toMatchObject({
      warnings: [expect.stringMatching(/no --metadata-file/)],
      findings: [{feature: 'run-heredoc', startLine: 2, severity: 'error'}],
    });
  });

  test('what it cannot honour is an error, as before a boot', async () => {
    const error = await print({'buildkit-version': 'v0.4.0', outputs: 'type=tar,dest=o.tar'}).catch(
      thrown => thrown,
    );
    expect(error).toBeInstanceOf(UserError);
    expect(error).toMatchObject({input: 'outputs', stage: 'plan'});
  });

  test('a release is needed, an archive is not', async () => {
    const {document} = await print({});
    expect(document).toMatchObject({buildctl: null, note: expect.stringMatching(/--buildkit-version/)});
    const named = await print({archive: 'a.qcow2'});
    expect(named.document.archive).toMatchObject({
      reference: 'a.qcow2',
      path: join(dir, 'a.qcow2'),
      images: [],
    });
    const tooOld = await print({'buildkit-version': 'v0.1.0'}).catch(thrown => thrown);
    expect(tooOld).toMatchObject({input: 'buildkit-version'});
  });

  test('for people the command line stands on standard error, quoted for a shell', async () => {
    const {notes, document} = await print(
      {'buildkit-version': 'v0.8.0', 'build-args': "A=it's", outputs: 'type=image,name=x'},
      false,
    );
    expect(document.buildctl).toMatchObject({release: 'v0.8.0'});
    expect(notes).toMatch(/^On BuildKit v0\.8\.0, in the VM:\n {2}buildctl build /);
    expect(notes).toContain(String.raw`--opt 'build-arg:A=it'\''s'`);
    expect(notes).toMatch(/^warning: .*--metadata-file/m);
    expect(notes).toMatch(/^error: line 2: here-document in RUN/m);
  });
});

test.each<[Record<string, string>]>([
  [{secrets: 'id=hush'}],
  [{context: 'https://user:hush@host/r.git#main'}],
  [{context: 'https://hush@host/r.git'}],
  [{'cache-to': 'type=s3,region=r,bucket=b,secret_access_key=hush,session_token=hush'}],
  [{'cache-from': 'type=gha,"token=hush",url=u'}],
  [{'cache-to': 'type=azblob,account_url=a,secret_access_key=hush'}],
])('secrets are not shown: %j', async inputs => {
  for (const json of [true, false]) {
    const {text, notes} = await print({'buildkit-version': 'v0.32.2', ...inputs}, json);
    expect(text).toContain('***');
    expect(text + notes).not.toContain('hush');
  }
});
