import {
  attenuate,
  type Attested,
  type Capability,
  createAuthority,
  createTrust,
  generateKey,
  type Identity,
  importIdentity,
  issueCapability,
  range,
  type Trust,
} from "@postern/rpc/auth";
import { GATEWAY, ORDERS, PAYMENTS } from "../03_chain/contracts.ts";

/** The trust domain example.org, with an authority in this process. */
export interface Domain {
  readonly trust: Trust;
  /** Makes a key and an identity for it, issued now unless asked otherwise. */
  join(workload: Attested, issued?: { readonly agoMs: number }): Promise<Identity>;
  /** The right of the gateway to charge, up to 500.00. */
  readonly right: Capability;
}

export async function createDomain(): Promise<Domain> {
  const keys = [{ wit: await generateKey(), capability: await generateKey() }];
  const authority = await createAuthority("example.org", { keys });
  const right = await issueCapability(authority, {
    holder: GATEWAY,
    tools: { "payments.v1/charge": { cents: range({ min: 1, max: 50_000 }) } },
  });
  return {
    trust: await createTrust({ "example.org": authority.bundle() }),
    right,
    async join(workload, { agoMs } = { agoMs: 0 }) {
      const now = () => Date.now() - agoMs;
      const key = await generateKey();
      const issuer = await createAuthority("example.org", { keys, now });
      return importIdentity(key, await issuer.issue(key.jwk, workload), { now });
    },
  };
}

/** What the gateway hands on to orders of its right: small charges, at payments only. */
export function handOn(right: Capability, gateway: Identity): Promise<Capability> {
  const tools = { "payments.v1/charge": { cents: range({ min: 1, max: 900 }) } };
  return attenuate(right, gateway, { holder: ORDERS, tools, audience: PAYMENTS });
}
