import { type AuthError, parseWorkloadId, type Secret, secret } from "../auth/mod.ts";
import { type EtcdFetch, inTime, unreachable } from "./etcd_exchange.ts";
import { type EtcdGateway, etcdGateway, REQUEST_MS } from "./etcd_gateway.ts";
import { readEntries, watchEntries } from "./etcd_watch.ts";
import { below, type EtcdEntry, GRANT, keyOf, prefixOf, RANGE, REVOKE, TRANSACT } from "./etcd_wire.ts";
import { leaseOf } from "./lease.ts";
import { DEFAULT_NAMESPACE, NAMESPACE, readRecord, type RecordClaims, SERVICE_NAME } from "./record.ts";
import type { Registry } from "./registry.ts";
import { RegistryError } from "./registry_error.ts";

/** Where etcd is, and as whom it is used. */
export interface EtcdRegistryOptions {
  /** Where etcd answers its clients: `https:`, a host, perhaps a port; no credentials. */
  readonly url: string | URL;
  /** The name of the user; least privilege is described in `docs/registries.md`. */
  readonly user: string;
  /** The user's password; it is sent to etcd and shown to nobody. */
  readonly password: Secret | string;
  /** The registry's namespace: records of another one are refused, and keys of another one not touched. @default {"default"} */
  readonly namespace?: string;
  /**
   * What sends the requests, in place of the runtime's own: one that trusts a certificate authority of yours, say, as
   * `createFetch` of a runtime's subpath makes it. @default {fetch}
   */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** The clock, in milliseconds since 1970. @default {Date.now} */
  readonly now?: () => number;
}

/**
 * Keeps records in etcd, version 3.4 or later, by its JSON gateway: all that it needs is `fetch`.
 *
 * A record has a key below each of its services, and the keys have a lease that ends with the record; etcd deletes them
 * up to a second or two later. A newer record takes the place of an older one only where nothing came between.
 *
 * Access control has to be on: before the first use, and again whenever it shows its password, it asks without a name,
 * and uses no etcd that answers. An answer may be 32 MiB long and take five seconds. A watch goes on where it was when
 * the connection was lost for up to 7 s.
 *
 * On workerd, `fetch` cannot be told of an authority of your own, and a watch lasts no longer than the request that
 * began it: there, `resolve` is what to use.
 *
 * @example A registry in etcd
 * ```ts ignore
 * import { secret } from "@postern/rpc/auth";
 * import { createFetch } from "@postern/rpc/deno";
 * import { etcdRegistry } from "@postern/rpc/registry";
 *
 * const registry = etcdRegistry({
 *   url: "https://etcd.example.org:2379",
 *   user: "orders",
 *   password: secret(Deno.env.get("ETCD_PASSWORD")!),
 *   fetch: createFetch({ caCerts: [ca] }),
 * });
 * ```
 *
 * @param options Where etcd is, and as whom it is used.
 * @returns The registry. Its methods throw `RegistryError`: `insecure` where access control is off, `refused` where the
 * user lacks a right or the password is wrong, `too_many` where an answer is too long, `unreachable` for all else that
 * is wrong with etcd.
 * @throws {TypeError} The URL is not `https:` or holds more than it should, the namespace is malformed, or the user or
 * the password is missing.
 * @see {@link https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/}
 */
export function etcdRegistry(options: EtcdRegistryOptions): Registry {
  const { namespace = DEFAULT_NAMESPACE, now = Date.now } = options;
  const gateway = etcdGateway(gatewayOptionsOf(options, namespace));
  const store: Store = { gateway, namespace, now };
  const prefix = (service: string) => {
    if (SERVICE_NAME.test(service)) return prefixOf(namespace, service);
    throw new TypeError("Cannot read the service: its name is malformed");
  };
  return {
    properties: { encrypted: true, accessControlled: true },
    async register(record) {
      const entry = entryOf(record, store);
      const lease = await inTime(REGISTER_MS, undefined, (signal) => put(store, entry, signal));
      return leaseOf(() => inTime(REQUEST_MS, undefined, (signal) => revoke(store, lease, signal)));
    },
    async resolve(service, { signal } = {}) {
      const range = below(prefix(service));
      const { records } = await inTime(REQUEST_MS, signal, (reading) => readEntries(gateway, range, reading));
      return [...records.values()];
    },
    watch: (service, { signal } = {}) => watchEntries(gateway, prefix(service), signal),
    list: ({ signal } = {}) => inTime(REQUEST_MS, signal, (reading) => listServices(store, reading)),
  };
}

/** How long a registration may take, in milliseconds: it is several requests, and may have to begin again. */
const REGISTER_MS = 10_000;
/** How often a registration begins again because others of the same instance came between. */
const MAX_TRIES = 8;

interface Store {
  readonly gateway: EtcdGateway;
  readonly namespace: string;
  readonly now: () => number;
}

function gatewayOptionsOf(options: EtcdRegistryOptions, namespace: string) {
  const { url, user, password, fetch: send = globalThis.fetch as EtcdFetch } = options;
  const shown = typeof password === "string" ? password : password?.reveal();
  if (!user || !shown) throw new TypeError(`Cannot use etcd without "user" and "password"`);
  if (!NAMESPACE.test(namespace)) throw new TypeError("Cannot use etcd: the namespace is malformed");
  return { base: `${baseOf(url)}/v3`, user, password: secret(shown), namespace, send };
}

function baseOf(given: string | URL): string {
  // The runtime's own error would show the URL, and what is in it.
  if (!URL.canParse(given)) throw new TypeError("Cannot use etcd: this is not an absolute URL");
  const { protocol, username, password, search, hash, origin, pathname } = new URL(given);
  if (protocol === "https:" && !username && !password && !search && !hash) return origin + pathname.replace(/\/$/, "");
  throw new TypeError(
    `Cannot use etcd at this "${protocol}" URL: it must be "https:", without credentials, query or fragment`,
  );
}

/** A record, and where it goes. */
interface Entry {
  readonly record: string;
  readonly claims: RecordClaims;
  readonly keys: readonly string[];
}

function entryOf(record: string, { namespace, now }: Store): Entry {
  const { claims } = readRecord(record);
  assertWorkload(claims.sub);
  if (claims.aud !== namespace) {
    throw new RegistryError("wrong_namespace", "Cannot register the record: it is for another namespace");
  }
  if (claims.exp * 1_000 <= now()) {
    throw new RegistryError("expired_record", "Cannot register the record: it has expired");
  }
  return { record, claims, keys: Object.keys(claims.services).map((service) => keyOf(namespace, service, claims)) };
}

function assertWorkload(id: string): void {
  try {
    parseWorkloadId(id);
  } catch (cause) {
    const { message } = cause as AuthError;
    throw new RegistryError("malformed_record", `Cannot read the record: ${message}`, { cause });
  }
}

/** Puts a record in the place of older ones; returns the lease that it ends with. */
async function put(store: Store, entry: Entry, signal: AbortSignal): Promise<string> {
  const { gateway, now } = store;
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const held = await heldBy(store, entry, signal);
    assertNewest(held, entry);
    const leases = new Set(held.map((each) => each?.lease ?? NO_LEASE));
    const [only = NO_LEASE] = leases;
    if (leases.size === 1 && only !== NO_LEASE && held.every((each) => each?.value === entry.record)) return only;

    const TTL = String(Math.max(1, Math.ceil((entry.claims.exp * 1_000 - now()) / 1_000)));
    const { ID } = await gateway.call(GRANT, { TTL }, signal);
    const { succeeded } = await gateway.call(TRANSACT, replacing(entry, held, ID), signal);
    leases.delete(NO_LEASE);
    // With the old lease goes what it holds still: the keys of services that the instance does not have any more.
    const over = succeeded ? leases : [ID];
    await Promise.all([...over].map((lease) => revoke(store, lease, signal).catch(() => {})));
    if (succeeded) return ID;
  }
  throw unreachable("others register the same instance all the time");
}

const NO_LEASE = "0";

/** What is at the keys of an entry. */
async function heldBy({ gateway }: Store, { keys }: Entry, signal: AbortSignal): Promise<(EtcdEntry | undefined)[]> {
  const success = keys.map((key) => ({ request_range: { key: btoa(key) } }));
  const { responses } = await gateway.call(TRANSACT, { compare: [], success, failure: [] }, signal);
  return keys.map((key, at) => responses[at]?.response_range?.kvs.find((each) => each.key === key));
}

/** What holds no record of this instance has no claim to its place. */
function assertNewest(held: readonly (EtcdEntry | undefined)[], { record, claims }: Entry): void {
  for (const each of held) {
    if (!each || each.value === record) continue;
    const other = claimsOf(each.value);
    if (other?.sub !== claims.sub || other.jti !== claims.jti || other.seq < claims.seq) continue;
    throw new RegistryError("rollback", "Cannot register the record: a newer one of the instance is there");
  }
}

function claimsOf(value: string): RecordClaims | undefined {
  try {
    return readRecord(value).claims;
  } catch {
    return undefined;
  }
}

/** Puts the record at its keys, if these hold still what they held. */
function replacing({ record, keys }: Entry, held: readonly (EtcdEntry | undefined)[], lease: string) {
  return {
    compare: keys.map((key, at) => ({
      key: btoa(key),
      target: "MOD",
      result: "EQUAL",
      mod_revision: held[at]?.mod_revision ?? "0",
    })),
    success: keys.map((key) => ({ request_put: { key: btoa(key), value: btoa(record), lease } })),
    failure: [],
  };
}

/** Ends a lease, and with it the record that was put with it: a newer one has a lease of its own. */
async function revoke({ gateway }: Store, ID: string, signal: AbortSignal): Promise<void> {
  await gateway.call(REVOKE, { ID }, signal);
}

async function listServices({ gateway, namespace }: Store, signal: AbortSignal): Promise<readonly string[]> {
  const prefix = prefixOf(namespace);
  const { kvs } = await gateway.call(RANGE, { ...below(prefix), keys_only: true }, signal);
  const names = kvs.map(({ key }) => key.slice(prefix.length, key.indexOf("/", prefix.length)));
  return [...new Set(names)].filter((name) => SERVICE_NAME.test(name)).sort();
}
