import type { Identity } from "../auth/mod.ts";
import { contractDigest, type Service } from "../rpc/mod.ts";
import { within } from "../internal/within.ts";
import { type InstanceDescription, newInstanceId, signRecord } from "./record.ts";
import type { Registry } from "./registry.ts";
import { RegistryError } from "./registry_error.ts";
import { assertSecure } from "./verified_registry.ts";

/** What a server says of itself, and how. */
export interface AnnounceOptions extends Omit<InstanceDescription, "services" | "draining"> {
  /** Where it is registered. */
  readonly registry: Registry;
  /** Who it is; its authority lets it serve what it serves. */
  readonly identity: Identity;
  /** How long a record holds, in milliseconds, 3,000 to 300,000; it is renewed after a third. @default {60_000} */
  readonly leaseMs?: number;
  /**
   * How long it goes on being there after it has said that it will end, in milliseconds: longer than its clients go
   * without looking (`refreshMs` of `cachedRegistry`, and a second for the answer).
   *
   * @default {5_000}
   */
  readonly settleMs?: number;
  /**
   * Told of every registration that failed; there is another try, and what is registered holds until its lease is over.
   *
   * @default {a constant line on the error output}
   */
  readonly onError?: (error: unknown) => void;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * A server that can be found. Disposing it says that the server is about to end, waits until clients know, and takes it
 * out of the registry: dispose it before the server, as `await using` does with what was made later.
 */
export interface Announcement extends AsyncDisposable {
  /** The instance's own id among those of its identity; another one where somebody took it who has that identity too. */
  readonly instance: string;
}

/**
 * Registers a server, keeps its record fresh, and takes it out when it ends.
 *
 * A process that hangs or dies renews nothing, and falls out when its lease is over. A registry that was out of reach or
 * lost everything is given the record again. A server that is disposed says so at its next renewal by itself.
 *
 * @example A server that can be found, and one that ends without losing a call
 * ```ts ignore
 * await using serving = await serve(server, { cert, key });
 * await using announcement = await announce(server, { registry, identity, endpoints: ["https://one.example.org"] });
 * await stopped; // the announcement ends first: no client calls any more when the server ends
 * ```
 *
 * @param server The server.
 * @param options The registry, the identity, the endpoints, and what differs from the defaults.
 * @returns What ends it.
 * @throws {RegistryError} The first registration failed, or no reader would take the record.
 * @throws {TypeError} The registry promises too little, or the identity may not serve what the server serves.
 * @throws {RangeError} A time is out of range.
 */
export async function announce(
  server: { readonly services: readonly Service[]; readonly draining: boolean },
  options: AnnounceOptions,
): Promise<Announcement> {
  const { registry, identity, leaseMs = 60_000, settleMs = 5_000, onError, now = Date.now, ...about } = options;
  assertSecure(registry);
  assertDuration("leaseMs", leaseMs, 3_000, 300_000);
  assertDuration("settleMs", settleMs, 0, 600_000);
  const services = await servicesOf(server.services, identity);
  const encryptionKey = about.encryptionKey ?? (await identity.encryptionKey()).jwk;
  let instance = about.instance ?? newInstanceId();
  let sequence = 0;
  const register = async (draining: boolean, maxMs = REGISTER_MS) => {
    const description = { ...about, encryptionKey, services, instance, draining };
    // By the clock, so that an instance that starts again under its old id goes on from what is known of it.
    sequence = Math.max(sequence + 1, Math.floor(now()));
    const terms = { sequence, lifetimeMs: leaseMs, nowMs: now() };
    const registering = registry.register(await signRecord(identity, description, terms));
    return await within(registering, () => maxMs, tooSlow);
  };
  let lease = await register(false);
  const report = reporting(onError);
  let isEnding = false;
  const renewing = repeat(leaseMs / 3, async () => {
    try {
      const renewed = await register(server.draining);
      if (isEnding) await renewed[Symbol.asyncDispose](); // nothing may be held any more that it would be older than
      else lease = renewed;
    } catch (error) {
      // Somebody of the same identity has taken the name; one that was asked for stays.
      const isTaken = error instanceof RegistryError && error.reason === "rollback";
      if (isTaken && about.instance === undefined) instance = newInstanceId();
      throw error;
    }
  }, report);
  const end = async () => {
    isEnding = true;
    renewing[Symbol.dispose](); // one that is under way is older than what follows, and taken out if it comes after it
    try {
      lease = await register(true, END_MS);
    } catch (error) {
      report(error);
    }
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    try {
      await within(Promise.resolve(lease[Symbol.asyncDispose]()), () => END_MS, tooSlow);
    } catch (error) {
      report(error);
    }
  };
  let ended: Promise<void> | undefined;
  return {
    get instance() {
      return instance;
    },
    [Symbol.asyncDispose]: () => ended ??= end(),
  };
}

function assertDuration(name: string, ms: number, least: number, most: number): void {
  if (ms >= least && ms <= most) return;
  throw new RangeError(`Cannot announce the server: ${name} must be from ${least} to ${most}`);
}

/** What is served, which is no more than the authority allows. */
async function servicesOf(services: readonly Service[], identity: Identity): Promise<Record<string, string>> {
  const foreign = services.find(({ name }) => !identity.serves.includes(name));
  if (foreign) {
    throw new TypeError(`Cannot announce the server: its authority does not let it serve "${foreign.name}"`);
  }
  return Object.fromEntries(await Promise.all(services.map(async (each) => [each.name, await digestOf(each)])));
}

function reporting(onError: AnnounceOptions["onError"]): (error: unknown) => void {
  const tell = onError ?? (() => console.error("The server could not be registered; there is another try"));
  return (error) => {
    try {
      tell(error);
    } catch {
      // It is tried again all the same.
    }
  };
}

/** A contract whose schemas are of another library than Valibot has no digest. */
async function digestOf(service: Service): Promise<string> {
  try {
    return await contractDigest(service);
  } catch {
    return "";
  }
}

/** Does something again and again, sooner after it failed. */
function repeat(everyMs: number, run: () => Promise<void>, report: (error: unknown) => void): Disposable {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let ended = false;
  const look = async () => {
    let nextMs = everyMs;
    try {
      await run();
    } catch (error) {
      if (!ended) report(error);
      nextMs = Math.min(everyMs / 4, RETRY_MS);
    }
    if (!ended) schedule(nextMs);
  };
  const schedule = (ms: number) => timer = setTimeout(look, ms);
  schedule(everyMs);
  return {
    [Symbol.dispose]() {
      ended = true;
      clearTimeout(timer);
    },
  };
}

const tooSlow = () => new RegistryError("unreachable", "Cannot register: the registry took too long to answer");

/** How long a registration may take, in milliseconds. */
const REGISTER_MS = 10_000;
/** How long each of the two last ones may, in milliseconds: who is to end is seldom given more than 30 s in all. */
const END_MS = 5_000;
/** In milliseconds. */
const RETRY_MS = 2_000;
