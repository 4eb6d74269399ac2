// Starts a real nats-server on this machine, set up as docs/registries.md says.
import { type NatsConnection, nkeyAuthenticator, nkeys, wsconnect } from "@nats-io/nats-core";
import { type KV, Kvm } from "@nats-io/kv";
import { type NatsPermissions, natsUsers } from "../../src/broker/nats/nats_permissions.ts";
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
  /** Users of an account for events, beside `admin`, who makes streams; each has a key of its own. */
  readonly events?: Readonly<Record<string, NatsPermissions>>;
}

/** A server that runs. */
export interface NatsServer extends AsyncDisposable {
  /** Where it is. */
  readonly url: string;
  /** A connection of a user, which ends with the server at the latest. */
  connect(user: NatsUser): Promise<NatsConnection>;
  /** A connection of a user of the account for events. */
  connectEvents(user: string): Promise<NatsConnection>;
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
  { auth = true, tls = true, maxBytes = -1, events }: NatsServerOptions = {},
): Promise<NatsServer> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await serverFolder("nats"));
  const client = stack.adopt(Deno.createHttpClient({ caCerts: [folder.tls.ca] }), (client) => client.close());
  const members = Object.entries({ ...events, admin: EVENTS_ADMIN }).map(([name, permissions]) => {
    const pair = nkeys.createUser();
    return { name, nkey: pair.getPublicKey(), seed: pair.getSeed(), permissions };
  });
  const accounts = `${ACCOUNTS} ${events ? `events { jetstream: enabled, users: ${natsUsers(members)} }` : ""}`;
  const { url, start, first } = await withPorts(2, async ([port, webSocketPort]) => {
    const config = `${folder.path}/nats.conf`;
    await Deno.writeTextFile(
      config,
      configuration(folder, { tls, port: port!, webSocketPort: webSocketPort!, accounts: auth ? accounts : undefined }),
    );
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
  const connectAs = async (options: Parameters<typeof wsconnect>[0]) => {
    const connection = await wsconnect({
      servers: url,
      ...options,
      reconnectTimeWait: 50,
      maxReconnectAttempts: -1,
      wsFactory,
    });
    connections.push(connection);
    return connection;
  };
  const connect = (user: NatsUser) =>
    connectAs({ ...auth ? { user, pass: passwordOf(user) } : {}, inboxPrefix: inboxOf(user) });
  if (auth) await makeBucket(await connect("admin"), maxBytes);
  const all = stack.move();

  return {
    url,
    connect,
    connectEvents(user) {
      const { seed, permissions } = members.find(({ name }) => name === user)!;
      const inboxPrefix = permissions.subscribe.allow[0]!.slice(0, -2);
      return connectAs({ authenticator: nkeyAuthenticator(seed), inboxPrefix });
    },
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
  readonly tls: boolean;
  readonly accounts: string | undefined;
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
    ${options.accounts ? `accounts { ${options.accounts} }` : ""}
  `;
}

const READING = [
  `$JS.API.CONSUMER.CREATE.KV_${BUCKET}.>`,
  `$JS.API.CONSUMER.DELETE.KV_${BUCKET}.*`,
  `$JS.FC.KV_${BUCKET}.>`,
];
const WRITING = [`$JS.API.STREAM.MSG.GET.KV_${BUCKET}`, `$KV.${BUCKET}.>`];
const ACCOUNTS = `
  registry {
    jetstream: enabled
    users: [
      ${user("admin", ["$JS.API.>"])}
      ${user("service", [...READING, ...WRITING])}
      ${user("client", READING)}
      ${user("stranger", ["$JS.API.INFO"])}
    ]
  }
`;
const EVENTS_ADMIN: NatsPermissions = {
  publish: { allow: ["$JS.API.>"] },
  subscribe: { allow: ["_INBOX_admin.>"] },
};

function user(name: NatsUser, publish: readonly string[]): string {
  return `{
    user: ${name}, password: "${passwordOf(name)}"
    permissions { publish { allow: ${JSON.stringify(publish)} }, subscribe { allow: ["${inboxOf(name)}.>"] } }
  }`;
}
