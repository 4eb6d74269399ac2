import { type Random, secureRandom } from "../internal/random.ts";
import type { Candidate, Pool, Selector } from "./selector.ts";

/** How much stays in a region. */
export interface SameRegionOptions {
  /** The region of the caller. */
  readonly region: string;
  /** The source of chance. @default {the runtime's cryptographic one} */
  readonly random?: Random;
}

/**
 * Prefers the instances of the caller's region.
 *
 * As long as at least five in seven of these are well, all calls stay; as fewer are, calls spill over to other regions in
 * proportion, so that the ones that are left do not fall too. An instance says itself where it is, unless its authority
 * gave its identity an attribute `region`.
 *
 * @example Stay in the region
 * ```ts
 * import { leastLoaded, sameRegionFirst } from "@postern/rpc/selector";
 *
 * const selector = sameRegionFirst(leastLoaded(), { region: "eu-west" });
 * ```
 *
 * @param selector What chooses within the region, and among the others.
 * @param options The region.
 * @returns The selector.
 * @see {@link https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority}
 */
export function sameRegionFirst(selector: Selector, options: SameRegionOptions): Selector {
  const { region, random = secureRandom() } = options;
  const isNear = ({ instance }: Candidate) => instance.region === region;
  const part = ({ candidates, ejected }: Pool, near: boolean): Pool => ({
    candidates: candidates.filter((each) => isNear(each) === near),
    ejected: ejected.filter((each) => isNear(each) === near),
  });
  return (pool) => {
    const near = part(pool, true);
    const far = part(pool, false);
    if (near.candidates.length === 0 || far.candidates.length === 0) return selector(pool);
    const nearby = selector(near);
    const well = near.candidates.length / (near.candidates.length + near.ejected.length);
    const stays = Math.round(Math.min(1, OVERPROVISIONING * well) * PARTS);
    if (stays === PARTS) return nearby;
    const away = selector(far);
    return (call) => random.below(PARTS) < stays ? nearby(call) : away(call);
  };
}

/** How much more than its usual load an instance is expected to bear; Envoy's default. */
const OVERPROVISIONING = 1.4;
const PARTS = 1_000;
