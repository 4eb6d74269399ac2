// Starts a real nats-server on this machine, set up as docs/registries.md says.
import { type NatsConnection, wsconnect } from "@nats-io/nats-core";
import { type KV, Kvm } from "@nats-io/kv";
import { findServer, type ServerFolder, serverFolder, type ServerProgram, startServer, withPorts } from "./_process.ts";

/** The users of the server: who makes the bucket, who registers, who only reads, and who has no right at all. */
export type NatsUser = "admin" | "service" | "client" | "stranger";

/** The bucket. */
export const BUCKET = "registry";

/** How the server is set up; everything that is not safe is for tests of a refusal. */
export interface NatsServerOptions {
  /** Whether it wants credentials. @default {true} */
  readonly auth?: boolean;
  /** Whether its WebSocket has TLS. @default {true} */
  readonly tls?: boolean;
  /** How much the bucket may hold. @default {-1, without a limit} */
  readonly maxBytes?: number;
}

/** A server that runs. */
export interface NatsServer extends AsyncDisposable {
  /** Where it is. */
  readonly url: string;
  /** A connection of a user, which ends with the server at the latest. */
  connect(user: NatsUser): Promise<NatsConnection>;
  /** The bucket, as one connection sees it. */
  open(connection: NatsConnection): Promise<KV>;
  /** Ends the server; `start` starts it again, with the same ports and the same store. */
  stop(): Promise<void>;
  /** Starts it again. */
  start(): Promise<void>;
}

/** nats-server, if it is installed. */
export function findNats(): Promise<ServerProgram> {
  return findServer("nats-server", "/usr/sbin/nats-server", "/usr/local/bin/nats-server", "/usr/bin/nats-server");
}

/**
 * Starts a server with an empty bucket.
 *
 * @param path The program.
 * @param options What differs from the defaults.
 */
export async function launchNats(
  path: string,
  { auth = true, tls = true, maxBytes = -1 }: NatsServerOptions = {},
): Promise<NatsServer> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await serverFolder("nats"));
  const client = stack.adopt(Deno.createHttpClient({ caCerts: [folder.tls.ca] }), (client) => client.close());
  const { url, start, first } = await withPorts(2, async ([port, webSocketPort]) => {
    const config = `${folder.path}/nats.conf`;
    await Deno.writeTextFile(config, configuration(folder, { auth, tls, port: port!, webSocketPort: webSocketPort! }));
    const address = `127.0.0.1:${webSocketPort}`;
    const isReady = async () => {
      const response = await fetch(`${tls ? "https" : "http"}://${address}`, { client });
      await response.body?.cancel();
      return true;
    };
    const start = () => startServer(path, { args: ["--config", config], isReady });
    return { url: `${tls ? "wss" : "ws"}://${address}`, start, first: await start() };
  });
  let process = first;
  stack.defer(() => process[Symbol.asyncDispose]());
  const connections: NatsConnection[] = [];
  stack.defer(async () => void await Promise.all(connections.map((connection) => connection.close())));
  const wsFactory = (address: string) =>
    Promise.resolve({ socket: new WebSocket(address, { client }), encrypted: tls });
  const connect = async (user: NatsUser) => {
    const connection = await wsconnect({
      servers: url,
      ...auth ? { user, pass: passwordOf(user) } : {},
      inboxPrefix: inboxOf(user),
      reconnectTimeWait: 50,
      maxReconnectAttempts: -1,
      wsFactory,
    });
    connections.push(connection);
    return connection;
  };
  if (auth) await makeBucket(await connect("admin"), maxBytes);
  const all = stack.move();

  return {
    url,
    connect,
    open: (connection) => new Kvm(connection).open(BUCKET),
    stop: async () => await process[Symbol.asyncDispose](),
    async start() {
      process = await start();
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function makeBucket(connection: NatsConnection, maxBytes: number): Promise<void> {
  await new Kvm(connection).create(BUCKET, { history: 1, ttl: 600_000, maxValueSize: 9_216, max_bytes: maxBytes });
  await connection.close();
}

const passwordOf = (user: NatsUser) => `password of ${user}`;
const inboxOf = (user: NatsUser) => `_INBOX_${user}`;

interface Configuration {
  readonly auth: boolean;
  readonly tls: boolean;
  readonly port: number;
  readonly webSocketPort: number;
}

function configuration({ path, tls: { certPath, keyPath } }: ServerFolder, options: Configuration): string {
  const certificate = `tls { cert_file: "${certPath}", key_file: "${keyPath}" }`;
  return `
    host: 127.0.0.1
    port: ${options.port}
    ${certificate}
    websocket { host: 127.0.0.1, port: ${options.webSocketPort}, ${options.tls ? certificate : "no_tls: true"} }
    jetstream { store_dir: "${path}/store" }
    ${options.auth ? ACCOUNTS : ""}
  `;
}

const READING = [
  `$JS.API.CONSUMER.CREATE.KV_${BUCKET}.>`,
  `$JS.API.CONSUMER.DELETE.KV_${BUCKET}.*`,
  `$JS.FC.KV_${BUCKET}.>`,
];
const WRITING = [`$JS.API.STREAM.MSG.GET.KV_${BUCKET}`, `$KV.${BUCKET}.>`];
const ACCOUNTS = `
  accounts {
    registry {
      jetstream: enabled
      users: [
        ${user("admin", ["$JS.API.>"])}
        ${user("service", [...READING, ...WRITING])}
        ${user("client", READING)}
        ${user("stranger", ["$JS.API.INFO"])}
      ]
    }
  }
`;

function user(name: NatsUser, publish: readonly string[]): string {
  return `{
    user: ${name}, password: "${passwordOf(name)}"
    permissions { publish { allow: ${JSON.stringify(publish)} }, subscribe { allow: ["${inboxOf(name)}.>"] } }
  }`;
}
