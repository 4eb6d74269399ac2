// What the tests of registries share: a trust domain whose workloads sign records, a forge that signs anything with a real
// key, so that each check is met alone, and a registry that lies.
import { type Attested, AuthError, type AuthReason, type Identity, type Signer, signJws } from "../../src/auth/mod.ts";
import { toBase64Url } from "../../src/internal/base64.ts";
import { endpointPolicy } from "../../src/registry/endpoint_policy.ts";
import {
  type InstanceDescription,
  type Registry,
  RegistryError,
  type RegistryReason,
  signRecord,
  verifiedRegistry,
  type VerifiedRegistryOptions,
} from "../../src/registry/mod.ts";
import { RECORD_TYPE, TOOLKIT } from "../../src/registry/record.ts";
import { type RecordExpectation, verifyRecord } from "../../src/registry/verify_record.ts";
import assert from "node:assert/strict";
import { type Clock, clock, DOMAIN, type World, world } from "../auth/_world.ts";

export { type Clock, clock, DOMAIN };
export const SERVICE = "orders.v1";
export const ORDERS = `spiffe://${DOMAIN}/orders`;
export const ENDPOINT = `https://orders.${DOMAIN}`;

export type Claims = Readonly<Record<string, unknown>>;

/** What is not as usual in a record. */
export interface Changes extends Partial<InstanceDescription> {
  readonly sequence?: number;
  readonly lifetimeMs?: number;
  readonly nowMs?: number;
}

/** A trust domain whose workloads register. */
export interface Rig extends World {
  /** It may serve `orders.v1`. */
  readonly orders: Identity;
  /** A record that every reader takes. */
  recordOf(identity: Identity, changes?: Changes): Promise<string>;
  /** The claims of such a record. */
  claimsOf(identity: Identity, changes?: Claims): Promise<Claims>;
  /** Signs the claims of such a record with the identity's own key, some of them changed; one that is undefined is left out. */
  forge(identity: Identity, changes?: Claims): Promise<string>;
  /** The same by the authority: without an identity token, and with its name as the issuer. */
  issue(changes?: Claims): Promise<string>;
  /** What `verifyRecord` expects. */
  expect(more?: Partial<RecordExpectation>): RecordExpectation;
  /** Verifies a record of `orders.v1` at the present time. */
  verify(record: string, more?: Partial<RecordExpectation>): ReturnType<typeof verifyRecord>;
  /** The verified view of a registry. */
  verified(registry: Registry, options?: Partial<VerifiedRegistryOptions>): ReturnType<typeof verifiedRegistry>;
}

export async function rig(domain = DOMAIN, now: Clock = clock()): Promise<Rig> {
  const own = await world(domain, now);
  const orders = await own.join(`spiffe://${domain}/orders`, { serves: [SERVICE] });
  const claimsOf = async (identity: Identity, changes: Claims = {}) => ({
    iss: identity.id,
    sub: identity.id,
    aud: "default",
    jti: "i1",
    seq: 1,
    iat: now() / 1_000,
    exp: now() / 1_000 + 60,
    services: { [SERVICE]: "" },
    endpoints: [ENDPOINT],
    version: "1.0.0",
    toolkit: TOOLKIT,
    weight: 100,
    draining: false,
    own_audience: false,
    wit: await witOf(identity),
    ...changes,
  });
  const expect = (more: Partial<RecordExpectation> = {}) => ({
    trust: own.trust,
    trustDomains: own.trust.trustDomains,
    namespace: "default",
    endpoints: endpointPolicy([domain]),
    ...more,
  });
  return {
    ...own,
    orders,
    claimsOf,
    expect,
    recordOf(identity, { sequence = 1, lifetimeMs = 60_000, nowMs = now(), ...about } = {}) {
      const description = { services: { [SERVICE]: "" }, endpoints: [ENDPOINT], instance: "i1", ...about };
      return signRecord(identity, description, { sequence, lifetimeMs, nowMs });
    },
    forge: async (identity, changes) => sealClaims(await claimsOf(identity, changes), identity),
    issue: async (changes = {}) => {
      const { key, id } = own.authority;
      const claims = await claimsOf(orders, { iss: id, wit: undefined, ...changes });
      return await sealClaims(claims, { kid: key.thumbprint, sign: key.sign });
    },
    verify: (record, more) => verifyRecord(record, SERVICE, expect(more), now()),
    verified: (registry, options) => verifiedRegistry(registry, { trust: own.trust, now, ...options }),
  };
}

/** Another workload of the trust domain that may serve the same. */
export const joinOther = (world: World, name: string, more: Omit<Attested, "id"> = { serves: [SERVICE] }) =>
  world.join(`spiffe://${world.authority.trustDomain}/${name}`, more);

/** An identity's present token. */
export const witOf = async ({ credential }: Pick<Identity, "credential">): Promise<string> =>
  (await credential()).token.reveal();

/** Signs claims as a record; one that is undefined is left out. */
export function sealClaims(claims: Claims, { sign, kid }: Signer): Promise<string> {
  const given = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined));
  return signJws(RECORD_TYPE, given, { sign, ...kid === undefined ? {} : { kid } });
}

const base64 = (text: string) => toBase64Url(new TextEncoder().encode(text));

/** Signs a header and a payload that are given as texts, as they are. */
export async function sealText(header: string, payload: string, { sign }: Pick<Signer, "sign">): Promise<string> {
  const input = `${base64(header)}.${base64(payload)}`;
  return `${input}.${toBase64Url(await sign(new TextEncoder().encode(input)))}`;
}

/** The three parts of a token, the first two of them decoded. */
export function partsOf(token: string): readonly [string, string, string] {
  const [header, payload, signature] = token.split(".") as [string, string, string];
  const text = (part: string) => atob(part.replaceAll("-", "+").replaceAll("_", "/"));
  return [text(header), text(payload), signature];
}

/** Asserts that something is refused, and for which reason. */
export async function assertRefused(
  promise: Promise<unknown>,
  reason: RegistryReason | AuthReason,
  why?: RegExp,
): Promise<void> {
  const error = await promise.then(() => assert.fail(`it was accepted, not refused as ${reason}`), (thrown) => thrown);
  assert.ok(error instanceof RegistryError || error instanceof AuthError, `expected a refusal, got ${String(error)}`);
  assert.equal(error.reason, reason, error.message);
  assert.match(error.message, /^Cannot .*[^.]$/);
  if (why) assert.match(error.message, why);
}

/** A registry that gives exactly these records; a test changes them as it goes on. */
export function giving(records: string[]): Registry & { readonly records: string[]; tell(): void } {
  let wake: () => void = () => {};
  return {
    records,
    tell: () => wake(),
    properties: { encrypted: true, accessControlled: true },
    register: () => Promise.reject(new RegistryError("read_only", "Cannot register here")),
    resolve: () => Promise.resolve([...records]),
    async *watch(_, { signal } = {}) {
      const end = () => wake();
      signal?.addEventListener("abort", end);
      while (!signal?.aborted) {
        const next = new Promise<void>((resolve) => wake = resolve);
        yield [...records];
        await next;
      }
    },
    list: () => Promise.resolve([SERVICE]),
  };
}

/** What a lying registry makes of what is true. */
export type Lie = (records: readonly string[], service: string) => readonly string[] | Promise<readonly string[]>;

/** A registry that keeps what it is given, and says something else. */
export function lyingRegistry(honest: Registry, lie: Lie): Registry {
  return {
    ...honest,
    resolve: async (service, options) => await lie(await honest.resolve(service, options), service),
    async *watch(service, options) {
      for await (const records of honest.watch(service, options)) yield await lie(records, service);
    },
  };
}

/** Timers that a test fires; nothing waits by itself. */
export interface HeldTimers extends Disposable {
  /** How long the timers that are set will wait. */
  waits(): readonly number[];
  /** Fires the timer that was set first, of those that wait so long. */
  fire(ms?: number): void;
  /** Lets everything go on that needs no time. */
  settle(): Promise<void>;
}

export function heldTimers(): HeldTimers {
  const { setTimeout: set, clearTimeout: clear } = globalThis;
  const timers = new Map<number, { readonly run: () => void; readonly ms: number }>();
  let count = 0;
  // Negative, so that they are no timers of before, which can still be cleared.
  const own = (run: () => void, ms = 0) => (timers.set(--count, { run, ms }), count);
  Object.assign(globalThis, {
    setTimeout: own,
    clearTimeout: (id: number) => timers.delete(id) ? undefined : clear(id),
  });
  return {
    waits: () => [...timers.values()].map(({ ms }) => ms),
    fire(wanted) {
      const found = [...timers].find(([, { ms }]) => wanted === undefined || ms === wanted);
      assert.ok(
        found,
        `no timer waits for ${wanted ?? "anything"}, only for ${[...timers.values()].map(({ ms }) => ms)}`,
      );
      timers.delete(found[0]);
      found[1].run();
    },
    settle: async () => {
      // A signature that is under way is made by another thread, which on a busy machine takes longer than a turn.
      const pair = await crypto.subtle.generateKey("Ed25519", false, ["sign"]) as CryptoKeyPair;
      for (let i = 0; i < 5; i++) {
        await Promise.all(SIGNERS.map(() => crypto.subtle.sign("Ed25519", pair.privateKey, new Uint8Array(256))));
        await new Promise((done) => set(done, 0));
      }
    },
    [Symbol.dispose]: () => void Object.assign(globalThis, { setTimeout: set, clearTimeout: clear }),
  };
}

/** At least as many as a runtime has threads for cryptography. */
const SIGNERS = [1, 2, 3, 4];

/** As `Promise.withResolvers`, which Node 20 does not have. */
export function withResolvers<Value>(): {
  readonly promise: Promise<Value>;
  readonly resolve: (value: Value) => void;
  readonly reject: (error: unknown) => void;
} {
  let [resolve, reject] = [(_: Value) => {}, (_: unknown) => {}];
  const promise = new Promise<Value>((done, failed) => [resolve, reject] = [done, failed]);
  return { promise, resolve, reject };
}
