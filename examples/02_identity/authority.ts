// The authority: it says who is who. Here it is in the same process as everybody else, which saves this step a server.
import { createAuthority, createTrust, generateIdentity, type Identity, joinTokens } from "@postern/rpc/auth";

/** Who may become whom: a token each, good once. */
export const tokens = joinTokens();

export const authority = await createAuthority("example.org", { attestors: [tokens] });

/** Whom everybody here believes. */
export const trust = await createTrust({ "example.org": authority.bundle() });

/** Makes a key that stays here, and shows a token that is good once to get an identity for it. */
export async function join(id: string, serves: readonly string[] = []): Promise<Identity> {
  const token = tokens.create({ id, serves });
  return await generateIdentity(authority, { evidence: { type: "join_token", token } });
}
