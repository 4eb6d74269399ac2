import { type Identity, readChain, secret } from "@postern/rpc/auth";
import { ORDERS } from "../03_chain/contracts.ts";
import { type Attack, chargeWith, refusals } from "./attack.ts";
import { resend } from "./proxy.ts";
import type { Holder, Site } from "./site.ts";

/** Everything that orders sent can be read at the proxy: its identity token and the right to charge. */
export const stolenToken: Attack = {
  what: "Stolen token: another key signs, with the identity token and the right that were read at the proxy",
  async attempt(site) {
    const { headers } = site.proxy.last();
    const read = (name: string) => secret(headers.find(([each]) => each === name)![1].replace("AAT ", ""));
    const token = read("workload-identity-token");
    const thief = await site.domain.join({ id: "spiffe://example.org/thief" });
    const identity: Identity = { ...thief, credential: () => ({ token, expiresAtMs: Infinity }) };
    return await refusals(chargeWith({ identity, right: readChain(read("authorization")) }, site));
  },
  code: "unauthenticated",
  recorded: ["payments call.refuse bad_signature"],
  honest: async (site) => [await chargeWith(site.orders, site)],
};

export const replay: Attack = {
  what: "Replay: a request that was accepted is sent again, byte for byte",
  async attempt({ proxy, fetch, paymentsUrl }) {
    const captured = proxy.last();
    const response = await resend(fetch, paymentsUrl + captured.path, captured);
    if (response.ok) throw new Error("This call must not succeed");
    return [await response.json()];
  },
  code: "unauthenticated",
  recorded: ["payments call.refuse replayed"],
  honest: async ({ charge }) => [await charge(100)],
};

/** All of it is genuine, and was good for an hour. */
export const expired: Attack = {
  what: "Expired identity: a key and a token of orders from a backup, two hours old",
  attempt: async (site) => await refusals(chargeWith(await ordersSince(site, 2 * HOUR_MS), site)),
  code: "unauthenticated",
  recorded: ["payments call.refuse expired_token"],
  honest: async (site) => [await chargeWith(await ordersSince(site, 0), site)],
};

/** Orders with an identity that it was given some time ago. */
async function ordersSince({ domain, orders: { right } }: Site, agoMs: number): Promise<Holder> {
  return { identity: await domain.join({ id: ORDERS, serves: ["orders.v1"] }, { agoMs }), right };
}

const HOUR_MS = 3_600_000;
