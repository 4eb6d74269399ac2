import { pause } from "../internal/pause.ts";
import { createClient, RpcError, type Transport } from "../rpc/mod.ts";
import { leaseOf } from "./lease.ts";
import type { Registry, RegistryReadOptions } from "./registry.ts";
import { RegistryError, type RegistryReason } from "./registry_error.ts";
import { type RegistryChanges, RegistryService } from "./registry_service.ts";

/**
 * Calls a registry that is served elsewhere.
 *
 * What is read again is only what changed since.
 *
 * @example A registry over the network
 * ```ts ignore
 * const registry = remoteRegistry(
 *   fetchTransport("https://registry.example.org", { prover: prove({ identity, trust, peer: REGISTRY }) }),
 * );
 * ```
 *
 * @param transport How it is reached; the service takes only callers that prove who they are.
 * @returns The registry.
 */
export function remoteRegistry(transport: Transport): Registry {
  const client = createClient(RegistryService, transport, { timeoutMs: 10_000 });
  const views = new Map<string, View>();
  const changes = (service: string, cursor: string | undefined, waitMs: number, { signal }: RegistryReadOptions) =>
    reaching(() =>
      client.resolve({ service, waitMs, ...cursor === undefined ? {} : { cursor } }, {
        timeoutMs: waitMs + 10_000,
        ...signal ? { signal } : {},
      })
    );
  return {
    properties: { encrypted: true, accessControlled: true },
    async register(record) {
      await reaching(() => client.register({ record }));
      return leaseOf(async () => {
        await reaching(() => client.deregister({ record })).catch((error: RegistryError) => {
          if (error.reason !== "rollback") throw error; // another lease counts by now
        });
      });
    },
    async resolve(service, options = {}) {
      // Each in a copy of its own: of two at once, one would take a part of the answer for all of it; and none waits for
      // another, which a platform may have stopped together with the request that began it.
      const { cursor, records } = views.get(service) ?? emptyView();
      const view = { cursor, records: new Map(records) };
      try {
        await follow(view, (cursor) => changes(service, cursor, 0, options));
        views.set(service, view);
      } catch (error) {
        if ((error as RegistryError).reason === "too_many") views.delete(service); // next time from the beginning
        throw error;
      }
      return [...view.records.values()];
    },
    async *watch(service, options = {}) {
      const view = emptyView();
      let waitMs = 0;
      while (!options.signal?.aborted) {
        const askedAtMs = performance.now();
        try {
          const isChanged = await follow(view, (cursor) => changes(service, cursor, waitMs, options));
          if (isChanged || waitMs === 0) yield [...view.records.values()];
        } catch (error) {
          if (options.signal?.aborted) return;
          throw error;
        }
        waitMs = WAIT_MS;
        // A service that answers at once, with nothing or with noise, must not keep its client busy.
        await pause(askedAtMs + SHORTEST_MS - performance.now(), options.signal);
      }
    },
    list: async (options = {}) =>
      (await reaching(() => client.list({}, options.signal ? { signal: options.signal } : {}))).services,
  };
}

/** What is known of the records of one service. */
interface View {
  cursor: string | undefined;
  records: Map<string, string>;
}

const emptyView = (): View => ({ cursor: undefined, records: new Map() });

/** Takes over what changed, all pages of it; returns whether anything did. */
async function follow(view: View, ask: (cursor: string | undefined) => Promise<RegistryChanges>): Promise<boolean> {
  let isChanged = false;
  for (let page = 0; page < MAX_PAGES; page++) {
    const { cursor, reset, records, gone, more } = await ask(view.cursor);
    if (reset) view.records = new Map();
    for (const name of gone) view.records.delete(name);
    for (const { name, record } of records) view.records.set(name, record);
    if (view.records.size > MAX_RECORDS) {
      throw new RegistryError("too_many", "Cannot read the service: the registry gives too many records");
    }
    view.cursor = cursor;
    isChanged ||= reset || records.length > 0 || gone.length > 0;
    if (!more) return isChanged;
  }
  throw new RegistryError("too_many", "Cannot read the service: the registry's answer does not end");
}

/** Turns a call that failed into what a registry throws. */
async function reaching<Value>(run: () => Promise<Value>): Promise<Value> {
  try {
    return await run();
  } catch (cause) {
    if (!(cause instanceof RpcError)) throw cause;
    const reason: RegistryReason = REASONS[cause.code] ?? "unreachable";
    throw new RegistryError(reason, cause.message, { cause });
  }
}

const REASONS: Partial<Record<RpcError["code"], RegistryReason>> = {
  invalid_argument: "malformed_record",
  failed_precondition: "rollback",
  permission_denied: "refused",
  unauthenticated: "refused",
  resource_exhausted: "too_many",
  unimplemented: "read_only",
};

/** How long one asking takes at least, in milliseconds. */
const SHORTEST_MS = 250;
/** How long the registry may wait for a change before it answers, in milliseconds. */
const WAIT_MS = 20_000;
/** How many records of one service are taken. */
const MAX_RECORDS = 16_384;
/** As many as that many records fill, and again as many. */
const MAX_PAGES = 512;
