/**
 * Where services are: signed records, the registries that keep them, and what verifies and remembers what these give.
 *
 * @example A record goes in and a verified instance comes out
 * ```ts
 * import { createAuthority, createTrust, generateKey, importIdentity } from "@postern/rpc/auth";
 * import { memoryRegistry, signRecord, verifiedRegistry } from "@postern/rpc/registry";
 *
 * const authority = await createAuthority("example.org");
 * const trust = await createTrust({ "example.org": authority.bundle() });
 * const key = await generateKey();
 * const token = await authority.issue(key.jwk, { id: "spiffe://example.org/greeter", serves: ["greeter.v1"] });
 * const identity = importIdentity(key, token);
 *
 * const registry = memoryRegistry();
 * const endpoints = ["https://greeter.example.org"];
 * const record = await signRecord(identity, { services: { "greeter.v1": "" }, endpoints }, { sequence: 1, lifetimeMs: 60_000 });
 * await registry.register(record);
 *
 * const [instance] = await verifiedRegistry(registry, { trust }).resolve("greeter.v1");
 * if (instance?.identity !== "spiffe://example.org/greeter") throw new Error("the record was refused");
 * ```
 *
 * @module
 */
export { announce, type Announcement, type AnnounceOptions } from "./announce.ts";
export { type CachedRegistry, cachedRegistry, type CachedRegistryOptions } from "./cached_registry.ts";
export type { DenoKvAtomicLike, DenoKvEntryLike, DenoKvKeyLike, DenoKvLike } from "./deno_kv_like.ts";
export { denoKvRegistry, type DenoKvRegistryOptions } from "./deno_kv_registry.ts";
export { type EndpointOptions, type EndpointPolicy, endpointPolicy } from "./endpoint_policy.ts";
export { etcdRegistry, type EtcdRegistryOptions } from "./etcd_registry.ts";
export type { Instance } from "./instance.ts";
export { memoryRegistry, type MemoryRegistryOptions } from "./memory_registry.ts";
export type {
  NatsConnectionLike,
  NatsKvEntriesLike,
  NatsKvEntryLike,
  NatsKvLike,
  NatsStatusesLike,
} from "./nats_like.ts";
export { natsRegistry, type NatsRegistryOptions } from "./nats_registry.ts";
export {
  type InstanceDescription,
  instanceName,
  issueRecord,
  readRecord,
  type RecordClaims,
  type RecordTerms,
  signRecord,
  type UnverifiedRecord,
} from "./record.ts";
export type { Registry, RegistryProperties, RegistryReadOptions } from "./registry.ts";
export { RegistryError, type RegistryReason } from "./registry_error.ts";
export {
  type RegistryChanges,
  type RegistryMethods,
  RegistryService,
  registryService,
  type RegistryServiceOptions,
} from "./registry_service.ts";
export { remoteRegistry } from "./remote_registry.ts";
export { staticRegistry } from "./static_registry.ts";
export { type VerifiedRegistry, verifiedRegistry, type VerifiedRegistryOptions } from "./verified_registry.ts";
