import { natsCauses, type NatsWeakness, natsWeakness } from "../../internal/nats.ts";
import { within } from "../../internal/within.ts";
import { BrokerError } from "../broker_error.ts";
import { natsFailure } from "./nats_failure.ts";
import type { NatsBrokerConnectionLike, NatsSubscriptionLike } from "./nats_like.ts";

/** A connection as a broker uses it: checked, listened to, and never waited for without an end. */
export interface NatsLink {
  /** The connection. */
  readonly connection: NatsBrokerConnectionLike;
  /** Where answers come. */
  readonly inboxPrefix: string;
  /** What stands in front of topics. */
  readonly subjectPrefix: string | undefined;
  /** How long publishing takes at most. */
  readonly publishTimeoutMs: number;
  /** Throws where the broker is closed, or the connection is gone for good or not to be used. */
  check(): void;
  /** Waits until there is a connection, and no longer than so many milliseconds. */
  connected(ms: number, signal?: AbortSignal): Promise<void>;
  /** Waits until the server has looked at all that was sent. */
  round(): Promise<void>;
  /** Lets a turn of the event loop go by. */
  turn(): Promise<void>;
  /** Told of what happens; returns what ends the telling. */
  listen(listener: NatsListener): () => void;
  /** Ends it, and tells all listeners; fulfilled when they are done. */
  close(): Promise<void>;
}

/** Who is told of what happens to a connection. */
export interface NatsListener {
  /** There is a connection again, perhaps to another server. */
  reconnected?(): void;
  /** Nothing comes any more. */
  ended?(error: BrokerError): unknown;
  /** The server did not allow to publish to a subject. */
  notAllowed?(subject: string, error: unknown): void;
}

/** How a link is made. */
export interface NatsLinkOptions {
  readonly inboxPrefix: string;
  readonly subjectPrefix: string | undefined;
  readonly publishTimeoutMs: number;
}

/**
 * Begins to listen to a connection.
 *
 * @throws {BrokerError} `insecure`, or `unreachable` where there is no connection.
 */
export function natsLink(connection: NatsBrokerConnectionLike, options: NatsLinkOptions): NatsLink {
  assertStrong(connection);
  const listeners = new Set<NatsListener>();
  const state: LinkState = { checked: connection.info, isOver: undefined };
  const tell = (each: (listener: NatsListener) => unknown) => [...listeners].map(each);
  const end = async (error: BrokerError) => {
    if (state.isOver) return;
    state.isOver = error;
    statuses.stop?.();
    const done = tell((listener) => listener.ended?.(error));
    listeners.clear();
    await Promise.all(done);
  };
  const statuses = connection.status();
  follow(connection, { statuses, state, tell, end }).catch(() => end(lost()));
  const listen = (listener: NatsListener) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };
  const check = () => {
    if (state.isOver) throw state.isOver;
    if (connection.isClosed()) throw lost();
    const { info } = connection;
    // Each greeting of a server is another object; there is none while there is no connection.
    if (!info || info === state.checked) return;
    assertStrong(connection);
    state.checked = info;
  };
  return {
    ...options,
    connection,
    check,
    async connected(ms, signal) {
      check();
      if (!connection.info) await untilConnected(listen, ms, signal);
      check();
    },
    round: rounds(connection),
    turn: turns(),
    listen,
    close: () => end(new BrokerError("closed", "Cannot use the broker: it was closed")),
  };
}

function untilConnected(listen: NatsLink["listen"], ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (how: () => void) => {
      unlisten();
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      how();
    };
    const unlisten = listen({
      reconnected: () => settle(resolve),
      ended: (error) => settle(() => reject(error)),
    });
    const timer = setTimeout(() => settle(() => reject(lost())), Math.max(0, ms));
    const abort = () => settle(() => reject(signal?.reason));
    signal?.addEventListener("abort", abort);
  });
}

interface LinkState {
  /** What the server that was looked at last said of itself. */
  checked: NatsBrokerConnectionLike["info"];
  isOver: BrokerError | undefined;
}

interface Following {
  readonly statuses: ReturnType<NatsBrokerConnectionLike["status"]>;
  readonly state: LinkState;
  readonly tell: (each: (listener: NatsListener) => unknown) => void;
  readonly end: (error: BrokerError) => Promise<void>;
}

async function follow(connection: NatsBrokerConnectionLike, { statuses, state, tell, end }: Following): Promise<void> {
  for await (const { type, error } of statuses) {
    if (state.isOver) return;
    if (type === "close") break;
    if (type === "reconnect") {
      const weakness = natsWeakness(connection);
      // Lost again already: the next time tells.
      if (weakness === "lost" && !connection.isClosed()) continue;
      if (weakness) return end(weak(weakness));
      tell((listener) => listener.reconnected?.());
    }
    if (type === "error") {
      for (const cause of natsCauses(error)) {
        const isPublish = (cause as { readonly operation?: unknown }).operation === "publish";
        const { subject } = cause;
        if (isPublish && typeof subject === "string") tell((listener) => listener.notAllowed?.(subject, error));
      }
    }
  }
  await end(lost());
}

/**
 * Makes what asks the server a question, and waits for its answer for at most 5 s. Each message that is published asks one, so
 * they share a timer, which looks twice in that time for who waited since it looked last.
 */
function rounds(connection: NatsBrokerConnectionLike): () => Promise<void> {
  let waiting = new Set<() => void>();
  let longer = new Set<() => void>();
  let timer: ReturnType<typeof setInterval> | undefined;
  const look = () => {
    const late = longer;
    [longer, waiting] = [waiting, new Set()];
    for (const giveUp of late) giveUp();
  };
  return () =>
    new Promise((resolve, reject) => {
      const giveUp = () => (over(), reject(tooSlow()));
      const over = () => {
        waiting.delete(giveUp);
        longer.delete(giveUp);
        if (waiting.size > 0 || longer.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      };
      waiting.add(giveUp);
      timer ??= setInterval(look, PATIENCE_MS / 2);
      connection.flush().then(
        () => (over(), resolve()),
        (error) => (over(), reject(natsFailure(error))),
      );
    });
}

/** Makes what lets a turn of the event loop go by; all who wait in one turn share a timer. */
function turns(): () => Promise<void> {
  let pending: Promise<void> | undefined;
  return () =>
    pending ??= new Promise((resolve) =>
      setTimeout(() => {
        pending = undefined;
        resolve();
      }, 0)
    );
}

/**
 * Waits for NATS, but not for ever: a client may wait for an answer that never comes.
 *
 * @param promise What is waited for.
 * @param ms How long.
 * @throws {BrokerError} `unreachable`, or what the error means.
 */
export async function patiently<Value>(promise: Promise<Value>, ms = PATIENCE_MS): Promise<Value> {
  try {
    return await within(promise, () => ms, tooSlow);
  } catch (error) {
    throw natsFailure(error);
  }
}

/** Ends a subscription of a connection, when what is on its way has come; without a connection, at once. */
export async function endIncoming({ connection }: NatsLink, incoming: NatsSubscriptionLike): Promise<void> {
  if (!connection.info || connection.isClosed()) return incoming.unsubscribe();
  await patiently(incoming.drain()).catch(() => {});
}

function assertStrong(connection: NatsBrokerConnectionLike): void {
  const weakness = natsWeakness(connection);
  if (weakness) throw weak(weakness);
}

function weak(weakness: NatsWeakness): BrokerError {
  if (weakness === "lost") return lost();
  const what = weakness === "open" ? "lets in everybody" : "is not reached over TLS";
  return new BrokerError("insecure", `Cannot use the broker: its NATS server ${what}`);
}

const lost = () => new BrokerError("unreachable", "Cannot use the broker: the connection to NATS was lost");
const tooSlow = () => new BrokerError("unreachable", "Cannot use the broker: NATS took too long to answer");
/** How long one step may take, in milliseconds. */
export const PATIENCE_MS = 5_000;
