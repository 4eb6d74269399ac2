// What the tests of fleets share: three instances, a clock, and a selector that notes what it may choose from.
import type { Instance } from "../../src/registry/mod.ts";
import { createFleet, type Fleet, type FleetOptions, type Member } from "../../src/selector/fleet.ts";
import type { Verdict } from "../../src/selector/health.ts";
import type { Pool } from "../../src/selector/mod.ts";
import { clock } from "../auth/_world.ts";
import { callOf, instanceOf } from "./_pool.ts";

export const SHOP = "spiffe://example.org/shop";
export const call = callOf();
/** An instance of one identity. */
export const of = (id: string, about: Partial<Instance> = {}) => instanceOf(SHOP, id, about);
export const three = ["a", "b", "c"].map((id) => of(id));

/** A fleet. */
export function rig(options: Partial<FleetOptions> = {}) {
  const now = clock(0);
  const connected: Instance[] = [];
  const pools: Pool[] = [];
  const fleet = createFleet({
    selector(pool) {
      pools.push(pool);
      return () => pool.candidates[0]!;
    },
    accepts: () => true,
    connect(instance) {
      connected.push(instance);
      return ({ message }) => Promise.resolve({ message });
    },
    panicShare: 0.5,
    now,
    ...options,
  });
  const ids = (candidates: Pool["candidates"]) => candidates.map(({ instance }) => instance.id);
  return {
    now,
    fleet,
    connected,
    pools,
    /** The members among which the next call chooses, and those that are kept out. */
    seen(tried: readonly Member[] = []) {
      fleet.choose(call, new Set(tried));
      const { candidates, ejected } = pools.at(-1)!;
      return [ids(candidates).join(""), ids(ejected).join("")];
    },
    choose: (...tried: readonly Member[]) => fleet.choose(call, new Set(tried)),
    /** The member of this id. */
    member(id: string) {
      fleet.choose(call, new Set());
      const { candidates, ejected } = pools.at(-1)!;
      return [...candidates, ...ejected].find(({ instance }) => instance.id === id) as Member;
    },
  };
}

/** How a call ended. */
export const ended = (verdict: Verdict, tookMs = 1) => ({ verdict, tookMs, isProbe: false });
/** How a probe ended. */
export const probed = (verdict: Verdict) => ({ verdict, tookMs: 1, isProbe: true });
export const eject = (fleet: Fleet, ...members: readonly Member[]) =>
  members.forEach((member) => fleet.observe(member, ended("down")));
