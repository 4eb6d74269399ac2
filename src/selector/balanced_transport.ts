import { prove, type ProveOptions } from "../auth/mod.ts";
import { pause } from "../internal/pause.ts";
import { type Random, secureRandom } from "../internal/random.ts";
import { untilAborted } from "../internal/until_aborted.ts";
import { within } from "../internal/within.ts";
import {
  type CachedRegistry,
  cachedRegistry,
  type CachedRegistryOptions,
  type Instance,
  type Registry,
  RegistryError,
  type VerifiedRegistry,
  verifiedRegistry,
  type VerifiedRegistryOptions,
} from "../registry/mod.ts";
import {
  type Call,
  fetchTransport,
  NotSentError,
  type Prover,
  type Reply,
  RpcError,
  type Transport,
  webSocketTransport,
} from "../rpc/mod.ts";
import { attemptAt, attemptHedged } from "./attempt.ts";
import type { InstanceFilter } from "./filters.ts";
import { createFleet, endpointOf, type Fleet, type Member } from "./fleet.ts";
import { leastLoaded } from "./least_loaded.ts";
import { type RetryBudget, retryBudget } from "./retry_budget.ts";
import type { Selector } from "./selector.ts";

/** How calls find an instance. The identity, whom it believes, and rights are those of `prove`. */
export interface BalancedTransportOptions
  extends
    Omit<ProveOptions, "peer" | "audience">,
    Pick<VerifiedRegistryOptions, "namespace" | "endpoints">,
    Pick<CachedRegistryOptions, "refreshMs"> {
  /** Whose instances are called. @default {those of the identity's own trust domain} */
  readonly trustDomains?: readonly string[];
  /** What chooses among the instances. @default {leastLoaded()} */
  readonly selector?: Selector;
  /** Which instances may be called at all. @default {all that are verified} */
  readonly filters?: readonly InstanceFilter[];
  /**
   * Makes the transport to one endpoint: an `https:` one where the instance has any, else a `wss:` one. It MUST use the
   * prover, which accepts only the instance's own answers.
   *
   * @default {fetchTransport(endpoint, { prover }), or webSocketTransport}
   */
  readonly connect?: (endpoint: string, prover: Prover, instance: Instance) => Transport;
  /**
   * How many attempts one call may be, from 1 to 10: more than the first only for a method that is `safe` or `idempotent`,
   * or where no byte of the call had left. Never the same instance first; together they take no longer than the call may.
   *
   * @default {3}
   */
  readonly maxAttempts?: number;
  /**
   * After how long a call of a `safe` method is made a second time, at another instance, in milliseconds from 1; the first
   * answer counts.
   *
   * @default {never}
   */
  readonly hedgeAfterMs?: number;
  /**
   * Below which share of instances that are well the others are called too, from 0 to 1: so that whoever makes calls fail
   * cannot drive them all to one instance.
   *
   * @default {0.5}
   */
  readonly panicShare?: number;
  /** The source of chance for waiting between attempts. @default {the runtime's cryptographic one} */
  readonly random?: Random;
}

/** A transport that finds an instance for each call. */
export interface BalancedTransport extends Transport {
  /**
   * Follows the instances of a service as they change, for a program that stays; without it the registry is asked again
   * every few seconds while calls are made.
   *
   * @param service The service's name.
   * @returns What ends it.
   */
  follow(service: string): Disposable;
}

/**
 * Calls whichever instance of a service is right: finds them in the registry, verifies them, chooses one, proves the call
 * to it, accepts only its own proven answer, and learns how it is doing.
 *
 * One transport serves the clients of all services. The registry need not be trusted, and may be out of reach for as long
 * as the records hold.
 *
 * @example Call a service wherever it is
 * ```ts
 * import { createClient, createServer, fetchTransport, implement, rpc, service } from "@postern/rpc";
 * import { allow, createAuthority, createTrust, generateKey, importIdentity, policy, protect } from "@postern/rpc/auth";
 * import { announce, memoryRegistry } from "@postern/rpc/registry";
 * import { balancedTransport } from "@postern/rpc/selector";
 * import * as v from "valibot";
 *
 * const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() }), { safe: true }),
 * });
 * const authority = await createAuthority("example.org");
 * const trust = await createTrust({ "example.org": authority.bundle() });
 * const join = async (id: string, serves: readonly string[] = []) => {
 *   const key = await generateKey();
 *   return importIdentity(key, await authority.issue(key.jwk, { id, serves }));
 * };
 *
 * const identity = await join("spiffe://example.org/greeter", ["greeter.v1"]);
 * const rules = policy([allow({ caller: "spiffe://example.org/web", call: "greeter.v1/*" })]);
 * await using server = createServer(implement(Greeter, { hello: ({ name }) => ({ text: `Hello, ${name}!` }) }), {
 *   guard: protect({ identity, trust, policy: rules }),
 * });
 * const registry = memoryRegistry();
 * const endpoints = ["https://one.example.org"];
 * await using announcement = await announce(server, { registry, identity, endpoints, settleMs: 0 });
 *
 * const transport = balancedTransport(registry, {
 *   identity: await join("spiffe://example.org/web"),
 *   trust,
 *   connect: (url, prover) =>
 *     fetchTransport(url, { prover, fetch: (url, init) => server.fetch(new Request(url, init)) }), // no network here
 * });
 * const { text } = await createClient(Greeter, transport).hello({ name: "Ada" });
 * if (text !== "Hello, Ada!") throw new Error(text);
 * ```
 *
 * @param registry Where instances are registered; not a verified or cached one, which is what is made of it here.
 * @param options Identity and trust, and what differs from the defaults.
 * @returns The transport. Its calls reject with an `RpcError`; `unavailable` where there is no instance that can be trusted.
 * @throws {TypeError} Identity or trust is missing, or the registry promises too little.
 * @throws {RangeError} A number is out of range.
 */
export function balancedTransport(registry: Registry, options: BalancedTransportOptions): BalancedTransport {
  const mesh = meshOf(registry, options);
  return Object.assign((call: Call) => balance(mesh, call), {
    follow: (service: string) => mesh.cached.follow(service),
  });
}

interface Mesh {
  readonly verified: VerifiedRegistry;
  readonly cached: CachedRegistry;
  readonly fleets: Map<string, Fleet>;
  readonly createFleet: () => Fleet;
  readonly budget: RetryBudget;
  readonly random: Random;
  readonly maxAttempts: number;
  readonly hedgeAfterMs: number | undefined;
}

function meshOf(registry: Registry, options: BalancedTransportOptions): Mesh {
  const { identity, trust, selector = leastLoaded(), filters = [], refreshMs, ...rest } = options;
  for (const [name, part] of Object.entries({ identity, trust })) {
    if (!part) throw new TypeError(`Cannot call instances without "${name}"`);
  }
  const { maxAttempts = 3, hedgeAfterMs, panicShare = 0.5 } = rest;
  assertRange("maxAttempts", maxAttempts, 1, 10);
  if (!Number.isInteger(maxAttempts)) {
    throw new RangeError(`Cannot call instances with maxAttempts ${maxAttempts}: it must be whole`);
  }
  assertRange("hedgeAfterMs", hedgeAfterMs ?? 1, 1, 2 ** 31 - 1);
  assertRange("panicShare", panicShare, 0, 1);
  const { namespace, endpoints, audit, now, trustDomains = [identity.trustDomain] } = rest;
  const verified = verifiedRegistry(registry, given({ trust, trustDomains, namespace, endpoints, audit, now }));
  const { capability, delegate, connect = connectTo } = rest;
  const proving = given({ identity, trust, capability, delegate, audit, now });
  const connectInstance = (instance: Instance) => {
    const { encryptionKey, signer } = instance;
    const server = encryptionKey && signer && { encryptionKey, workload: signer };
    const prover = prove({ ...proving, peer: instance.identity, audience: instance.audience, ...server && { server } });
    return connect(endpointOf(instance)!, prover, instance);
  };
  const accepts = (instance: Instance) => filters.every((filter) => filter(instance));
  return {
    verified,
    cached: cachedRegistry(verified, given({ refreshMs, now })),
    fleets: new Map(),
    createFleet: () =>
      createFleet({ selector, accepts, connect: connectInstance, panicShare, now: () => performance.now() }),
    budget: retryBudget(),
    random: rest.random ?? secureRandom(),
    maxAttempts,
    hedgeAfterMs,
  };
}

const connectTo = (endpoint: string, prover: Prover): Transport =>
  endpoint.startsWith("wss:") ? webSocketTransport(endpoint, { prover }) : fetchTransport(endpoint, { prover });

function assertRange(name: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw new RangeError(`Cannot call instances with ${name} ${value}: it must be from ${least} to ${most}`);
}

/** Without the members that are undefined. */
function given<Options extends object>(
  options: Options,
): { [Name in keyof Options]: Exclude<Options[Name], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}

/** Makes a call, at one instance after the other as far as it may be made again. */
async function balance(mesh: Mesh, given: Call): Promise<Reply> {
  const { budget, maxAttempts } = mesh;
  const sent = given.messages && watched(given.messages);
  const call = sent ? { ...given, messages: sent.messages } : given;
  const endsAtMs = performance.now() + call.timeoutMs;
  const tried = new Set<Member>();
  budget.deposit();
  for (let attempts = 1;; attempts++) {
    const fleet = await fleetOf(mesh, call, endsAtMs);
    const timeoutMs = endsAtMs - performance.now();
    if (timeoutMs <= 0) throw overdue();
    try {
      return await attempt(mesh, fleet, { ...call, timeoutMs }, tried);
    } catch (error) {
      if (attempts >= maxAttempts || sent?.isBegun || !mayRepeat(call, error, budget)) throw error;
      const waitMs = mesh.random.below(Math.min(FIRST_WAIT_MS * 2 ** (attempts - 1), MAX_WAIT_MS) + 1);
      if (performance.now() + waitMs >= endsAtMs) throw error;
      await pause(waitMs, call.signal);
      if (call.signal?.aborted) throw canceled(call.signal.reason);
    }
  }
}

/** A caller's messages can be had once: a call that has begun on them cannot be made again. */
function watched(messages: AsyncIterable<unknown>) {
  let isBegun = false;
  return {
    get isBegun() {
      return isBegun;
    },
    messages: {
      [Symbol.asyncIterator]() {
        isBegun = true;
        return messages[Symbol.asyncIterator]();
      },
    },
  };
}

/** The instances of a service as they are now, waited for no longer than the call may take. */
async function fleetOf(mesh: Mesh, call: Call, endsAtMs: number): Promise<Fleet> {
  const { service } = call.method;
  let fleet = mesh.fleets.get(service);
  if (!fleet) mesh.fleets.set(service, fleet = mesh.createFleet());
  try {
    const found = mesh.cached.instances(service);
    const isThere = !(found instanceof Promise);
    fleet.update(
      isThere
        ? found
        : await within(untilAborted(found, call.signal, canceled), () => endsAtMs - performance.now(), overdue),
    );
  } catch (cause) {
    if (cause instanceof RpcError) throw cause;
    if (!(cause instanceof RegistryError)) {
      throw new RpcError("internal", "Cannot choose an instance", { cause, received: true });
    }
    throw new RpcError("unavailable", `Cannot find an instance of "${service}": the registry cannot be read`, {
      cause,
      received: true,
    });
  }
  if (fleet.size > 0) return fleet;
  const refused = [...mesh.verified.refusals(service)].map(([reason, count]) => `${count} ${reason}`).join(", ");
  const why = refused && ` (refused: ${refused})`;
  throw new RpcError("unavailable", `There is no instance of "${service}" that can be trusted${why}`, {
    received: true,
  });
}

/** One attempt, which is two at once where a second one may overtake the first. */
async function attempt(
  { cached, budget, hedgeAfterMs }: Mesh,
  fleet: Fleet,
  call: Call,
  tried: Set<Member>,
): Promise<Reply> {
  const probed = tried.size === 0 ? fleet.probe(isRepeatable(call)) : undefined;
  const member = probed ?? fleet.choose(call, tried);
  tried.add(member);
  // Two streams of one call would both go on.
  const isStream = call.method.streamsInput || call.method.streamsOutput;
  const isProbe = probed !== undefined && isRepeatable(call) && !isStream;
  const afterMs = isProbe ? Math.min(hedgeAfterMs ?? PROBE_MS, PROBE_MS) : hedgeAfterMs;
  const mayOvertake = isProbe || (call.method.options.safe === true && !isStream);
  const first = { fleet, member, isProbe: probed !== undefined };
  if (afterMs === undefined || !mayOvertake || fleet.size === 1) return await attemptAt(first, call);
  return await attemptHedged(first, call, {
    afterMs,
    other() {
      const found = cached.instances(call.method.service); // some may have expired in the meantime
      if (found instanceof Promise) return void found.catch(() => {});
      fleet.update(found);
      if (fleet.size === 0) return undefined;
      const other = fleet.choose(call, tried);
      if (other.instance.name === member.instance.name || !budget.take()) return undefined;
      tried.add(other);
      return other;
    },
  });
}

const isRepeatable = ({ method: { options } }: Call) => options.safe === true || options.idempotent === true;

/** Whether a call that failed may be made again: it was not made at all, or making it twice is as good as once. */
function mayRepeat(call: Call, error: unknown, budget: RetryBudget): boolean {
  if (error instanceof NotSentError) return true;
  return isRepeatable(call) && error instanceof RpcError && error.code === "unavailable" && budget.take();
}

const canceled = (cause: unknown) => new RpcError("canceled", "The call was canceled", { cause, received: true });

const overdue = () => new RpcError("deadline_exceeded", "The call took longer than its deadline", { received: true });

/** How long to wait before the second attempt at most, and before any, in milliseconds; how long, is left to chance. */
const FIRST_WAIT_MS = 25;
const MAX_WAIT_MS = 1_000;
/** How long an instance that failed may take for the call that tries it again, in milliseconds. */
const PROBE_MS = 1_000;
