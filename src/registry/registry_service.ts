import * as v from "valibot";
import { AuthError } from "../auth/mod.ts";
import {
  type Audit,
  type Context,
  implement,
  type Implementation,
  type MethodDeclaration,
  rpc,
  type RpcCode,
  RpcError,
  type Schema,
  type Service,
  service,
} from "../rpc/mod.ts";
import { type Feed, feedsOf } from "./feed.ts";
import type { Instance } from "./instance.ts";
import { MAX_RECORD, SERVICE_NAME } from "./record.ts";
import type { Registry } from "./registry.ts";
import { RegistryError, type RegistryReason } from "./registry_error.ts";
import { verifiedRegistry, type VerifiedRegistryOptions } from "./verified_registry.ts";

/** What changed in the records of a service. */
export interface RegistryChanges {
  /** What to ask with the next time. */
  cursor: string;
  /** Whether these are all records, and what was there before is to be forgotten. */
  reset: boolean;
  /** New records, each under a name of its own. */
  records: { name: string; record: string }[];
  /** The names whose records are gone. */
  gone: string[];
  /** Whether there is more to be had at once. */
  more: boolean;
}

/** The methods of {@linkcode RegistryService}. */
export type RegistryMethods = {
  /** Puts in a record of the caller's own, in place of an older one. */
  readonly register: MethodDeclaration<Schema<{ record: string }>, Schema<Record<never, never>>>;
  /** Takes out the instance that a record of the caller's own is of. */
  readonly deregister: MethodDeclaration<Schema<{ record: string }>, Schema<Record<never, never>>>;
  /** What changed in the records of a service since the cursor; waits for a change where there is none. */
  readonly resolve: MethodDeclaration<
    Schema<{ service: string; cursor?: string | undefined; waitMs?: number | undefined }>,
    Schema<RegistryChanges>
  >;
  /** The names of the services that have records. */
  readonly list: MethodDeclaration<Schema<Record<never, never>>, Schema<{ services: string[] }>>;
};

const OneRecord = /* @__PURE__ */ v.strictObject({ record: v.pipe(v.string(), v.maxLength(MAX_RECORD)) });

/** The contract of a registry that is called over the network. */
export const RegistryService: Service<RegistryMethods> = /* @__PURE__ */ service("postern.registry.v1", {
  register: rpc(OneRecord, v.object({}), { idempotent: true, summary: "Registers an instance of the caller's own" }),
  deregister: rpc(OneRecord, v.object({}), { idempotent: true, summary: "Takes out an instance of the caller's own" }),
  resolve: rpc(
    v.strictObject({
      service: v.pipe(v.string(), v.regex(SERVICE_NAME)),
      cursor: v.optional(v.pipe(v.string(), v.maxLength(64))),
      waitMs: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(20_000))),
    }),
    v.object({
      cursor: v.pipe(v.string(), v.maxLength(64)),
      reset: v.boolean(),
      records: v.array(
        v.object({ name: v.pipe(v.string(), v.maxLength(2_113)), record: v.pipe(v.string(), v.maxLength(MAX_RECORD)) }),
      ),
      gone: v.array(v.string()),
      more: v.boolean(),
    }),
    { safe: true, summary: "The records of a service, or what changed in them" },
  ),
  list: rpc(v.strictObject({}), v.object({ services: v.array(v.pipe(v.string(), v.regex(SERVICE_NAME))) }), {
    safe: true,
    summary: "The names of all services; the caller has to show a right for it",
  }),
});

/** How a registry is served. */
export interface RegistryServiceOptions extends VerifiedRegistryOptions {
  /** How many instances of one service one identity may register. @default {1_024} */
  readonly maxInstancesPerIdentity?: number;
}

/**
 * Serves a registry, whatever keeps its records.
 *
 * Whoever registers or takes out a record has to be the identity that the record names; readers have to prove who they
 * are; listing all services needs a capability beside that. The policy of the server says who of them may call at all.
 *
 * @example A registry that is called
 * ```ts
 * import { createServer } from "@postern/rpc";
 * import { allow, createAuthority, createTrust, generateKey, importIdentity, policy, protect } from "@postern/rpc/auth";
 * import { memoryRegistry, registryService } from "@postern/rpc/registry";
 *
 * const authority = await createAuthority("example.org");
 * const trust = await createTrust({ "example.org": authority.bundle() });
 * const key = await generateKey();
 * const id = "spiffe://example.org/registry";
 * const identity = importIdentity(key, await authority.issue(key.jwk, { id, serves: ["postern.registry.v1"] }));
 *
 * using registry = registryService(memoryRegistry(), { trust });
 * await using server = createServer(registry, {
 *   guard: protect({
 *     identity,
 *     trust,
 *     policy: policy([
 *       allow({ role: "service", call: ["postern.registry.v1/register", "postern.registry.v1/deregister"] }),
 *       allow({ role: ["service", "client"], call: "postern.registry.v1/resolve" }),
 *       allow({ capability: true, call: "postern.registry.v1/list" }),
 *     ]),
 *   }),
 * });
 * ```
 *
 * @param store What keeps the records.
 * @param options What is accepted.
 * @returns What `createServer` takes; disposing it ends what it follows in the store.
 */
export function registryService(store: Registry, options: RegistryServiceOptions): Implementation & Disposable {
  const desk: Desk = {
    store,
    verified: verifiedRegistry(store, options),
    audit: options.audit,
    now: options.now ?? Date.now,
    maxInstances: options.maxInstancesPerIdentity ?? 1_024,
    turns: new Map(),
    counted: new Map(),
  };
  const feeds = feedsOf(store, options.now ?? Date.now);
  const implementation = implement(RegistryService, {
    register: async ({ record }, context) => {
      await refusing(async () => {
        const instance = await own(desk, record, context);
        await inTurn(desk, instance.identity, async () => {
          await assertQuota(desk, instance);
          await store.register(record);
          remember(desk, instance);
        });
        note(desk, "record.register", instance);
      });
      return {};
    },
    deregister: async ({ record }, context) => {
      await refusing(async () => {
        const instance = await own(desk, record, context);
        const lease = await store.register(record);
        await lease[Symbol.asyncDispose]();
        desk.counted.delete(instance.name);
        note(desk, "record.deregister", instance);
      });
      return {};
    },
    resolve: async ({ service, cursor, waitMs = 0 }, context) => {
      assertKnown(context);
      const changes = await refusing(async () => {
        const feed: Feed = feeds.of(service);
        return await feed.since(cursor, Math.min(waitMs, context.remainingMs - MARGIN_MS), context.signal);
      });
      return changes;
    },
    list: async (_, context) => {
      assertKnown(context);
      if (!context.capability) throw new RpcError("permission_denied", "Cannot list services without a right to");
      return { services: [...await refusing(() => store.list({ signal: context.signal }))] };
    },
  });
  return { ...implementation, [Symbol.dispose]: () => feeds[Symbol.dispose]() };
}

interface Desk {
  readonly store: Registry;
  readonly verified: ReturnType<typeof verifiedRegistry>;
  readonly audit: Audit | undefined;
  readonly now: () => number;
  readonly maxInstances: number;
  /** The last registration of each identity that is under way. */
  readonly turns: Map<string, Promise<void>>;
  /** The instances that were let in, which are not counted again with each renewal, and until when they hold. */
  readonly counted: Map<string, { readonly services: string; readonly untilMs: number }>;
}

/** How much earlier than the caller's deadline an empty answer leaves, in milliseconds. */
const MARGIN_MS = 500;

function assertKnown({ caller }: Context): void {
  if (!caller) throw new RpcError("unauthenticated", "Cannot use the registry without an identity");
}

/** A record that holds, of the caller itself. */
async function own({ verified }: Desk, record: string, context: Context): Promise<Instance> {
  assertKnown(context);
  const instance = await verified.verify(record);
  if (instance.identity === context.caller?.id) return instance;
  throw new RpcError("permission_denied", "Cannot change the record: it is of another identity");
}

/** One after another for each identity: of two at once, both would find room. */
async function inTurn({ turns }: Desk, identity: string, run: () => Promise<void>): Promise<void> {
  const before = turns.get(identity);
  const turn = (before ?? Promise.resolve()).then(run, run);
  turns.set(identity, turn);
  try {
    await turn;
  } finally {
    if (turns.get(identity) === turn) turns.delete(identity);
  }
}

/** Who registers without end must not fill the registry for everybody. */
async function assertQuota(desk: Desk, { name, identity, services }: Instance): Promise<void> {
  const { verified, maxInstances, counted } = desk;
  const held = counted.get(name);
  if (held && held.services === namesOf(services) && held.untilMs > desk.now()) return;
  for (const service of Object.keys(services)) {
    const present = await verified.resolve(service);
    const others = present.filter((each) => each.identity === identity && each.name !== name);
    if (others.length < maxInstances) continue;
    throw new RpcError("resource_exhausted", "Cannot register the record: its identity has too many instances");
  }
}

function remember({ counted }: Desk, { name, services, expiresAtMs }: Instance): void {
  if (counted.size >= MAX_COUNTED) counted.clear();
  counted.set(name, { services: namesOf(services), untilMs: expiresAtMs });
}

/** An instance that serves more than it did is another one to the quota. */
const namesOf = (services: Instance["services"]) => Object.keys(services).sort().join(" ");

/** How many instances are not counted again. */
const MAX_COUNTED = 65_536;

function note({ audit }: Desk, event: string, { name, identity, services, draining, sequence }: Instance): void {
  const fields = { instance: name, services: Object.keys(services).join(" "), draining, sequence };
  audit?.record({ event, caller: identity, fields });
}

/** Turns what a registry refuses into what a caller is told. */
async function refusing<Value>(run: () => Promise<Value>): Promise<Value> {
  try {
    return await run();
  } catch (cause) {
    if (cause instanceof AuthError) {
      throw new RpcError("permission_denied", "Cannot accept the record: its identity is refused", { cause });
    }
    if (!(cause instanceof RegistryError)) throw cause;
    throw new RpcError(CODES[cause.reason] ?? "invalid_argument", cause.message, { cause });
  }
}

const CODES: Partial<Record<RegistryReason, RpcCode>> = {
  not_serving: "permission_denied",
  wrong_domain: "permission_denied",
  rollback: "failed_precondition",
  read_only: "unimplemented",
  refused: "permission_denied",
  too_many: "resource_exhausted",
  unreachable: "unavailable",
  insecure: "internal",
};
