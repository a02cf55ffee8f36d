/**
 * One POSIX shell word for `text`: what the SSH `exec` request (RFC 4254, 6.5) hands to the login shell gives
 * back exactly these bytes. Safe words stay bare, all others stand in single quotes.
 * @throws RangeError when `text` holds a NUL, which no argv can carry.
 */
export function quoteWord(text: string): string {
  if (text.includes('\0')) throw new RangeError('an argument cannot hold a NUL byte');
  if (/^[A-Za-z0-9_@%+:,./-]+$/.test(text)) return text;
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * The command line for `argv` with `env` set for it alone. A word with `=` in front would be read as an assignment by the shell, so
 * `env` does the assigning.
 */
export function quoteArgv(argv: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  if (argv.length === 0) throw new RangeError('a command needs at least one word');
  const assignments = Object.entries(env).map(([name, value]) => {
    if (!/^[A-Za-z_]\w*$/.test(name)) throw new RangeError(`not a name for an environment variable: ${name}`);
    return `${name}=${value}`;
  });
  const words = assignments.length > 0 ? ['env', ...assignments, ...argv] : argv;
  return words.map(word => quoteWord(word)).join(' ');
}
