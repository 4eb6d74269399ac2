import { attenuate, type Capability, type Identity, readChain, secret } from "@postern/rpc/auth";
import { ORDERS } from "../03_chain/contracts.ts";
import { type Attack, chargeWith, refusals } from "./attack.ts";

/** Orders itself is the attacker: its identity and its key are its own, only the right says less than it wants. */
export const widenedCapability: Attack = {
  what: "Widened capability: orders may charge up to 900 cents, and signs itself a right for 90000",
  async attempt(site) {
    const { identity, right } = site.orders;
    return await refusals(chargeWith({ identity, right: await widen(right, identity) }, site, 90_000));
  },
  code: "permission_denied",
  recorded: ["payments call.refuse wider_right"],
  honest: async (site) => [await chargeWith(site.orders, site, 900)],
};

/** `attenuate` refuses to sign such a thing, so its work is changed and signed again. */
async function widen(right: Capability, holder: Identity): Promise<Capability> {
  const same = await attenuate(right, holder, { holder: ORDERS, tools: right.tools });
  const [header, claims] = same.chain.reveal().split("~").at(-1)!.split(".") as [string, string];
  const wider = atob(claims.replaceAll("-", "+").replaceAll("_", "/")).replace('"max":900', '"max":90000');
  const input = `${header}.${base64Url(new TextEncoder().encode(wider))}`;
  const signature = await holder.sign(new TextEncoder().encode(input));
  const others = same.chain.reveal().split("~").slice(0, -1);
  return readChain(secret([...others, `${input}.${base64Url(signature)}`].join("~")));
}

const base64Url = (bytes: Uint8Array) => bytes.toBase64({ alphabet: "base64url", omitPadding: true });
