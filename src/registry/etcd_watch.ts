import { pause } from "../internal/pause.ts";
import { inTime, unreachable } from "./etcd_exchange.ts";
import { type EtcdGateway, REQUEST_MS } from "./etcd_gateway.ts";
import { below, type EtcdEntry, type EtcdRange, type EtcdWatchAnswer, RANGE } from "./etcd_wire.ts";
import { MAX_RECORD } from "./record.ts";
import { RegistryError } from "./registry_error.ts";

/** How many records of one service are read. */
const MAX_RECORDS = 16_384;

/** Reads what is below a prefix. */
export async function readEntries(
  gateway: EtcdGateway,
  range: EtcdRange,
  signal: AbortSignal,
): Promise<{ readonly revision: number; readonly records: Map<string, string> }> {
  const { header, kvs, more } = await gateway.call(RANGE, { ...range, limit: String(MAX_RECORDS) }, signal);
  if (more) throw tooMany();
  return { revision: header.revision, records: new Map(kvs.filter(isRecord).map(({ key, value }) => [key, value])) };
}

/** What is too long for a record is none, and not kept. */
const isRecord = ({ value }: EtcdEntry) => value.length > 0 && value.length <= MAX_RECORD;

/**
 * Follows what is below a prefix: whole states, those that are not read in time left out.
 *
 * It reads everything once, and then what has changed since. Where the connection is lost it goes on behind what it
 * knows, a few times; where etcd does not know the changes any more, it reads everything again.
 *
 * @throws {RegistryError} It cannot go on, or could not begin.
 */
export async function* watchEntries(
  gateway: EtcdGateway,
  prefix: string,
  outer: AbortSignal | undefined,
): AsyncGenerator<readonly string[]> {
  const ending = new AbortController();
  const state: State = { range: below(prefix), records: new Map(), revision: undefined, reached: 0, hasChanged: false };
  let wake = () => {};
  let end: { readonly error?: unknown } | undefined;
  const stop = () => ending.abort();
  outer?.addEventListener("abort", stop);
  if (outer?.aborted) stop();
  const following = follow(gateway, state, { signal: ending.signal, changed: () => wake() })
    .then(() => end = {}, (error) => end = { error })
    .then(() => wake());
  try {
    while (!ending.signal.aborted) {
      if (state.hasChanged) {
        state.hasChanged = false;
        yield [...state.records.values()];
      } else if (end) throw end.error;
      else await new Promise<void>((resolve) => wake = resolve);
    }
  } finally {
    outer?.removeEventListener("abort", stop);
    stop();
    await following;
  }
}

/** What is known. */
interface State {
  readonly range: EtcdRange;
  records: Map<string, string>;
  /** Until when; undefined where nothing is known. */
  revision: number | undefined;
  /** The revision of the last event. */
  reached: number;
  hasChanged: boolean;
}

interface Following {
  readonly signal: AbortSignal;
  readonly changed: () => void;
}

/** Goes on until the signal aborts. */
async function follow(gateway: EtcdGateway, state: State, { signal, changed }: Following): Promise<void> {
  let hasBegun = false;
  let failures = 0;
  while (!signal.aborted) {
    try {
      if (state.revision === undefined) {
        const read = await inTime(REQUEST_MS, signal, (reading) => readEntries(gateway, state.range, reading));
        Object.assign(state, read, { reached: 0, hasChanged: true });
        hasBegun = true;
        changed();
      }
      const start_revision = String(state.revision! + 1);
      const message = { create_request: { ...state.range, start_revision, fragment: true } };
      for await (const answer of gateway.watch(message, signal)) {
        if (take(state, answer)) failures = 0;
        if (state.revision === undefined) throw unreachable("it has forgotten what happened since");
        if (state.hasChanged && !answer.fragment) changed();
      }
    } catch (error) {
      if (signal.aborted) return;
      const isPassing = error instanceof RegistryError && error.reason === "unreachable";
      if (!isPassing || !hasBegun || ++failures > MAX_FAILURES) throw error;
      await pause(RETRY_MS * 2 ** (failures - 1), signal);
    }
  }
}

/** Takes over one answer; returns whether it told of a change. */
function take(state: State, answer: EtcdWatchAnswer): boolean {
  if (answer.compact_revision > 0) {
    state.revision = undefined; // the changes since then are forgotten
    return false;
  }
  if (answer.canceled) throw unreachable("it has ended the watch");
  if (answer.created && answer.header.revision < state.revision!) {
    state.revision = undefined; // an etcd that was set back would wait for a revision that may never come
    throw unreachable("it knows less than it did");
  }
  for (const { type, kv } of answer.events) {
    if (type === "PUT" && isRecord(kv)) state.records.set(kv.key, kv.value);
    else state.records.delete(kv.key);
    // The header's revision may be ahead of the events that were sent.
    state.reached = Math.max(state.reached, Number(kv.mod_revision));
  }
  if (state.records.size > MAX_RECORDS) throw tooMany();
  if (answer.events.length === 0) return false;
  state.hasChanged = true;
  // Of a revision of which only a part has come, everything has to come again.
  if (!answer.fragment) state.revision = Math.max(state.revision!, state.reached);
  return true;
}

const tooMany = () => new RegistryError("too_many", "Cannot read the service: the registry has too many records");

/** How often in a row it begins again, within 7 s: an etcd that restarts is there sooner. */
const MAX_FAILURES = 6;
/** How long it waits before the first time, in milliseconds; then twice as long each time. */
const RETRY_MS = 100;
