import { toBase64Url } from "../internal/base64.ts";
import { instanceName, readRecord } from "./record.ts";
import { RegistryError } from "./registry_error.ts";

/** What a backend has to know of a record that it keeps. */
export interface StoredRecord {
  /** The record. */
  readonly record: string;
  /** The name of its instance. */
  readonly name: string;
  /** The namespace that it is for. */
  readonly namespace: string;
  /** The services that its instance serves. */
  readonly services: readonly string[];
  /** Grows with every record of one instance. */
  readonly sequence: number;
  /** In milliseconds since 1970. */
  readonly expiresAtMs: number;
}

/**
 * Reads what a backend has to know of a record; none of it is true yet.
 *
 * @throws {RegistryError} `malformed_record`.
 */
export function storedRecord(record: string): StoredRecord {
  const { sub, jti, aud, seq, exp, services } = readRecord(record).claims;
  return {
    record,
    name: instanceName(sub, jti),
    namespace: aud,
    services: Object.keys(services),
    sequence: seq,
    expiresAtMs: exp * 1_000,
  };
}

/** What {@linkcode storedRecord} gives, or undefined where a store that anybody can have written to holds something else. */
export function tryStoredRecord(record: unknown): StoredRecord | undefined {
  if (typeof record !== "string") return undefined;
  try {
    return storedRecord(record);
  } catch {
    return undefined;
  }
}

/**
 * Assures that a record may take the place of the one that is held.
 *
 * A held one of another instance, or one that has expired, is none.
 *
 * @throws {RegistryError} `rollback`.
 */
export function assertNewer(record: StoredRecord, held: StoredRecord | undefined, nowMs: number): void {
  if (!held || held.name !== record.name || held.expiresAtMs <= nowMs) return;
  const isNewer = held.sequence < record.sequence;
  if (isNewer || (held.sequence === record.sequence && held.record === record.record)) return;
  throw new RegistryError("rollback", "Cannot register the record: a newer one of the instance is there");
}

/**
 * Assures that a record is for the namespace that a registry keeps.
 *
 * @throws {RegistryError} `wrong_namespace`.
 */
export function assertNamespace(record: StoredRecord, namespace: string): void {
  if (record.namespace === namespace) return;
  throw new RegistryError("wrong_namespace", `Cannot register the record: it is not for the namespace "${namespace}"`);
}

/** A key for an instance, of letters, digits, `_` and `-`, as long for every name: no two instances share one. */
export async function instanceKey(name: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(name));
  return toBase64Url(new Uint8Array(digest));
}
