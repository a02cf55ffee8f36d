import type {BuildTrace} from '../base/trace.ts';
import {formatSeconds, truncate} from './text.ts';
import {type Timeline, type TimelineBar, tickSeconds, timelineOf} from './timeline.ts';
import {toColumns} from './width.ts';

const WIDTH = 960;
const LABEL_WIDTH = 330;
const TIME_WIDTH = 70;
const ROW_HEIGHT = 22;
const TOP = 54;
const MAX_BARS = 80;

/** Colours that keep their contrast on GitHub's light and dark pages; the picture itself has no background. */
const STYLE = `
    text { font: 12px -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif; fill: #1f2328; }
    .title { font-size: 15px; font-weight: 600; }
    .dim { fill: #59636e; }
    .grid { stroke: #d1d9e0; }
    .done { fill: #2da44e; }
    .cached { fill: #8c959f; }
    .failed { fill: #d1242f; }
    .canceled, .running { fill: #bf8700; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .dim { fill: #9198a1; }
      .grid { stroke: #3d444d; }
      .failed { fill: #f85149; }
    }
  `;

/**
 * The build as an SVG picture: a bar for each step on one clock. For artefacts and pages; step summaries do not show
 * SVG, neither inline nor as a data URI.
 * @returns undefined when no step has a clock.
 */
export function timelineSvg(trace: BuildTrace | undefined, title: string): string | undefined {
  const timeline = timelineOf(trace, MAX_BARS);
  if (!timeline) return undefined;
  const note = timeline.leftOut > 0 ? 22 : 0;
  const height = TOP + timeline.bars.length * ROW_HEIGHT + 12 + note;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    `  <title>${xmlText(title)}</title>`,
    `  <style>${STYLE}</style>`,
    `  <text class="title" x="8" y="20">${xmlText(truncate(title, 110))}</text>`,
    ...ticks(timeline, height - note),
    ...timeline.bars.flatMap((bar, index) => row(bar, index, timeline)),
    ...(note
      ? [`  <text class="dim" x="8" y="${height - 8}">${timeline.leftOut} short steps are left out</text>`]
      : []),
    '</svg>',
  ];
  return `${parts.join('\n')}\n`;
}

function ticks(timeline: Timeline, bottom: number): string[] {
  const every = tickSeconds(timeline.totalSeconds, 8);
  const count = Math.floor(timeline.totalSeconds / every);
  return Array.from({length: count + 1}, (_, index) => {
    const x = xOf(index * every, timeline);
    const label = `${Number((index * every).toFixed(2))} s`;
    return `  <line class="grid" x1="${x}" y1="${TOP - 8}" x2="${x}" y2="${bottom - 8}"/><text class="dim" x="${x}" y="${TOP - 14}" text-anchor="middle">${label}</text>`;
  });
}

function row(bar: TimelineBar, index: number, timeline: Timeline): string[] {
  const y = TOP + index * ROW_HEIGHT;
  const x = xOf(bar.startSeconds, timeline);
  const width = round(Math.max(2, xOf(bar.endSeconds, timeline) - x));
  const took = bar.state === 'cached' ? 'cached' : formatSeconds(bar.endSeconds - bar.startSeconds);
  return [
    `  <g><title>${xmlText(`${bar.name}: ${bar.state}, ${took}`)}</title>`,
    `    <text x="8" y="${y + 15}">${xmlText(`${bar.number}  ${toColumns(bar.name, 44).trimEnd()}`)}</text>`,
    `    <rect class="${bar.state}" x="${x}" y="${y + 4}" width="${width}" height="14" rx="2"/>`,
    `    <text class="dim" x="${round(x + width + 6)}" y="${y + 15}">${took}</text></g>`,
  ];
}

function xOf(seconds: number, timeline: Timeline): number {
  const width = WIDTH - LABEL_WIDTH - TIME_WIDTH;
  return round(LABEL_WIDTH + (timeline.totalSeconds > 0 ? (seconds / timeline.totalSeconds) * width : 0));
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** Escaped, and without the characters that XML 1.0 does not know (section 2.2). */
function xmlText(text: string): string {
  return text
    .replace(
      /[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
      '',
    )
    .replace(/[&<>"']/g, char => `&#${char.charCodeAt(0)};`);
}
