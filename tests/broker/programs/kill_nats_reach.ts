// The way to a NATS server, for the consumers and for the test itself.
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type NatsConnection, nkeyAuthenticator, wsconnect } from "@nats-io/nats-core";
import { type Broker, natsBroker } from "../../../src/broker/mod.ts";

export const STREAM = "EVENTS";
export const PREFIX = "events";

/** Who goes where. */
export interface NatsReach {
  readonly url: string;
  readonly ca: string;
  /** The user's seed. */
  readonly seed: string;
  readonly inboxPrefix: string;
}

/** Connects, and comes back for ever. */
export async function connectNats(
  { url, ca, seed, inboxPrefix }: NatsReach,
): Promise<AsyncDisposable & { readonly connection: NatsConnection }> {
  const client = Deno.createHttpClient({ caCerts: [ca] });
  const connection = await wsconnect({
    servers: url,
    authenticator: nkeyAuthenticator(new TextEncoder().encode(seed)),
    inboxPrefix,
    reconnectTimeWait: 50,
    waitOnFirstConnect: true,
    timeout: 2_000,
    maxReconnectAttempts: -1,
    wsFactory: (address) => Promise.resolve({ socket: new WebSocket(address, { client }), encrypted: true }),
  });
  return {
    connection,
    async [Symbol.asyncDispose]() {
      await connection.close();
      client.close();
    },
  };
}

/** A broker of the stream; disposing ends it, and then the connection. */
export async function reachNats(reach: NatsReach): Promise<AsyncDisposable & { readonly broker: Broker }> {
  await using stack = new AsyncDisposableStack();
  const { connection } = stack.use(await connectNats(reach));
  const manager = await jetstreamManager(connection, { checkAPI: false });
  const kept = { client: jetstream(connection), manager, stream: STREAM };
  const broker = stack.use(await natsBroker(connection, { subjectPrefix: PREFIX, jetstream: kept }));
  const all = stack.move();
  return { broker, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
