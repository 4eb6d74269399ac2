import type { EncryptionJwk, Workload } from "../auth/mod.ts";

/** An instance whose record was verified: its authority lets it serve what it says it serves, and it said so itself. */
export interface Instance {
  /** Its name among all instances: its identity and its own id; nobody of another identity can have it. */
  readonly name: string;
  /** The SPIFFE id that it must prove with every answer. */
  readonly identity: string;
  /** Its own id among those of its identity. */
  readonly id: string;
  /** The services that it serves, each with the digest of its contract; "" where a contract has none. */
  readonly services: Readonly<Record<string, string>>;
  /** Where it is reached, the preferred one first. */
  readonly endpoints: readonly string[];
  /** The name to address calls to it by; its identity where it has no other. */
  readonly audience: string;
  /** Its version, as Semantic Versioning writes it. */
  readonly version: string;
  /** The toolkit that it was made with, and its version. */
  readonly toolkit: string;
  /** Where it runs; undefined where it does not say. */
  readonly region: string | undefined;
  /** How much of its identity's calls it wants beside others, from 1 to 100. */
  readonly weight: number;
  /** Whether it is about to end, and wants no new calls. */
  readonly draining: boolean;
  /** The key to encrypt for it; undefined where it has none. */
  readonly encryptionKey: EncryptionJwk | undefined;
  /** The workload that signed the record; undefined where the authority did. */
  readonly signer: Workload | undefined;
  /** Which of the instance's records this is; the next one's is greater. */
  readonly sequence: number;
  /** When the record ends, in milliseconds since 1970. */
  readonly expiresAtMs: number;
}
