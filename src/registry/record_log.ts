import { instanceName, readRecord } from "./record.ts";
import type { RegistryChanges } from "./registry_service.ts";

/** The records of one service, and the order in which they changed: what readers at any place in it can be told. */
export interface RecordLog {
  /** Names this log among those of other services, processes and times. */
  readonly id: string;
  /** The number of the last change. */
  version: number;
  /** The records by name, in the order in which they changed. */
  readonly records: Map<string, { readonly record: string; readonly version: number; readonly expiresAtMs: number }>;
  /** What the records in the last snapshot are of: most of the next one's are the same. */
  read: ReadonlyMap<string, Subject | undefined>;
  /** What is gone, in the order in which it went. */
  gone: { readonly name: string; readonly version: number }[];
  /** The last change that is not known of any more. */
  forgotten: number;
}

/** A log that knows of nothing. */
export function recordLog(): RecordLog {
  const id = crypto.randomUUID().slice(0, 18);
  return { id, version: 0, records: new Map(), read: new Map(), gone: [], forgotten: 0 };
}

/** What a record is of, and until when. */
interface Subject {
  readonly name: string;
  readonly expiresAtMs: number;
}

/** Takes over a snapshot; returns whether anything changed. */
export function noteRecords(log: RecordLog, records: readonly string[]): boolean {
  const before = log.version;
  const present = new Set<string>();
  const read = new Map<string, Subject | undefined>();
  for (const record of records) {
    const subject = log.read.has(record) ? log.read.get(record) : subjectOf(record);
    read.set(record, subject);
    if (subject === undefined || present.has(subject.name)) continue;
    const { name, expiresAtMs } = subject;
    present.add(name);
    if (log.records.get(name)?.record === record) continue;
    log.records.delete(name); // so that it comes last
    log.records.set(name, { record, version: ++log.version, expiresAtMs });
  }
  log.read = read;
  drop(log, (name) => !present.has(name));
  return log.version !== before;
}

/** Drops what has expired: that time passes is no change which a store tells. */
export function dropExpired(log: RecordLog, nowMs: number): void {
  drop(log, (_, expiresAtMs) => expiresAtMs <= nowMs);
}

function drop(log: RecordLog, isGone: (name: string, expiresAtMs: number) => boolean): void {
  for (const [name, { expiresAtMs }] of log.records) {
    if (!isGone(name, expiresAtMs)) continue;
    log.records.delete(name);
    log.gone.push({ name, version: ++log.version });
  }
  if (log.gone.length > MAX_GONE) {
    const cut = log.gone.splice(0, log.gone.length - MAX_GONE / 2);
    log.forgotten = cut.at(-1)!.version;
  }
}

/** What is no record is nobody's, and travels no further. */
function subjectOf(record: string): Subject | undefined {
  try {
    const { sub, jti, exp } = readRecord(record).claims;
    return { name: instanceName(sub, jti), expiresAtMs: exp * 1_000 };
  } catch {
    return undefined;
  }
}

/**
 * What changed since a cursor, as far as it fits into one answer.
 *
 * @param cursor Where the reader is; undefined, or one that is not known, for all.
 */
export function changesSince(log: RecordLog, cursor: string | undefined): RegistryChanges {
  const position = positionOf(log, cursor);
  // Who gets everything had nothing: what went before is nothing to him, on none of the pages.
  const { from, goneFrom } = position ?? { from: 0, goneFrom: log.version };
  const changes: RegistryChanges = { cursor: "", reset: position === undefined, records: [], gone: [], more: false };
  let bytes = 0;
  let reached = log.version;
  for (const [name, { record, version }] of log.records) {
    if (version <= from) continue;
    if (bytes > MAX_ANSWER) {
      changes.more = true;
      break;
    }
    changes.records.push({ name, record });
    bytes += name.length + record.length;
    reached = version;
  }
  if (!changes.more) reached = log.version;
  changes.gone = log.gone.filter(({ version }) => version > goneFrom).map(({ name }) => name);
  // Where more is gone than fits, everything that is there is the shorter answer.
  if (changes.gone.length > 1_024 || changes.gone.join("").length > MAX_ANSWER / 4) return changesSince(log, undefined);
  return { ...changes, cursor: `${log.id}.${reached}.${log.version}` };
}

/** Up to where a reader has the records, and up to where it knows what is gone. */
interface Position {
  readonly from: number;
  readonly goneFrom: number;
}

const CURSOR = /^([\da-f-]{18})\.(\d{1,15})\.(\d{1,15})$/;

/** The changes that a cursor stands for; undefined where what came after it is not known. */
export function positionOf(log: RecordLog, cursor: string | undefined): Position | undefined {
  const [, id, records, gone] = CURSOR.exec(cursor ?? "") ?? [];
  if (id !== log.id) return undefined;
  const [from, goneFrom] = [Number(records), Number(gone)];
  const isKnown = goneFrom >= log.forgotten && from <= goneFrom && goneFrom <= log.version;
  return isKnown ? { from, goneFrom } : undefined;
}

/** How many that are gone are remembered. */
const MAX_GONE = 8_192;
/** How much one answer holds, in bytes: half of what a client reads by default. */
const MAX_ANSWER = 512 * 1_024;
