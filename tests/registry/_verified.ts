// What the tests of verified registries share.
import type { Trust } from "../../src/auth/mod.ts";
import type { Instance } from "../../src/registry/mod.ts";
import type { Changes, Rig } from "./_rig.ts";

/** Trust that counts how often an identity token was looked at: once for each record that is verified. */
export function counted(trust: Trust): Trust & { readonly count: () => number } {
  let count = 0;
  return {
    trustDomains: trust.trustDomains,
    get revision() {
      return trust.revision;
    },
    verify: (token) => (count++, trust.verify(token)),
    authorityKey: trust.authorityKey,
    assertNotRevoked: trust.assertNotRevoked,
    update: trust.update,
    count: () => count,
  };
}

export const sequencesOf = (instances: readonly Instance[]) =>
  instances.map(({ id, sequence }) => `${id}:${sequence}`).sort();

/** Records of some instances of `orders.v1`. */
export const several = ({ orders, recordOf }: Rig, count: number, changes: Changes = {}) =>
  Promise.all(Array.from({ length: count }, (_, i) => recordOf(orders, { instance: `i${i}`, ...changes })));

/** As many forged records: real ones with another's signature. */
export async function forged({ orders, recordOf }: Rig, count: number): Promise<string[]> {
  const record = await recordOf(orders);
  const start = record.slice(0, record.lastIndexOf(".") + 1);
  return Array.from({ length: count }, (_, i) => start + `${i}`.padStart(85, "A") + "A");
}

export async function revoke(
  { authority, trust }: Rig,
  what: Parameters<Rig["authority"]["revoke"]>[0],
): Promise<void> {
  authority.revoke(what);
  await trust.update(await authority.signedBundle());
}
