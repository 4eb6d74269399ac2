/**
 * Postern on Bun: HTTP/2 and HTTP/1.1 over TLS 1.3.
 *
 * Bun ends a connection that is silent for 60 s, also in the middle of a response, so a quiet stream needs heartbeats.
 *
 * @example Serve on localhost
 * ```ts ignore
 * import { serve } from "@postern/rpc/bun";
 *
 * const serving = await serve(server, { cert, key });
 * console.log(`Listening on ${serving.url}`);
 * await serving.finished;
 * ```
 *
 * @module
 */
import { getCACertificates } from "node:tls";
import type { AcceptedUpgrade } from "./accept_web_socket.ts";
import { type BunSocket, bunSocketHandlers } from "./bun_web_socket.ts";
import { assertCanaryRefused, type Canary, isUntrustedCode } from "./canary.ts";
import { CANARY_CERTIFICATE, CANARY_KEY_NOT_A_SECRET } from "./canary_certificate.ts";
import type { HashProvider } from "../internal/hash.ts";
import type { FetchOptions, FetchServer, RuntimeFetch, RuntimeWebSocket, ServeOptions, Serving } from "./runtime.ts";
import { checkCaCerts, checkClientCertificate, createRuntimeFetch } from "./runtime_fetch.ts";
import {
  type CheckedServeOptions,
  checkServeOptions,
  createServing,
  type Handling,
  handlingOf,
  isUpgrade,
  type Listener,
} from "./serving.ts";
import { dialWithNode, tlsWebSocket } from "./tls_web_socket.ts";

export type { HashProvider } from "../internal/hash.ts";
export { brokerStore } from "./broker_store.ts";
export { fileSink, type FileSinkOptions } from "./file_sink.ts";
export { keyFromEnvironment } from "./key_environment.ts";
export { keyFromFile, writeKeyFile } from "./key_file.ts";
export type * from "./runtime.ts";

const TLS_1_3 = 0x0304;
const IDLE_SECONDS = 60;
/** Far above any limit of ours, which therefore answers first, and far below what fills a machine. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;

/**
 * Serves over TLS 1.3, HTTP/2 where the client speaks it.
 *
 * @param server What answers requests.
 * @param options The certificate, the key and where to listen.
 * @returns The listening server; dispose it to drain it.
 * @throws {TypeError} Without a certificate or a key, or for clients' certificates of no authority.
 * @throws {Error} When this process does not verify certificates.
 */
export async function serve(server: FetchServer, options: ServeOptions): Promise<Serving> {
  const checked = checkServeOptions(options);
  await assertCertificateVerification();
  const handling = handlingOf(server);
  return createServing(server, await (checked.clientCerts ? listenWithNode : listen)(checked, handling), checked);
}

/**
 * A `fetch` that trusts more authorities than Bun does.
 *
 * Certificates are verified even when `NODE_TLS_REJECT_UNAUTHORIZED=0` is set. Bun keeps one connection pool per
 * process and closes idle connections by itself, so disposal does not.
 *
 * @param options Whom to trust, and a certificate to show.
 * @returns The fetch.
 * @throws {TypeError} For text that is not a certificate as PEM, or a certificate without its key.
 */
export function createFetch(options: FetchOptions = {}): RuntimeFetch {
  const tls = { ...trustOf(options), rejectUnauthorized: true };
  return createRuntimeFetch((input, init) => fetch(input, { ...init, tls } as RequestInit), () => {});
}

/**
 * Opens WebSockets for `webSocketTransport`.
 *
 * @param options Whom to trust, and a certificate to show.
 * @returns What opens them.
 * @throws {TypeError} For text that is not a certificate as PEM, or a certificate without its key.
 */
export function createWebSocket(options: FetchOptions = {}): RuntimeWebSocket {
  const dial = dialWithNode(trustOf(options));
  return (url, protocols = []) => tlsWebSocket(url, protocols, dial);
}

/**
 * Bun's own SHA-256, some times as fast as one in JavaScript; for `protect` and `prove`.
 *
 * @returns The provider.
 */
export function nativeHash(): HashProvider {
  return {
    sha256: (data) => Bun.SHA256.hash(data, new Uint8Array(32)),
    hmac(key) {
      const keyed = new Bun.CryptoHasher("sha256", new Uint8Array(key));
      return (data) => new Uint8Array(keyed.copy().update(data).digest());
    },
  };
}

/** Bun trusts `ca` instead of its own list. It reads the list at each call, and reads one text fastest: about 0.1 ms. */
function trustOf(options: FetchOptions): { readonly ca?: string; readonly cert?: string; readonly key?: string } {
  const caCerts = checkCaCerts(options);
  const ca = caCerts.length > 0 && { ca: [...getCACertificates("default"), ...caCerts].join("\n") };
  return { ...ca, ...checkClientCertificate(options) };
}

/**
 * Proves that this process refuses a certificate nobody signed; {@linkcode serve} calls it first.
 *
 * @throws {Error} When verification is off, or when that cannot be found out, as behind a proxy.
 */
export function assertCertificateVerification(): Promise<void> {
  return assertCanaryRefused({
    listen: listenCanary,
    refusedCertificate: isUntrustedCode,
    fix: "start it without NODE_TLS_REJECT_UNAUTHORIZED=0",
  });
}

/** What this file uses of Bun, whose types are not on JSR. */
interface BunServer {
  readonly port: number;
  upgrade(
    request: Request,
    options: { readonly headers: Record<string, string>; readonly data: AcceptedUpgrade },
  ): boolean;
  stop(closeActiveConnections?: boolean): Promise<void>;
}

interface BunServeOptions {
  readonly hostname: string;
  readonly port: number;
  readonly http2: boolean;
  readonly tls: { readonly cert: string; readonly key: string; readonly minVersion: number };
  readonly idleTimeout: number;
  readonly maxRequestBodySize: number;
  readonly development: boolean;
  readonly websocket: ReturnType<typeof bunSocketHandlers>;
  fetch(request: Request): Promise<Response | undefined>;
}

interface BunHasher {
  copy(): BunHasher;
  update(data: Uint8Array): BunHasher;
  digest(): Uint8Array<ArrayBuffer>;
}

declare const Bun: {
  serve(options: BunServeOptions): BunServer;
  readonly SHA256: { hash(data: Uint8Array, into: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> };
  readonly CryptoHasher: new (algorithm: "sha256", key: Uint8Array) => BunHasher;
};

/** Loaded where it is used, because most servers need no `node:http2`. */
async function listenWithNode(options: CheckedServeOptions, handling: Handling): Promise<Listener> {
  const { listenOnNode, STREAM_WINDOW_BYTES } = await import("./node_listener.ts");
  // Bun 1.4.5 gives a stream its window back when half of the connection's is used, so with more an upload would stall.
  const connectionWindowBytes = 2 * STREAM_WINDOW_BYTES;
  // It also lets an HTTP/1.1 client take forever over a header, and keeps what is idle.
  return listenOnNode(options, handling, { connectionWindowBytes, silentMs: IDLE_SECONDS * 1_000 });
}

function listen(options: CheckedServeOptions, { answer, upgrade }: Handling): Listener {
  const sockets = new Set<BunSocket>();
  const upgraded = async (request: Request) => {
    const outcome = await upgrade!(request);
    if (outcome instanceof Response) return outcome;
    const headers = { "sec-websocket-protocol": outcome.protocol };
    if (server.upgrade(request, { headers, data: outcome })) return undefined;
    return new Response(null, { status: 400 });
  };
  const server = Bun.serve({
    hostname: options.hostname,
    port: options.port,
    http2: true,
    tls: { cert: options.cert, key: options.key, minVersion: TLS_1_3 },
    idleTimeout: IDLE_SECONDS,
    maxRequestBodySize: MAX_BODY_BYTES,
    development: false, // otherwise errors are pages with source code
    websocket: bunSocketHandlers(sockets),
    fetch: (request) => upgrade && isUpgrade(request) ? upgraded(request) : answer(request),
  });
  // In Bun 1.4.5 a stop() beside a stop(true) never settles, and a process that waits for it ends without another word.
  let onCut: () => void;
  const wasCut = new Promise<void>((resolve) => onCut = resolve);
  return {
    port: server.port,
    close: () => Promise.race([server.stop(), wasCut]),
    cut() {
      for (const socket of sockets) socket.terminate();
      void server.stop(true);
      onCut();
    },
  };
}

function listenCanary(): Canary {
  const certificate = { cert: CANARY_CERTIFICATE, key: CANARY_KEY_NOT_A_SECRET };
  const where = { hostname: "127.0.0.1", port: 0, drainMs: 0 };
  const listener = listen({ ...certificate, ...where }, { answer: () => Promise.resolve(new Response()) });
  return { port: listener.port, close: () => listener.cut() };
}
