import { type LogLine, readLine } from "./_log_line.ts";

/** What a stored log is read from: chunks of its bytes or of its text, cut anywhere between two characters. */
export type AuditSource = string | Uint8Array | AsyncIterable<string | Uint8Array> | Iterable<string | Uint8Array>;

/** A line of a stored log. */
export interface Row {
  /** Its number, from 1. */
  readonly line: number;
  /** Whether a newline ends it; where none does, the rest of it may be lost. */
  readonly isWhole: boolean;
  /** What it says; undefined for what no log writes. */
  readonly content: LogLine | undefined;
}

/** Reads the lines of a log, however its bytes are cut into chunks. */
export async function* readRows(source: AuditSource): AsyncGenerator<Row, undefined> {
  let line = 0;
  let rest: Uint8Array[] = [];
  let length = 0;
  const take = (isWhole: boolean): Row => {
    const bytes = joined(rest, length);
    [rest, length, line] = [[], 0, line + 1];
    return { line, isWhole, content: bytes.length > MAX_LINE_BYTES ? undefined : readLine(bytes) };
  };
  const keep = (part: Uint8Array) => {
    if (length <= MAX_LINE_BYTES) rest.push(part); // what is longer is not a line, and is not to fill the memory
    if (length <= MAX_LINE_BYTES) length += part.length;
  };
  for await (const chunk of chunksOf(source)) {
    const bytes = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk;
    let start = 0;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, start)) {
      keep(bytes.slice(start, at));
      yield take(true);
      start = at + 1;
    }
    if (start < bytes.length) keep(bytes.slice(start));
  }
  if (length > 0) yield take(false);
}

function chunksOf(source: AuditSource): AsyncIterable<string | Uint8Array> | Iterable<string | Uint8Array> {
  return typeof source === "string" || source instanceof Uint8Array ? [source] : source;
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const NEWLINE = 0x0a;

/** Longer than any line of a log: an entry has at most about 50 KB, a checkpoint with cosignatures 128 KiB. */
const MAX_LINE_BYTES = 262_144;
