import { AuthError } from "../auth/mod.ts";
import type { Audit } from "../rpc/mod.ts";
import type { Instance } from "./instance.ts";
import { MAX_LEASE_S, MAX_STATIC_S, readRecord } from "./record.ts";
import { RegistryError } from "./registry_error.ts";
import { type RecordExpectation, verifyRecord } from "./verify_record.ts";

/** What one reader of a registry knows. */
export interface RecordReader {
  readonly expected: RecordExpectation;
  readonly maxRecords: number;
  readonly audit: Audit | undefined;
  readonly now: () => number;
  /** The newest record of each instance, by its name, oldest knowledge first. */
  readonly newest: Map<string, Newest>;
  /** What the last answer was, by service, so that what is there still is not verified again. */
  readonly answers: Map<string, Answer>;
}

interface Newest {
  /** Under which revision of trust it was verified. */
  readonly revision: number;
  /** When no older record of the instance can hold any more, in milliseconds since 1970. */
  readonly forgottenAtMs: number;
  readonly record: string;
  readonly instance: Instance;
}

interface Answer {
  readonly revision: number;
  readonly records: ReadonlyMap<string, Judged>;
  /** Why some were refused that will be looked at again. */
  readonly passing: ReadonlyMap<string, string>;
}

/** A record's instance, or why there is none. */
type Judged = Instance | string;

/** A reader that has seen nothing. */
export function recordReader(options: Omit<RecordReader, "newest" | "answers">): RecordReader {
  return { ...options, newest: new Map(), answers: new Map() };
}

/**
 * Verifies an answer; what was in the last one is known already.
 *
 * @returns The instances, each at most once.
 */
export async function readAnswer(
  reader: RecordReader,
  service: string,
  records: readonly string[],
): Promise<readonly Instance[]> {
  const { trust } = reader.expected;
  const { revision } = trust;
  const last = reader.answers.get(service);
  const known = last?.revision === revision ? last.records : undefined;
  const judged = new Map<string, Judged>();
  const fresh: string[] = [];
  for (const record of new Set(records.slice(0, reader.maxRecords))) {
    const before = known?.get(record);
    if (before === undefined) fresh.push(record);
    else judged.set(record, before);
  }
  const noting = notesOf(reader, service);
  if (records.length > reader.maxRecords) noting.add("too_many");
  const passing = new Map<string, string>();
  let bad = 0;
  for (let i = 0; i < fresh.length && bad < MAX_BAD; i += AT_ONCE) {
    // Reading alone takes a while for many, and what else there is to do must not wait for all of them.
    if (i > 0) await new Promise((resolve) => setTimeout(resolve, 0));
    const some = fresh.slice(i, i + AT_ONCE);
    const outcomes = await Promise.all(some.map((record) => judge(reader, service, record)));
    outcomes.forEach((outcome, at) => {
      if (typeof outcome !== "string") return void judged.set(some[at]!, outcome);
      // To look again at what is right a moment later costs no signature, and clocks are set right; to tell it again, too much.
      const isPassing = OF_THE_MOMENT.has(outcome);
      if (!isPassing || !last?.passing.has(some[at]!)) noting.add(outcome);
      if (isPassing) return void passing.set(some[at]!, outcome);
      judged.set(some[at]!, outcome);
      bad++;
    });
  }
  if (bad >= MAX_BAD) noting.add("too_many");
  reader.answers.set(service, { revision, records: judged, passing });
  await reconsider(reader, judged, revision);
  const instances = newestOf(reader, service, judged, { known, revision, noting });
  noting.write();
  return instances;
}

async function judge(reader: RecordReader, service: string, record: string): Promise<Judged> {
  try {
    return await verifyRecord(record, service, reader.expected, reader.now());
  } catch (error) {
    // Whatever one record makes go wrong, the others are there still.
    return error instanceof RegistryError || error instanceof AuthError ? error.reason : "internal";
  }
}

/** Why records of a service are refused at the moment, and how many for each reason. */
export function refusalsOf({ answers }: RecordReader, service: string): ReadonlyMap<string, number> {
  const refusals = new Map<string, number>();
  const { records, passing } = answers.get(service) ??
    { records: new Map<string, Judged>(), passing: new Map<string, string>() };
  for (const judged of [...records.values(), ...passing.values()]) {
    if (typeof judged === "string") refusals.set(judged, (refusals.get(judged) ?? 0) + 1);
  }
  return refusals;
}

/** Those instances whose records hold still, where trust has changed since they were verified. */
export async function stillHolding(
  reader: RecordReader,
  instances: readonly Instance[],
): Promise<readonly Instance[]> {
  const { expected, newest, now } = reader;
  const { revision } = expected.trust;
  const held = instances.map(({ name }) => newest.get(name));
  const holding = await Promise.all(held.map(async (each) => {
    if (!each) return undefined;
    try {
      await verifyRecord(each.record, undefined, expected, now());
      newest.set(each.instance.name, { ...each, revision });
      return each.instance;
    } catch {
      return undefined; // why, the next reading finds out
    }
  }));
  return holding.filter((each) => each !== undefined);
}

/** What was the newest under an earlier bundle may be revoked by now, and must not stand in the way of what holds. */
async function reconsider(
  { newest, expected, now }: RecordReader,
  judged: ReadonlyMap<string, Judged>,
  revision: number,
): Promise<void> {
  for (const instance of judged.values()) {
    const held = typeof instance === "string" ? undefined : newest.get(instance.name);
    if (typeof instance === "string" || !held || held.revision === revision) continue;
    if (typeof judged.get(held.record) === "object") {
      newest.set(instance.name, { ...held, revision });
      continue;
    }
    try {
      // As of when it held: that it has ended makes no older one newer.
      await verifyRecord(held.record, undefined, expected, Math.min(now(), held.instance.expiresAtMs - 1));
    } catch (error) {
      if (error instanceof AuthError && error.reason !== "expired_token") {
        newest.delete(instance.name);
        continue;
      }
    }
    newest.set(instance.name, { ...held, revision });
  }
}

/** The instances of an answer, each by its newest record, those that have expired left out. */
function newestOf(
  reader: RecordReader,
  service: string,
  judged: ReadonlyMap<string, Judged>,
  { known, revision, noting }: Reading,
): readonly Instance[] {
  const { newest, now } = reader;
  const nowMs = now();
  const instances = new Map<string, Instance>();
  for (const [record, instance] of judged) {
    if (typeof instance === "string") continue;
    const held = newest.get(instance.name);
    if (!held || held.instance.sequence < instance.sequence || isForgotten(held, nowMs)) {
      remember(newest, newestFrom(record, instance, revision), nowMs);
    } else if (held.record !== record && !known?.has(record)) noting.add("rollback");
    const current = newest.get(instance.name)!.instance;
    const isServing = Object.hasOwn(current.services, service);
    if (current.expiresAtMs > nowMs && isServing) instances.set(instance.name, current);
  }
  return Object.freeze([...instances.values()]);
}

function remember(newest: Map<string, Newest>, entry: Newest, nowMs: number): void {
  newest.delete(entry.instance.name); // so that it comes last
  for (const [name, held] of newest) {
    if (newest.size < MAX_REMEMBERED && !isForgotten(held, nowMs)) break;
    newest.delete(name);
  }
  newest.set(entry.instance.name, entry);
}

/** An older record of the instance, too, has expired by then: what an authority signed may hold for long. */
function newestFrom(record: string, instance: Instance, revision: number): Newest {
  const longestS = readRecord(record).claims.wit === undefined ? MAX_STATIC_S : MAX_LEASE_S;
  return { record, instance, revision, forgottenAtMs: instance.expiresAtMs + longestS * 1_000 };
}

const isForgotten = ({ forgottenAtMs }: Newest, nowMs: number) => forgottenAtMs <= nowMs;

/** What is recorded of one answer: each refusal, but no more of them than somebody would read. */
interface Notes {
  add(reason: string): void;
  write(): void;
}

function notesOf({ audit }: RecordReader, service: string): Notes {
  const reasons: string[] = [];
  let more = 0;
  return {
    add(reason) {
      if (reasons.length < MAX_NOTES) reasons.push(reason);
      else more++;
    },
    write() {
      try {
        for (const reason of reasons) audit?.record({ event: "record.refuse", reason, fields: { service } });
        if (more > 0) audit?.record({ event: "record.refuse", reason: "too_many", fields: { service, more } });
      } catch {
        // The records are refused all the same.
      }
    },
  };
}

/** What one reading of an answer shares. */
interface Reading {
  readonly known: Answer["records"] | undefined;
  readonly revision: number;
  readonly noting: Notes;
}

/** How many signatures are checked at once. */
const AT_ONCE = 32;
/** After so many bad records nothing more of an answer is looked at: who sends them must not set its reader to work. */
const MAX_BAD = 256;
/** How many refusals of one answer are recorded one by one: who causes them must not fill a log. */
const MAX_NOTES = 32;
/** What may be right a moment later. */
const OF_THE_MOMENT: ReadonlySet<string> = /* @__PURE__ */ new Set(["not_yet_valid", "expired_record"]);
/** How many instances' newest records are remembered. */
const MAX_REMEMBERED = 65_536;
