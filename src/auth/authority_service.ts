import * as v from "valibot";
import {
  createClient,
  implement,
  type Implementation,
  type MethodDeclaration,
  rpc,
  RpcError,
  type Schema,
  type Service,
  service,
  type Transport,
} from "../rpc/mod.ts";
import { AuthError } from "./auth_error.ts";
import type { Authority } from "./authority.ts";
import type { Enroller } from "./identity.ts";
import { MAX_REQUEST } from "./enrollment.ts";

/** The methods of {@linkcode AuthorityService}. */
export type AuthorityMethods = {
  /** Issues an identity token. */
  readonly enroll: MethodDeclaration<Schema<{ request: string }>, Schema<{ token: string }>>;
  /** Gives the trust bundle. */
  readonly bundle: MethodDeclaration<Schema<Record<never, never>>, Schema<{ bundle: string }>>;
};

/**
 * The contract of an authority that is called over the network.
 *
 * Both methods are for anyone: a workload that asks for its first identity has none to prove, and what it shows is judged
 * by the attestors; the bundle is public and proves itself.
 */
export const AuthorityService: Service<AuthorityMethods> = /* @__PURE__ */ service("postern.authority.v1", {
  enroll: rpc(
    v.strictObject({ request: v.pipe(v.string(), v.maxLength(MAX_REQUEST)) }),
    v.object({ token: v.string() }),
    { summary: "Issues an identity token to a workload that is attested" },
  ),
  bundle: rpc(v.strictObject({}), v.object({ bundle: v.string() }), {
    safe: true,
    summary: "The trust domain's bundle, signed for those who trust an earlier one",
  }),
});

/**
 * Serves an authority.
 *
 * @example An authority that is called
 * ```ts
 * import { createServer, publicOnly } from "@postern/rpc";
 * import { authorityService, createAuthority, joinTokens } from "@postern/rpc/auth";
 *
 * const authority = await createAuthority("example.org", { attestors: [joinTokens()] });
 * const server = createServer(authorityService(authority), {
 *   guard: publicOnly(["postern.authority.v1/enroll", "postern.authority.v1/bundle"]),
 * });
 * ```
 *
 * @param authority The authority.
 * @returns What `createServer` takes.
 */
export function authorityService(authority: Authority): Implementation {
  return implement(AuthorityService, {
    async enroll({ request }) {
      try {
        return { token: await authority.enroll(request) };
      } catch (cause) {
        if (!(cause instanceof AuthError)) throw cause;
        throw new RpcError("permission_denied", "Cannot issue an identity", { cause }); // which check failed is in the log
      }
    },
    bundle: async () => ({ bundle: await authority.signedBundle() }),
  });
}

/** An authority that is called. */
export interface RemoteAuthority extends Enroller {
  /**
   * Fetches the trust bundle, signed; it proves itself to who trusts an earlier one.
   *
   * @returns What `Trust.update` takes.
   */
  signedBundle(): Promise<string>;
}

/**
 * Calls an authority over the network.
 *
 * @param trustDomain The trust domain that it speaks for.
 * @param transport How it is reached; a `fetchTransport` with the prover `anonymous()`, because who asks for its first
 * identity has none.
 * @returns The authority, for `generateIdentity` and `followTrust`.
 */
export function remoteAuthority(trustDomain: string, transport: Transport): RemoteAuthority {
  const authority = createClient(AuthorityService, transport);
  return {
    trustDomain,
    enroll: async (request) => (await authority.enroll({ request })).token,
    signedBundle: async () => (await authority.bundle({})).bundle,
  };
}
