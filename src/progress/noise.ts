const escapeCharacter = 0x1b;
// Control sequences of ECMA-48: colours, cursor movements, erasing.
const leadingSequences = /^(?:\u001b\[[0-?]*[ -/]*[@-~])+/;
const oneSequence = /^\u001b\[[0-?]*[ -/]*[@-~]$/;

// `2024-01-01T00:00:00.0000000Z `, in front of each line of a log that GitHub Actions keeps; `gh run view --log`
// puts the names of job and step before it, with tabs behind them.
const actionsStamp = /^(?:[^\t]*\t[^\t]*\t)?\uFEFF?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z(?: |$)/;

/** Takes off what others have put around the lines of a log. */
export class NoiseFilter {
  private stamped: boolean | undefined;

  clean(line: string): string {
    let text = line;
    if (this.stamped === undefined && text !== '') this.stamped = actionsStamp.test(text);
    if (this.stamped) text = text.replace(actionsStamp, '');
    if (text.charCodeAt(0) !== escapeCharacter) return text;
    return withoutTrailing(text.replace(leadingSequences, ''));
  }
}

function withoutTrailing(line: string): string {
  let text = line;
  for (;;) {
    const at = text.lastIndexOf('\u001b');
    if (at < 0 || text.length - at > 32 || !oneSequence.test(text.slice(at))) return text;
    text = text.slice(0, at);
  }
}
