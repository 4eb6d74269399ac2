// A trust domain with a neighbour that is trusted too, and chains that begin in it.
import { verifyChain } from "../../src/auth/capability_chain.ts";
import { createAuthority, createTrust, generateKey, importIdentity, type Trust } from "../../src/auth/mod.ts";
import { byId, chainOf, type Claims, details, root, termsOf, witOf } from "./_forge.ts";
import { clock, DOMAIN, ECHO, WEB } from "./_world.ts";

export const OTHER = "other.test";
export const now = clock();
export const keys = { wit: await generateKey(), capability: await generateKey() };
export const authority = await createAuthority(DOMAIN, { now, keys: [keys] });
export const foreign = await createAuthority(OTHER, { now });
export const trust = await createTrust({ [DOMAIN]: authority.bundle(), [OTHER]: foreign.bundle() }, { now });
export const join = async (id: string, serves: readonly string[] = [], by = authority) => {
  const key = await generateKey();
  return importIdentity(key, await by.issue(key.jwk, { id, serves }), { now });
};
export const here = { now, authority, trust, join: (id: string) => join(id) };
export const terms = termsOf(here);
export const verify = (...tokens: readonly string[]) => verifyChain(chainOf(...tokens), terms);

export const [web, echo] = [await join(WEB), await join(ECHO, ["echo.v1"])];
export const [webWit, echoWit] = [await witOf(web), await witOf(echo)];
export const first = await root(here, byId(WEB));
export const seconds = now() / 1_000;

/** Claims that say what a token allows. */
export const wider = (tools: unknown): Claims => ({ authorization_details: details(tools) });
export const range = (min: number, max: number) => ({ constraint_type: "range", min, max });

/** A trust that counts what it is asked. */
export function watched(inner: Trust) {
  let asked = 0;
  const count =
    <Args extends unknown[], Result>(f: (...args: Args) => Result) => (...args: Args) => (asked++, f(...args));
  const trust: Trust = {
    trustDomains: inner.trustDomains,
    get revision() {
      return inner.revision;
    },
    verify: count(inner.verify),
    authorityKey: count(inner.authorityKey),
    assertNotRevoked: count(inner.assertNotRevoked),
    update: (signed) => inner.update(signed),
  };
  return { trust, asked: () => asked };
}
