/** A trust domain whose members are other processes, which get their keys as texts. */
import {
  type Attested,
  type Authority,
  type AuthorityKeys,
  createAuthority,
  generateKey,
  importKey,
  secret,
} from "../../src/auth/mod.ts";
import type { Member } from "./programs/protected_app.ts";

/** The trust domain's name. */
export const DOMAIN = "example.org";
/** Who may call the protected servers. */
export const CLIENTS = `spiffe://${DOMAIN}/client/*`;

/** A trust domain. */
export interface Domain {
  /** Its authority. */
  readonly authority: Authority;
  /** The authority's keys, for tokens that it would not issue. */
  readonly keys: AuthorityKeys;
  /** Makes a key that can leave, and a token for it. */
  join(workload: Attested): Promise<Member>;
  /** The same for a server of `guarded.v1`. */
  joinServer(name: string): Promise<Member & { readonly id: string }>;
}

/** Sets up the authority. */
export async function createDomain(): Promise<Domain> {
  const keys = { wit: await generateKey(), capability: await generateKey() };
  const authority = await createAuthority(DOMAIN, { keys: [keys] });
  const join = async (workload: Attested) => {
    const key = await exportedKey();
    const { jwk } = await importKey(secret(key));
    return { trustDomain: DOMAIN, bundle: authority.bundle(), key, token: await authority.issue(jwk, workload) };
  };
  return {
    authority,
    keys,
    join,
    async joinServer(name) {
      const id = `spiffe://${DOMAIN}/server/${name}`;
      return { id, ...await join({ id, serves: ["guarded.v1"] }) };
    },
  };
}

async function exportedKey(): Promise<string> {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  return JSON.stringify(await crypto.subtle.exportKey("jwk", pair.privateKey));
}
