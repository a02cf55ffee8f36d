import type {BuildWarning, LogLine, StepStatus} from '../base/trace.ts';
import {fromBase64, textFromBase64} from './base64.ts';
import type {Fold} from './fold.ts';
import {roundSeconds} from './numbers.ts';
import type {StepRecord, VertexState} from './step.ts';
import {parseLintLine} from './warnings.ts';

type Json = Readonly<Record<string, unknown>>;
type Group = {readonly record: StepRecord; readonly members: Map<string, VertexState>; revealed: boolean};

/**
 * Folds `client.SolveStatus` objects, one for each message of the daemon (client/graph.go): the lines of
 * `--trace` and the objects of `--progress=rawjson`. Keys are Go field names up to v0.12.5 (`Vertexes`, absent
 * values `null`) and lower case from v0.13.0 on (`vertexes`, absent values omitted).
 */
export class SolveStatusFold {
  private readonly fold: Fold;
  private readonly groups = new Map<string, Group>();
  private readonly groupOf = new Map<string, Group>();

  constructor(fold: Fold) {
    this.fold = fold;
  }

  /** Folds one object; what does not have the shape of a solve status is passed over. */
  add(value: unknown): void {
    const status = object(value);
    // BuildKit's own order (trace.update in util/progress/progressui/display.go).
    for (const vertex of objects(field(status, 'vertexes'))) this.vertex(vertex);
    for (const item of objects(field(status, 'statuses'))) this.status(item);
    for (const warning of objects(field(status, 'warnings'))) this.warning(warning);
    for (const log of objects(field(status, 'logs'))) this.log(log);
  }

  private vertex(json: Json): void {
    const digest = text(field(json, 'digest'));
    if (digest === '') return;
    const state: VertexState = {
      name: text(field(json, 'name')),
      started: this.fold.timeline.parse(field(json, 'started')),
      completed: this.fold.timeline.parse(field(json, 'completed')),
      cached: field(json, 'cached') === true,
      error: text(field(json, 'error')),
    };
    const group = object(field(json, 'progressGroup'));
    if (text(field(group, 'id')) !== '') this.member(group, digest, state);
    else if (this.fold.step(digest, state.name)?.applyVertex(state)) this.fold.firstEventMoved();
  }

  /** Several vertexes that BuildKit shows as one step, e.g. those of `COPY --link` (v0.10.0 on). */
  private member(json: Json | undefined, digest: string, state: VertexState): void {
    const group = this.group(text(field(json, 'id')), text(field(json, 'name')));
    if (group === undefined) return;
    if (!group.members.has(digest) && group.members.size >= this.fold.limits.steps) return;
    group.members.set(digest, state);
    if (this.groupOf.size < this.fold.limits.steps) this.groupOf.set(digest, group);
    const members = [...group.members.values()];
    const error = members.find(member => member.error !== '')?.error ?? '';
    // Groups whose members are shared with others ("weak") come into sight with their first own member.
    if ((state.started !== undefined && field(json, 'weak') !== true) || error !== '') group.revealed = true;
    if (!group.revealed) return;
    const whole = {name: '', error, cached: members.every(member => member.cached)};
    for (const {started, completed} of members) {
      if (started === undefined) continue;
      if (group.record.applyVertex({...whole, started, completed})) this.fold.firstEventMoved();
    }
  }

  private group(id: string, name: string): Group | undefined {
    const known = this.groups.get(id);
    if (known !== undefined) return known;
    const record = this.fold.step(id, name);
    if (record === undefined) return undefined;
    const made: Group = {record, members: new Map(), revealed: false};
    this.groups.set(id, made);
    return made;
  }

  private record(json: Json): StepRecord | undefined {
    const digest = text(field(json, 'vertex'));
    return this.groupOf.get(digest)?.record ?? this.fold.find(digest);
  }

  private status(json: Json): void {
    const id = text(field(json, 'id'));
    const current = count(field(json, 'current'));
    const total = count(field(json, 'total'));
    const {timeline} = this.fold;
    const started = timeline.parse(field(json, 'started'));
    const completed = timeline.parse(field(json, 'completed'));
    const until = completed ?? timeline.parse(field(json, 'timestamp'));
    const status: StepStatus = {
      id,
      ...(current === 0 && total === 0 ? {} : {current, unit: 'bytes'}),
      ...(total === 0 ? {} : {total}),
      ...(started === undefined || until === undefined ? {} : {seconds: roundSeconds(until - started)}),
      done: completed !== undefined,
    };
    if (id !== '') this.record(json)?.status(status);
  }

  private log(json: Json): void {
    const timestamp = this.fold.timeline.parse(field(json, 'timestamp'));
    this.record(json)?.bytes(streamOf(field(json, 'stream')), timestamp, fromBase64(field(json, 'data')));
  }

  private warning(json: Json): void {
    const message = textFromBase64(field(json, 'short'));
    if (message === '') return;
    const file = text(field(object(field(json, 'sourceInfo')), 'filename'));
    const [range] = objects(field(json, 'range'));
    const line = count(field(object(field(range, 'start')), 'line')) || parseLintLine(message);
    const url = text(field(json, 'url'));
    const warning: BuildWarning = {
      message,
      ...(file === '' ? {} : {file}),
      ...(line === undefined ? {} : {line}),
      ...(url === '' ? {} : {url}),
    };
    this.fold.warn(this.record(json), warning);
  }
}

/** The value of a key in either spelling: `vertexes` or `Vertexes`, `id` or `ID`, `url` or `URL`. */
function field(json: Json | undefined, key: string): unknown {
  if (json === undefined) return undefined;
  return json[key] ?? json[`${key.charAt(0).toUpperCase()}${key.slice(1)}`] ?? json[key.toUpperCase()];
}

function object(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}

function objects(value: unknown): Json[] {
  if (!Array.isArray(value)) return [];
  return value.map(object).filter(item => item !== undefined);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}

function streamOf(value: unknown): LogLine['stream'] {
  if (value === 1) return 'stdout';
  return value === 2 ? 'stderr' : 'unknown';
}
