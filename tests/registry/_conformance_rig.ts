// What the conformance tests work with: a registry, and identities that sign records.
import assert from "node:assert/strict";
import type { Identity } from "../../src/auth/mod.ts";
import { type Registry, signRecord } from "../../src/registry/mod.ts";
import { type Clock, DOMAIN, type World, world } from "../auth/_world.ts";

/** A registry to test, with nothing in it. */
export interface RegistryUnderTest extends AsyncDisposable {
  /** As the identity `ORDERS` uses it. */
  readonly registry: Registry;
  /** As another identity uses it, for a registry that tells its callers apart. @default {registry} */
  as?(identity: Identity): Registry;
}

/** Makes a registry for a test: `orders` is who uses it. */
export type MakeRegistry = (world: World, orders: Identity) => Promise<RegistryUnderTest>;

/** Who registers. */
export const ORDERS = `spiffe://${DOMAIN}/orders`;
/** Services that a registry could take for one another. */
export const SERVES = ["a", "a.v1", "a.v1.x", "a.v1x", "a.V1", "b.v1"];
/** The service that most tests are about. */
export const A = "a.v1";

/** The clock of the machine, for a registry whose server goes by it. */
export const realClock: Clock = Object.assign(() => Date.now(), {
  pass: () => assert.fail("Nobody moves the machine's clock"),
});

interface Signing {
  readonly identity?: Identity;
  readonly instance?: string;
  readonly sequence?: number;
  readonly services?: readonly string[];
  readonly weight?: number;
  readonly lifetimeMs?: number;
}

/** What a test works with. */
export interface Rig extends AsyncDisposable {
  readonly registry: Registry;
  readonly now: Clock;
  as(identity: Identity): Registry;
  join(id: string, serves?: readonly string[]): Promise<Identity>;
  /** A record of `orders#one` with the sequence 1 for the service `a.v1`, where nothing else is said. */
  sign(signing?: Signing): Promise<string>;
}

/** Makes a registry, and the world around it. */
export async function conformanceRig(make: MakeRegistry, clock?: Clock): Promise<Rig> {
  const here = clock ? await world(DOMAIN, clock) : await world();
  const join = (id: string, serves = SERVES as readonly string[]) => here.join(id, { serves: [...serves] });
  const orders = await join(ORDERS);
  const made = await make(here, orders);
  return {
    registry: made.registry,
    now: here.now,
    as: (identity) => made.as?.(identity) ?? made.registry,
    join,
    sign(
      { identity = orders, instance = "one", sequence = 1, services = [A], weight = 100, lifetimeMs = 60_000 } = {},
    ) {
      return signRecord(identity, {
        services: Object.fromEntries(services.map((service) => [service, ""])),
        endpoints: [`https://orders.${DOMAIN}`],
        instance,
        weight,
      }, { sequence, lifetimeMs, nowMs: here.now() });
    },
    [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
  };
}
