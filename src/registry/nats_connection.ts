import type { NatsConnectionLike } from "./nats_like.ts";
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
 * A server says of its port, and not of its WebSocket, that it needs TLS, so for a WebSocket its URL counts; and because a
 * client may go on to any server that it knows, all of them count.
 *
 * @throws {RegistryError} `insecure`, or `unreachable` where there is no connection.
 */
export function assertEncrypted(connection: NatsConnectionLike): void {
  const { info } = connection;
  if (connection.isClosed() || !info) throw lost();
  if (info.auth_required !== true) {
    throw new RegistryError("insecure", "Cannot use the registry: its NATS server lets in everybody");
  }
  const isEncrypted = connection.getServers()
    .every(({ src }) => /^wss:/i.test(src) || (!/^ws:/i.test(src) && info.tls_required === true));
  if (!isEncrypted) {
    throw new RegistryError("insecure", "Cannot use the registry: its NATS server is not reached over TLS");
  }
}

/** The connection is gone, or came back after it was gone. */
export const lost = (): RegistryError =>
  new RegistryError("unreachable", "Cannot use the registry: the connection to NATS was lost");

/** Turns what a client of NATS throws into what a registry throws. */
export function failure(error: unknown): RegistryError {
  if (error instanceof RegistryError) return error;
  const causes = causesOf(error);
  const reason: RegistryReason = causes.some(({ name }) => REFUSALS.has(`${name}`))
    ? "refused"
    : causes.some(({ code }) => code === STORE_FULL)
    ? "too_many"
    : "unreachable";
  return new RegistryError(reason, `Cannot use the registry: ${MESSAGES[reason]}`, { cause: error });
}

/** Whether somebody else has written since. */
export function isConflict(error: unknown): boolean {
  return causesOf(error).some(({ code }) => typeof code === "number" && CONFLICTS.has(code));
}

function causesOf(error: unknown): readonly { readonly name?: unknown; readonly code?: unknown }[] {
  const causes: { readonly name?: unknown; readonly code?: unknown }[] = [];
  for (let cause = error; cause instanceof Error && causes.length < MAX_CAUSES; cause = cause.cause) causes.push(cause);
  return causes;
}

const MESSAGES = {
  refused: "NATS does not allow it",
  too_many: "the bucket is full",
  unreachable: "NATS does not answer as it should",
};
/** Names of the errors of `@nats-io/nats-core`. */
const REFUSALS: ReadonlySet<string> = /* @__PURE__ */ new Set([
  "PermissionViolationError",
  "AuthorizationError",
  "UserAuthenticationExpiredError",
]);
/** JetStream's codes for "wrong last sequence", with the sequence and without. */
const CONFLICTS: ReadonlySet<number> = /* @__PURE__ */ new Set([10_071, 10_164]);
/** JetStream's code for a stream whose limits are reached. */
const STORE_FULL = 10_077;
const MAX_CAUSES = 8;
