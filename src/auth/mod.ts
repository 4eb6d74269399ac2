/**
 * Who calls, and may they: identities, authorities, proofs, capabilities and policies.
 *
 * @example A protected server and a client that proves itself, in one process
 * ```ts
 * import { createClient, createServer, fetchTransport, implement, rpc, service } from "@postern/rpc";
 * import { allow, createAuthority, createTrust, generateIdentity, joinTokens, policy, protect, prove } from "@postern/rpc/auth";
 * import * as v from "valibot";
 *
 * const Greeter = service("greeter.v1", {
 *   hello: rpc(v.strictObject({ name: v.string() }), v.object({ text: v.string() })),
 * });
 *
 * const tokens = joinTokens();
 * const authority = await createAuthority("example.org", { attestors: [tokens] });
 * const trust = await createTrust({ "example.org": authority.bundle() });
 * const join = async (id: string, serves: readonly string[] = []) =>
 *   await generateIdentity(authority, {
 *     evidence: { type: "join_token", token: tokens.create({ id, serves }) },
 *   });
 *
 * await using server = createServer(implement(Greeter, { hello: (m, { caller }) => ({ text: `${caller?.id} says ${m.name}` }) }), {
 *   guard: protect({
 *     identity: await join("spiffe://example.org/greeter", ["greeter.v1"]),
 *     trust,
 *     policy: policy([allow({ caller: "spiffe://example.org/web", call: "greeter.v1/hello" })]),
 *   }),
 * });
 *
 * const prover = prove({ identity: await join("spiffe://example.org/web"), trust, peer: "spiffe://example.org/greeter" });
 * const fetch = (url: string, init: RequestInit) => server.fetch(new Request(url, init));
 * const greeter = createClient(Greeter, fetchTransport("https://greeter.example.org", { prover, fetch }));
 * const { text } = await greeter.hello({ name: "Ada" });
 * if (text !== "spiffe://example.org/web says Ada") throw new Error(text);
 * ```
 *
 * @module
 */
export type { Attested, Attestor } from "./attestor.ts";
export { AuthError, type AuthReason } from "./auth_error.ts";
export { type Authority, type AuthorityKeys, type AuthorityOptions, createAuthority } from "./authority.ts";
export {
  type AuthorityMethods,
  AuthorityService,
  authorityService,
  type RemoteAuthority,
  remoteAuthority,
} from "./authority_service.ts";
export { keyFromBinding } from "./binding_key.ts";
export {
  attenuate,
  type Capability,
  type CapabilityHolder,
  type CapabilityIssuer,
  type Grant,
  issueCapability,
  readChain,
} from "./capability.ts";
export type {
  All,
  AnyOf,
  Constraint,
  ConstraintEntry,
  Exact,
  OneOf,
  PathPrefix,
  Range,
  Scalar,
  Subset,
  Wildcard,
} from "./constraint.ts";
export {
  allOf,
  anyOf,
  exact,
  oneOf,
  optional,
  pathPrefix,
  range,
  type RangeBounds,
  subset,
  wildcard,
} from "./constraint_builders.ts";
export { ConstraintError } from "./constraint_error.ts";
export type { KnownServer } from "./client_session.ts";
export { delegating, type Delegation } from "./delegating.ts";
export {
  type EncryptionJwk,
  type EncryptionKey,
  generateEncryptionKey,
  importEncryptionKey,
} from "./encryption_key.ts";
export type { Evidence } from "./enrollment.ts";
export {
  type Credential,
  type Enroller,
  generateIdentity,
  type GenerateIdentityOptions,
  type Identity,
  importIdentity,
  type ImportIdentityOptions,
} from "./identity.ts";
export { followTrust, type FollowTrustOptions } from "./follow_trust.ts";
export { type JoinTokens, joinTokens } from "./join_tokens.ts";
export { readJws, signJws, type UnverifiedJws, verifyJws } from "./jws.ts";
export { oidcTokens, type OidcTokensOptions } from "./oidc_tokens.ts";
export { importPeerKey } from "./peer_key.ts";
export {
  allow,
  decidesFor,
  type Explanation,
  type Policy,
  policy,
  type Question,
  type Rule,
  type TopicQuestion,
  type TopicRights,
} from "./policy.ts";
export type { ProtectOptions } from "./gate.ts";
export { protect } from "./protect.ts";
export { prove, type ProveOptions } from "./prove.ts";
export type { PublicJwk } from "./public_key.ts";
export { memoryReplay, type MemoryReplayOptions, type ReplayStore, type UsedNonce } from "./replay.ts";
export { type Secret, secret } from "./secret.ts";
export { parseSpiffeId, parseWorkloadId, type SpiffeId } from "./spiffe_id.ts";
export { generateKey, importKey, keyOfPair, type Signer, type SigningKey } from "./signing_key.ts";
export { storedKey } from "./stored_key.ts";
export { createTrust, type Trust, type TrustOptions } from "./trust.ts";
export type { BundleKey, Revocations, TrustBundle } from "./trust_bundle.ts";
export { type ArgumentMap, type ToolMap } from "./tool_map.ts";
export type { HashProvider } from "../internal/hash.ts";
export { KEY_USES } from "./wire.ts";
export type { Workload } from "./wit.ts";
