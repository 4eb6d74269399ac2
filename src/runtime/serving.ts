import type { PeerInfo, Upgrade } from "../rpc/mod.ts";
import type { ClientCertOptions, FetchServer, ServeOptions, Serving } from "./runtime.ts";

/** A runtime's listener. */
export interface Listener {
  /** The port it listens on. */
  readonly port: number;
  /** Stops accepting, closes idle connections and settles when the last request is answered. */
  close(): Promise<void>;
  /** Closes every connection, answered or not; {@linkcode Listener.close} settles after it. */
  cut(): void;
}

/** {@linkcode ServeOptions} with every default filled in. */
export type CheckedServeOptions =
  & Required<Omit<ServeOptions, "clientCerts">>
  & Pick<ServeOptions, "clientCerts">;

/**
 * Fills in the defaults and refuses what cannot be served.
 *
 * @param options The caller's options.
 * @returns A complete copy.
 * @throws {TypeError} Without a certificate or a key, or for clients' certificates of no authority.
 * @throws {RangeError} For a port or a drain time out of range.
 */
export function checkServeOptions(options: ServeOptions): CheckedServeOptions {
  const { cert, key, port = 8443, hostname = "127.0.0.1", drainMs = 10_000 } = options;
  requirePem(cert, "cert", "CERTIFICATE");
  requirePem(key, "key", "PRIVATE KEY");
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new RangeError(`Cannot serve: "port" must be an integer from 0 to 65535`);
  }
  // setTimeout treats a longer delay as 1 ms, which would cut calls instead of waiting for them.
  if (!(drainMs >= 0 && drainMs <= 0x7fff_ffff)) {
    throw new RangeError(`Cannot serve: "drainMs" must be from 0 to ${0x7fff_ffff}`);
  }
  const { clientCerts } = options;
  return { cert, key, port, hostname, drainMs, ...clientCerts && { clientCerts: checkClientCerts(clientCerts) } };
}

function checkClientCerts({ caCerts, proxies = [], forwardedCaCerts = caCerts }: ClientCertOptions): ClientCertOptions {
  for (const [name, list] of Object.entries({ caCerts, forwardedCaCerts })) {
    // Without an authority of ours, node:tls would accept those that the runtime trusts: the public ones.
    if (!Array.isArray(list) || list.length === 0) {
      throw new TypeError(
        `Cannot ask for certificates: "clientCerts.${name}" must have the certificate of an authority`,
      );
    }
  }
  if (!Array.isArray(proxies) || proxies.some((id) => typeof id !== "string" || id === "")) {
    throw new TypeError(`Cannot ask for certificates: "clientCerts.proxies" must be a list of URIs`);
  }
  return { caCerts: [...caCerts], proxies: [...proxies], forwardedCaCerts: [...forwardedCaCerts] };
}

function requirePem(value: unknown, name: string, label: string): void {
  if (typeof value === "string" && value.includes("-----BEGIN ") && value.includes(`${label}-----`)) return;
  throw new TypeError(
    `Cannot serve without TLS: "${name}" must be a ${label.toLowerCase()} as PEM text; ` +
      "for development, `deno run -A tools/dev_ca.ts` makes one",
  );
}

/** What a listener does with requests; none of it throws. */
export interface Handling {
  /** Answers a request; with an empty 500 when the server throws: runtimes put the error, or a page about it, there. */
  answer(request: Request, info?: PeerInfo): Promise<Response>;
  /** Answers a request for a WebSocket, where the server has them. */
  readonly upgrade?: (request: Request, info?: PeerInfo) => Promise<Upgrade>;
}

/**
 * Makes of a server what a listener calls.
 *
 * @param server The server.
 * @returns What never throws.
 */
export function handlingOf(server: FetchServer): Handling {
  const whole = async <T>(request: Request, answer: () => T | Promise<T>): Promise<T | Response> => {
    try {
      return await answer();
    } catch (error) {
      // A handler that fails because its client went away has nothing to report.
      if (!request.signal.aborted) console.error("Cannot answer a request: the server's fetch threw", error);
      return new Response(null, { status: 500 });
    }
  };
  return {
    answer: (request, info) => whole(request, () => server.fetch(request, info)),
    ...server.upgrade && { upgrade: (request, info) => whole(request, () => server.upgrade!(request, info)) },
  };
}

/**
 * Tells a request for a WebSocket from others, at little cost for calls, which are no GET.
 *
 * @param request The request.
 * @returns Whether it asks for a WebSocket.
 */
export function isUpgrade(request: Request): boolean {
  return request.method === "GET" && request.headers.get("upgrade")?.toLowerCase() === "websocket";
}

/**
 * Joins a server and its listener.
 *
 * @param server The server, disposed before the listener.
 * @param listener The listener.
 * @param options Where it listens and how long it drains.
 * @returns What `serve` returns.
 */
export function createServing(server: FetchServer, listener: Listener, options: CheckedServeOptions): Serving {
  let finish: () => void;
  const finished = new Promise<void>((resolve) => finish = resolve);
  let draining: Promise<void> | undefined;
  return {
    url: `https://${reachableHost(options.hostname)}:${listener.port}`,
    port: listener.port,
    hostname: options.hostname,
    finished,
    [Symbol.asyncDispose]: () => draining ??= drain(server, listener, options.drainMs).finally(() => finish()),
  };
}

async function drain(server: FetchServer, listener: Listener, drainMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      listener.cut();
      resolve();
    }, drainMs);
  });
  try {
    await Promise.race([server[Symbol.asyncDispose]?.(), late]);
  } finally {
    await listener.close().finally(() => clearTimeout(timer));
  }
}

/** `localhost` is in every development certificate, and a wildcard address is no destination. */
function reachableHost(hostname: string): string {
  if (["127.0.0.1", "::1", "0.0.0.0", "::", "localhost"].includes(hostname)) return "localhost";
  return hostname.includes(":") ? `[${hostname}]` : hostname;
}
