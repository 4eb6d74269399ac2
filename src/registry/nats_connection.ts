import { isNatsRefusal, natsCauses, type NatsConnectionLike, natsWeakness } from "../internal/nats.ts";
import { RegistryError, type RegistryReason } from "./registry_error.ts";

/** Tells once when a connection is lost, also when it comes back; returns what ends the telling. */
export function onLoss(connection: NatsConnectionLike, tell: () => void): () => void {
  const statuses = connection.status();
  let isEnded = false;
  const follow = async () => {
    for await (const { type } of statuses) {
      if (isEnded || type === "disconnect" || type === "close") break;
    }
    if (!isEnded) tell();
  };
  follow().catch(tell);
  return () => {
    isEnded = true;
    statuses.stop?.();
  };
}

/**
 * Refuses a connection that others can read, or that lets in everybody.
 *
 * @throws {RegistryError} `insecure`, or `unreachable` where there is no connection.
 */
export function assertEncrypted(connection: NatsConnectionLike): void {
  const weakness = natsWeakness(connection);
  if (weakness === "lost") throw lost();
  if (weakness === "open") {
    throw new RegistryError("insecure", "Cannot use the registry: its NATS server lets in everybody");
  }
  if (weakness) throw new RegistryError("insecure", "Cannot use the registry: its NATS server is not reached over TLS");
}

/** The connection is gone, or came back after it was gone. */
export const lost = (): RegistryError =>
  new RegistryError("unreachable", "Cannot use the registry: the connection to NATS was lost");

/** Turns what a client of NATS throws into what a registry throws. */
export function failure(error: unknown): RegistryError {
  if (error instanceof RegistryError) return error;
  const reason: RegistryReason = isNatsRefusal(error)
    ? "refused"
    : natsCauses(error).some(({ code }) => code === STORE_FULL)
    ? "too_many"
    : "unreachable";
  return new RegistryError(reason, `Cannot use the registry: ${MESSAGES[reason]}`, { cause: error });
}

/** Whether somebody else has written since. */
export function isConflict(error: unknown): boolean {
  return natsCauses(error).some(({ code }) => typeof code === "number" && CONFLICTS.has(code));
}

const MESSAGES = {
  refused: "NATS does not allow it",
  too_many: "the bucket is full",
  unreachable: "NATS does not answer as it should",
};
/** JetStream's codes for "wrong last sequence", with the sequence and without. */
const CONFLICTS: ReadonlySet<number> = /* @__PURE__ */ new Set([10_071, 10_164]);
/** JetStream's code for a stream whose limits are reached. */
const STORE_FULL = 10_077;
