/**
 * A log of decisions that shows when it was tampered with: each entry is a leaf of a Merkle tree, whose root is signed.
 *
 * @example A log, what it says of itself, and one that was edited
 * ```ts
 * import { auditLog, memorySink, verifyAudit } from "@postern/rpc/audit";
 * import assert from "node:assert/strict";
 *
 * const pair = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]) as CryptoKeyPair;
 * const key = {
 *   id: "spiffe://acme.example/orders",
 *   publicKey: new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)),
 * };
 * const signer = {
 *   ...key,
 *   sign: async (bytes: Uint8Array) =>
 *     new Uint8Array(await crypto.subtle.sign("Ed25519", pair.privateKey, new Uint8Array(bytes))),
 * };
 *
 * const sink = memorySink();
 * {
 *   await using log = auditLog(sink, { signer });
 *   log.record({ event: "call.allow", caller: "spiffe://acme.example/shop", method: "orders.v1/place" });
 *   log.record({ event: "call.refuse", reason: "replayed", method: "orders.v1/place" });
 * }
 *
 * const verdict = await verifyAudit(sink.text(), { keys: [key] });
 * assert.ok(verdict.ok && verdict.size === 2);
 *
 * const edited = await verifyAudit(sink.text().replace("replayed", "busy"), { keys: [key] });
 * assert.ok(!edited.ok && edited.problem === "altered" && edited.index === 1);
 * ```
 *
 * @module
 */
export type { Audit, AuditEvent } from "../rpc/mod.ts";
export type { AuditFinding, AuditProblem } from "./_finding.ts";
export type { LogEnd } from "./_log_line.ts";
export type { AuditSource } from "./_log_reader.ts";
export { AuditError, type AuditErrorCode } from "./audit_error.ts";
export { type AuditLog, auditLog, type AuditLogOptions } from "./audit_log.ts";
export type { AuditSink } from "./audit_sink.ts";
export {
  type AuditKey,
  type Checkpoint,
  type CheckpointSigner,
  signCheckpoint,
  verifyCheckpoint,
} from "./checkpoint.ts";
export { consoleSink } from "./console_sink.ts";
export { type MemorySink, memorySink } from "./memory_sink.ts";
export {
  type ConsistencyClaim,
  consistencyProof,
  type InclusionClaim,
  inclusionProof,
  verifyConsistency,
  verifyInclusion,
} from "./merkle_proof.ts";
export { leafHash, type MerkleTree } from "./merkle_tree.ts";
export { rotatingSink, type RotatingSinkOptions } from "./rotating_sink.ts";
export { streamSink } from "./stream_sink.ts";
export { type SoundAudit, verifyAudit, type VerifyAuditOptions } from "./verify_audit.ts";
