/**
 * Which instance a call goes to: selectors, filters, and the transport that finds an instance for each call and learns how
 * it is doing.
 *
 * @example A transport for all services of a mesh
 * ```ts ignore
 * import { createClient } from "@postern/rpc";
 * import { balancedTransport, leastLoaded, sameRegionFirst } from "@postern/rpc/selector";
 *
 * const transport = balancedTransport(registry, {
 *   identity,
 *   trust,
 *   selector: sameRegionFirst(leastLoaded(), { region: "eu-west" }),
 * });
 * const orders = createClient(Orders, transport);
 * const payments = createClient(Payments, transport);
 * ```
 *
 * @module
 */
export { type BalancedTransport, balancedTransport, type BalancedTransportOptions } from "./balanced_transport.ts";
export { inRegion, type InstanceFilter, inVersions, type VersionRange } from "./filters.ts";
export { leastLoaded } from "./least_loaded.ts";
export { type Chooser, perIdentity, type Weighted } from "./per_identity.ts";
export { type ChanceOptions, random } from "./random.ts";
export { rendezvous, type RendezvousOptions } from "./rendezvous.ts";
export { roundRobin } from "./round_robin.ts";
export { sameRegionFirst, type SameRegionOptions } from "./same_region_first.ts";
export type { Candidate, Pick, Pool, Selector } from "./selector.ts";
export { type Random, secureRandom } from "../internal/random.ts";
