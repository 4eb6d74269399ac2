// What the tests of `announce` share: a registry that notes what is done to it, and timers that are held.
import {
  announce,
  type AnnounceOptions,
  readRecord,
  type RecordClaims,
  type Registry,
  RegistryError,
} from "../../src/registry/mod.ts";
import { rpc, service } from "../../src/rpc/mod.ts";
import * as v from "valibot";
import { ENDPOINT, giving, type HeldTimers, heldTimers, rig, SERVICE } from "./_rig.ts";

export const Orders = service(SERVICE, { list: rpc(v.strictObject({}), v.object({})) });
export const Payments = service("payments.v1", { list: rpc(v.strictObject({}), v.object({})) });

/** A registry that notes what is done to it, and fails as long as a test wants. */
export function noting() {
  const done: string[] = [];
  const claims: RecordClaims[] = [];
  const records: string[] = [];
  const script = {
    fails: false,
    withdrawalFails: false,
    withdrawalHangs: false,
    hold: undefined as Promise<void> | undefined,
  };
  const registry: Registry = {
    ...giving([]),
    async register(record) {
      const read = readRecord(record).claims;
      await script.hold;
      if (script.fails) {
        done.push("failed");
        throw new RegistryError("unreachable", "Cannot reach it");
      }
      records.push(record);
      claims.push(read);
      done.push(`${read.seq}${read.draining ? " draining" : ""}`);
      return {
        [Symbol.asyncDispose]() {
          done.push(`withdrawn ${read.seq}`);
          if (script.withdrawalHangs) return new Promise(() => {});
          return script.withdrawalFails
            ? Promise.reject(new RegistryError("unreachable", "Cannot"))
            : Promise.resolve();
        },
      };
    },
  };
  return { registry, done, claims, records, script };
}

export const server = (draining = false) => ({ services: [Orders], draining });

export async function stage(changes: Partial<AnnounceOptions> = {}) {
  const world = await rig();
  const store = noting();
  const errors: unknown[] = [];
  const own = server();
  const timers = heldTimers();
  const options: AnnounceOptions = {
    registry: store.registry,
    identity: world.orders,
    endpoints: [ENDPOINT],
    now: world.now,
    onError: (error) => void errors.push(error),
    ...changes,
  };
  return { ...world, ...store, errors, timers, server: own, start: () => announce(own, options) };
}

/** Disposes while the timers are held: the time to settle is let pass. */
export async function endOf(announcement: AsyncDisposable, timers: HeldTimers, settleMs = 5_000): Promise<void> {
  const ended = announcement[Symbol.asyncDispose]();
  await timers.settle();
  if (timers.waits().includes(settleMs)) timers.fire(settleMs);
  await ended;
}
