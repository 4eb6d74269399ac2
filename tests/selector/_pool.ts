// What the tests of selectors share: candidates without a registry, and a contract to call.
import { type Call, rpc, service } from "../../src/rpc/mod.ts";
import type { Instance } from "../../src/registry/mod.ts";
import type { Candidate, Pool } from "../../src/selector/mod.ts";
import * as v from "valibot";

const Item = v.strictObject({ item: v.string() });

/** One method of each kind. */
export const Shop = service("shop.v1", {
  look: rpc(Item, Item, { safe: true }),
  put: rpc(Item, Item, { idempotent: true }),
  buy: rpc(Item, Item),
});

/** A call as a client makes it. */
export function callOf(method: keyof typeof Shop.methods = "look", item = "book", more: Partial<Call> = {}): Call {
  return { method: Shop.methods[method], message: { item }, timeoutMs: 30_000, ...more };
}

/** A candidate whose load a test sets. */
export interface Held extends Candidate {
  inFlight: number;
}

/** What is said of an instance beyond its name. */
export interface About extends Partial<Instance> {
  readonly inFlight?: number;
}

/** An instance, as verified. */
export function instanceOf(identity: string, id: string, about: Partial<Instance> = {}): Instance {
  return {
    name: `${identity}#${id}`,
    identity,
    id,
    services: { "shop.v1": "" },
    endpoints: [`https://${id}.example.org`],
    audience: identity,
    version: "1.0.0",
    toolkit: "postern/0.1.0",
    region: undefined,
    weight: 100,
    draining: false,
    encryptionKey: undefined,
    signer: undefined,
    sequence: 1,
    expiresAtMs: Infinity,
    ...about,
  };
}

export function candidate(identity: string, id: string, { inFlight = 0, ...about }: About = {}): Held {
  return { instance: instanceOf(identity, id, about), inFlight };
}

/** Instances of one identity. */
export const several = (count: number, identity = "spiffe://example.org/shop", about: About = {}): Held[] =>
  Array.from({ length: count }, (_, i) => candidate(identity, `i${i}`, about));

/** Identities of one instance each. */
export const identities = (count: number, about: About = {}, prefix = "shop"): Held[] =>
  Array.from({ length: count }, (_, i) => candidate(`spiffe://example.org/${prefix}-${i}`, "i0", about));

export const pool = (candidates: readonly Candidate[], ejected: readonly Candidate[] = []): Pool => ({
  candidates,
  ejected,
});
