/** Real servers that tests can start. */
import { createFetch } from "../../src/runtime/deno.ts";
import {
  findServer,
  serverFolder,
  type ServerProcess,
  type ServerProgram,
  startServer,
  withPorts,
} from "./_process.ts";

/** etcd, if it is installed. */
export function findEtcd(): Promise<ServerProgram> {
  return findServer("etcd", "/usr/bin/etcd", "/usr/local/bin/etcd");
}

/** How etcd is set up. */
export interface EtcdOptions {
  /** Whether it knows who calls. @default {true} */
  readonly auth?: boolean;
  /** Users beside `root`, with what they may do below which prefix; their passwords are their names and "-password". */
  readonly users?: Readonly<Record<string, { readonly right: "READ" | "READWRITE"; readonly prefix: string }>>;
}

/** An etcd on loopback, with TLS. */
export interface Etcd extends AsyncDisposable {
  /** Where it is. */
  readonly url: string;
  /** A fetch that trusts its certificate. */
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Calls a method of its gateway as `root`. */
  asRoot(path: string, message: unknown): Promise<unknown>;
  /** Kills it, and starts it again in the same place with the same data. */
  restart(): Promise<void>;
  /** Kills it. */
  kill(): Promise<void>;
}

/**
 * Starts etcd with `root` and the users that are asked for.
 *
 * @param path The program.
 * @param options How it is set up.
 */
export async function launchEtcd(path: string, { auth = true, users = {} }: EtcdOptions = {}): Promise<Etcd> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await serverFolder("etcd"));
  const fetch = stack.use(createFetch({ caCerts: [folder.tls.ca] }));
  const started = await withPorts(2, async ([port, peerPort]) => {
    const url = `https://127.0.0.1:${port}`;
    const start = () =>
      startServer(path, {
        args: argsOf(url, `https://127.0.0.1:${peerPort}`, folder),
        isReady: async () => {
          const response = await fetch(`${url}/health`);
          return (await response.json()).health === "true";
        },
      });
    return { url, start, server: await start() };
  });
  const { url, start } = started;
  let server: ServerProcess = started.server;
  stack.defer(() => server[Symbol.asyncDispose]());
  const call = caller(url, fetch);
  if (auth) await setUp(call, users);
  const all = stack.move();
  return {
    url,
    fetch,
    async asRoot(path, message) {
      const { token } = auth ? await call("auth/authenticate", { name: "root", password: "root-password" }) : {};
      return await call(path, message, token as string | undefined);
    },
    async restart() {
      await server[Symbol.asyncDispose]();
      server = await start();
    },
    kill: async () => await server[Symbol.asyncDispose](),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function argsOf(url: string, peerUrl: string, { path, tls }: Awaited<ReturnType<typeof serverFolder>>): string[] {
  const settings = {
    "data-dir": `${path}/data`,
    "listen-client-urls": url,
    "advertise-client-urls": url,
    "cert-file": tls.certPath,
    "key-file": tls.keyPath,
    "listen-peer-urls": peerUrl,
    "initial-advertise-peer-urls": peerUrl,
    "initial-cluster": `default=${peerUrl}`,
    "peer-cert-file": tls.certPath,
    "peer-key-file": tls.keyPath,
    // One member elects itself the sooner; passwords of tests need no protection.
    "heartbeat-interval": "50",
    "election-timeout": "250",
    "bcrypt-cost": "4",
  };
  return Object.entries(settings).map(([name, value]) => `--${name}=${value}`);
}

type Call = (path: string, message: unknown, token?: string) => Promise<Record<string, unknown>>;

function caller(url: string, fetch: Etcd["fetch"]): Call {
  return async (path, message, token) => {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: token };
    const response = await fetch(`${url}/v3/${path}`, { method: "POST", headers, body: JSON.stringify(message) });
    const answer = await response.json();
    if (!response.ok) throw new Error(`Cannot set up etcd: ${path} answers ${JSON.stringify(answer)}`);
    return answer;
  };
}

/** As docs/registries.md says; what etcdctl calls a right of a prefix is one of the keys up to the next prefix. */
async function setUp(call: Call, users: NonNullable<EtcdOptions["users"]>): Promise<void> {
  for (const [name, given] of [["root", undefined] as const, ...Object.entries(users)]) {
    await call("auth/user/add", { name, password: `${name}-password` });
    await call("auth/role/add", { name });
    await call("auth/user/grant", { user: name, role: name });
    if (!given) continue;
    const range = { key: btoa(given.prefix), range_end: btoa(`${given.prefix.slice(0, -1)}0`) };
    await call("auth/role/grant", { name, perm: { permType: given.right, ...range } });
  }
  await call("auth/enable", {});
}
