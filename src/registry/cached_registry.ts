import { pause } from "../internal/pause.ts";
import { within } from "../internal/within.ts";
import type { Instance } from "./instance.ts";
import { RegistryError } from "./registry_error.ts";
import type { VerifiedRegistry } from "./verified_registry.ts";

/** How instances are remembered. */
export interface CachedRegistryOptions {
  /**
   * How long what was read is used before the registry is asked again, in milliseconds, 100 to 30,000. A server that ends
   * waits for longer than this before it stops answering.
   *
   * @default {3_000}
   */
  readonly refreshMs?: number;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/** The instances of services, at hand. */
export interface CachedRegistry {
  /**
   * The instances of a service whose records hold; the same list as long as nothing changed.
   *
   * @param service The service's name.
   * @returns At once where there is something at hand that was read not long ago.
   * @throws {RegistryError} `unreachable`: the registry cannot be read, and nothing that was read before still holds.
   */
  instances(service: string): readonly Instance[] | Promise<readonly Instance[]>;
  /**
   * Follows a service as it changes, in place of asking again and again, for a program that stays.
   *
   * @param service The service's name.
   * @returns What ends it.
   */
  follow(service: string): Disposable;
}

/**
 * Remembers what a registry gave: a call does not wait for it, and it may be out of reach until the last records expire.
 *
 * It asks again when it is asked, not by the clock, so it keeps no program from ending. Whoever asks while it asks waits
 * for the same answer. An instance leaves by its own word or when its record ends: that an answer leaves it out takes
 * nothing away from what was verified before.
 *
 * @param registry What verifies the records.
 * @param options What differs from the defaults.
 * @returns The instances.
 * @throws {RangeError} The time is out of range.
 */
export function cachedRegistry(registry: VerifiedRegistry, options: CachedRegistryOptions = {}): CachedRegistry {
  const { refreshMs = 3_000, now = Date.now } = options;
  if (!(refreshMs >= 100 && refreshMs <= 30_000)) {
    throw new RangeError(`Cannot refresh every ${refreshMs} ms: it must be from 100 to 30000`);
  }
  const cache: Cache = { registry, refreshMs, now, views: new Map() };
  return {
    instances: (service) => instancesOf(cache, service),
    follow: (service) => follow(cache, service),
  };
}

interface Cache {
  readonly registry: VerifiedRegistry;
  readonly refreshMs: number;
  readonly now: () => number;
  readonly views: Map<string, View>;
}

/** What is known of one service. */
interface View {
  instances: readonly Instance[];
  /** When the first of the instances expires, in milliseconds since 1970. */
  holdsUntilMs: number;
  /** When it was read; undefined before the first time. */
  readAtMs: number | undefined;
  /** The reading that is under way, and since when. */
  reading: { readonly done: Promise<void>; readonly sinceMs: number } | undefined;
  /** When the last reading failed, and how. */
  failure: { readonly error: unknown; readonly atMs: number } | undefined;
  /** Under which revision of trust. */
  revision: number;
  /** The looking again under another one that is under way. */
  checking: Promise<void> | undefined;
  /** How many watches are connected. */
  watches: number;
}

function viewOf(cache: Cache, service: string): View {
  let view = cache.views.get(service);
  if (!view) {
    view = {
      instances: NONE,
      holdsUntilMs: Infinity,
      readAtMs: undefined,
      reading: undefined,
      failure: undefined,
      revision: cache.registry.revision,
      checking: undefined,
      watches: 0,
    };
    cache.views.set(service, view);
  }
  return view;
}

function instancesOf(cache: Cache, service: string): readonly Instance[] | Promise<readonly Instance[]> {
  const view = viewOf(cache, service);
  const nowMs = cache.now();
  if (nowMs >= view.holdsUntilMs) keep(view, view.instances.filter(({ expiresAtMs }) => expiresAtMs > nowMs));
  if (view.revision !== cache.registry.revision && view.instances.length > 0) {
    return checkAgain(cache, service, view).then(() => instancesOf(cache, service));
  }
  if (view.watches > 0 && view.instances.length > 0) return view.instances;
  const ageMs = since(view.readAtMs, nowMs);
  // Nobody should have to wait for an instance that has just started longer than needed.
  const refreshMs = view.instances.length === 0 ? Math.min(RETRY_MS, cache.refreshMs) : cache.refreshMs;
  if (ageMs < refreshMs) return view.instances;
  const isUsable = view.instances.length > 0;
  if (view.failure && since(view.failure.atMs, nowMs) < RETRY_MS) {
    if (isUsable) return view.instances;
    throw view.failure.error;
  }
  const reading = readAgain(cache, service, view);
  const isLate = view.failure !== undefined || since(view.reading?.sinceMs ?? nowMs, nowMs) >= PATIENCE_MS;
  if (isUsable && (isLate || ageMs < cache.refreshMs + PATIENCE_MS)) return view.instances;
  return waitFor(cache, service, view, reading);
}

/** When a reading began, and under which revision of trust. */
interface Beginning {
  readonly atMs: number;
  readonly revision: number;
}

/** How long ago something was; a clock that was set back says nothing of that. */
function since(atMs: number | undefined, nowMs: number): number {
  return atMs === undefined || nowMs < atMs ? Infinity : nowMs - atMs;
}

/** Where trust has changed, nobody is given out before it is known that the new one has him still. */
function checkAgain({ registry }: Cache, service: string, view: View): Promise<void> {
  const check = async () => {
    const { instances } = view;
    const { revision } = registry;
    const held = await registry.stillHolding(instances);
    if (view.instances !== instances) return; // it was read in the meantime
    keep(view, held.filter(({ services }) => Object.hasOwn(services, service))); // the newest may serve less
    view.revision = revision;
  };
  return view.checking ??= check().finally(() => view.checking = undefined);
}

/** Waits for a reading, but not for ever where there is something to go on with. */
async function waitFor(
  cache: Cache,
  service: string,
  view: View,
  reading: Promise<void>,
): Promise<readonly Instance[]> {
  if (view.instances.length > 0) await within(reading, () => PATIENCE_MS, () => undefined).catch(() => {});
  else await reading;
  while (view.revision !== cache.registry.revision && view.instances.length > 0) await checkAgain(cache, service, view);
  const nowMs = cache.now();
  if (nowMs >= view.holdsUntilMs) keep(view, view.instances.filter(({ expiresAtMs }) => expiresAtMs > nowMs));
  if (view.instances.length === 0 && view.failure) throw view.failure.error;
  return view.instances;
}

function readAgain(cache: Cache, service: string, view: View): Promise<void> {
  const nowMs = cache.now();
  // A platform may have stopped a reading together with the request that began it.
  if (view.reading && since(view.reading.sinceMs, nowMs) < 2 * READ_MS) return view.reading.done;
  const reading = { done: Promise.resolve(), sinceMs: nowMs };
  view.reading = reading;
  reading.done = readOnce(cache, service, view, () => view.reading === reading);
  const end = () => {
    if (view.reading === reading) view.reading = undefined;
  };
  reading.done.then(end, end);
  return reading.done;
}

/** Never rejects: a failure is remembered, and thrown where there is nothing else. */
async function readOnce(
  cache: Cache,
  service: string,
  view: View,
  isCurrent: () => boolean,
): Promise<void> {
  const { registry, now } = cache;
  const ending = new AbortController();
  const startedAtMs = now();
  const { revision } = registry;
  try {
    const resolved = registry.resolve(service, { signal: ending.signal });
    const instances = await within(resolved, () => READ_MS, tooSlow);
    if (isCurrent()) take(cache, view, instances, { atMs: startedAtMs, revision }); // one that was replaced is not news
  } catch (error) {
    if (isCurrent()) view.failure = { error, atMs: now() };
  } finally {
    ending.abort();
  }
}

/**
 * Takes over an answer. Who is left out of it goes on being used, unless it has said that it would end: a registry that was
 * started again knows nobody at first, one that lies would rather know only its friends. Who has not looked for a while
 * may have missed the word, and believes an answer that is one. Where trust has changed, who is left out may be revoked.
 */
function take(cache: Cache, view: View, instances: readonly Instance[], began: Beginning): void {
  const { registry, refreshMs, now } = cache;
  const { atMs: readAtMs, revision } = began;
  const nowMs = now();
  const hasLooked = since(view.readAtMs, readAtMs) <= refreshMs + PATIENCE_MS;
  const mayKeep = view.revision === registry.revision && (hasLooked || instances.length === 0);
  const present = new Set(instances.map(({ name }) => name));
  const kept = view.instances.filter(({ name, draining, expiresAtMs }) =>
    mayKeep && !draining && expiresAtMs > nowMs && !present.has(name)
  );
  keep(view, kept.length > 0 ? [...instances, ...kept] : instances);
  view.revision = revision; // trust may have changed since the first of them was verified
  view.readAtMs = readAtMs;
  view.failure = undefined;
}

function keep(view: View, instances: readonly Instance[]): void {
  const isSame = instances.length === view.instances.length && instances.every((each, i) => each === view.instances[i]);
  if (!isSame) view.instances = Object.freeze([...instances]);
  view.holdsUntilMs = instances.reduce((first, { expiresAtMs }) => Math.min(first, expiresAtMs), Infinity);
}

function follow(cache: Cache, service: string): Disposable {
  const ending = new AbortController();
  const { signal } = ending;
  const view = viewOf(cache, service);
  const run = async () => {
    for (let failures = 0; !signal.aborted; failures++) {
      let isConnected = false;
      let { revision } = cache.registry;
      try {
        for await (const instances of cache.registry.watch(service, { signal })) {
          if (signal.aborted) break;
          if (isConnected) view.readAtMs = cache.now(); // nothing happened since the last time
          else view.watches++;
          isConnected = true;
          failures = 0;
          take(cache, view, instances, { atMs: cache.now(), revision });
          await pause(COALESCE_MS, signal); // where thousands come and go, not each of them is worth a look
          revision = cache.registry.revision;
        }
      } catch (error) {
        view.failure = { error, atMs: cache.now() };
      } finally {
        if (isConnected) view.watches--;
      }
      if (!signal.aborted) await pause(Math.min(RETRY_MS * 2 ** failures, MAX_PAUSE_MS), signal);
    }
  };
  run();
  return { [Symbol.dispose]: () => ending.abort() };
}

const tooSlow = () => new RegistryError("unreachable", "Cannot read the registry: it took too long to answer");

const NONE: readonly Instance[] = /* @__PURE__ */ Object.freeze([]);
/** How long one reading may take, in milliseconds. */
const READ_MS = 5_000;
/** How long a call waits for a reading while it has older instances to go on with, in milliseconds. */
const PATIENCE_MS = 1_000;
/** How long to wait after a reading that failed or gave nothing, in milliseconds. */
const RETRY_MS = 500;
const MAX_PAUSE_MS = 5_000;
/** How long changes are collected that come one after the other, in milliseconds. */
const COALESCE_MS = 250;
