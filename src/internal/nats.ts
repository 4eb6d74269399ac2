/** What is used of a connection to NATS; `NatsConnection` of `@nats-io/nats-core` 3 is one. */
export interface NatsConnectionLike {
  /** What the server says of itself; absent while there is no connection. */
  readonly info?: {
    /** Whether it lets nobody in without credentials. */
    readonly auth_required?: boolean;
    /** Whether it takes no connection without TLS; servers do not say so over a WebSocket. */
    readonly tls_required?: boolean;
  };
  /** The servers that it may connect to. */
  getServers(): readonly {
    /** The server's URL. */
    readonly src: string;
  }[];
  /** Whether it has been closed. */
  isClosed(): boolean;
  /** What happens to it; ends when it is closed. */
  status(): NatsStatusesLike;
}

/** What happens to a connection. */
export interface NatsStatusesLike extends AsyncIterable<{ readonly type: string }> {
  /** Ends it. */
  stop?(): void;
}

/** What makes a connection useless: there is none, anybody is let in, or others can read it. */
export type NatsWeakness = "lost" | "open" | "unencrypted";

/**
 * Looks for what makes a connection one that others can read, or that lets in everybody.
 *
 * A server says of its port, and not of its WebSocket, that it needs TLS, so for a WebSocket its URL counts; and because a
 * client may go on to any server that it knows, all of them count.
 *
 * @param connection The connection.
 * @returns What is wrong with it; undefined where nothing is.
 */
export function natsWeakness(connection: NatsConnectionLike): NatsWeakness | undefined {
  const { info } = connection;
  if (connection.isClosed() || !info) return "lost";
  if (info.auth_required !== true) return "open";
  const isEncrypted = connection.getServers()
    .every(({ src }) => /^wss:/i.test(src) || (!/^ws:/i.test(src) && info.tls_required === true));
  return isEncrypted ? undefined : "unencrypted";
}

/** An error of a client of NATS, and those that caused it, which say more: the outer ones only name the request. */
export function natsCauses(
  error: unknown,
): readonly { readonly name?: unknown; readonly code?: unknown; readonly subject?: unknown }[] {
  const causes: { readonly name?: unknown; readonly code?: unknown }[] = [];
  for (let cause = error; cause instanceof Error && causes.length < MAX_CAUSES; cause = cause.cause) causes.push(cause);
  return causes;
}

/** Whether a server did not allow something: by the names of the errors of `@nats-io/nats-core`. */
export function isNatsRefusal(error: unknown): boolean {
  return natsCauses(error).some(({ name }) => REFUSALS.has(`${name}`));
}

const REFUSALS: ReadonlySet<string> = /* @__PURE__ */ new Set([
  "PermissionViolationError",
  "AuthorizationError",
  "UserAuthenticationExpiredError",
]);
const MAX_CAUSES = 8;
