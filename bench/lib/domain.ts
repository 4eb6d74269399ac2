// A trust domain whose members are different processes: keys as texts, because a bench hands them around.
import { createAuthority, createTrust, importIdentity, importKey, secret } from "@postern/rpc/auth";
import type { Identity, Trust, TrustBundle } from "@postern/rpc/auth";

export const GREETER = "spiffe://bench.example/greeter";
export const WEB = "spiffe://bench.example/web";

/** One member, as another process gets it. */
export interface Member {
  readonly bundle: TrustBundle;
  readonly key: string;
  readonly token: string;
}

/** Makes an authority, and of it a server and a client. */
export async function makeDomain(): Promise<{ readonly server: Member; readonly client: Member }> {
  const authority = await createAuthority("bench.example");
  const join = async (id: string, serves: readonly string[]): Promise<Member> => {
    const key = await exportedKey();
    const { jwk } = await importKey(secret(key));
    return { bundle: authority.bundle(), key, token: await authority.issue(jwk, { id, serves }) };
  };
  return { server: await join(GREETER, ["greeter.v1", "ticker.v1"]), client: await join(WEB, []) };
}

/** What a member is in its own process; without a cache every token is verified with every message. */
export async function memberOf(
  { bundle, key, token }: Member,
  maxCachedTokens?: number,
): Promise<{ readonly identity: Identity; readonly trust: Trust }> {
  const trust = await createTrust(
    { "bench.example": bundle },
    maxCachedTokens === undefined ? {} : { maxCachedTokens },
  );
  return { identity: importIdentity(await importKey(secret(key)), token), trust };
}

async function exportedKey(): Promise<string> {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  return JSON.stringify(await crypto.subtle.exportKey("jwk", pair.privateKey));
}
