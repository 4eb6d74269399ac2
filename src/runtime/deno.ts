/**
 * Postern on Deno: HTTP/2 and HTTP/1.1 over TLS.
 *
 * Deno lets nobody choose TLS versions: rustls offers 1.3 and 1.2, the latter with ECDHE and AEAD suites only.
 *
 * @example Serve on localhost
 * ```ts ignore
 * import { serve } from "@postern/rpc/deno";
 *
 * await using serving = await serve(server, { cert, key });
 * console.log(`Listening on ${serving.url}`);
 * await serving.finished;
 * ```
 *
 * @module
 */
import { assertCanaryRefused, type Canary } from "./canary.ts";
import { CANARY_CERTIFICATE, CANARY_KEY_NOT_A_SECRET } from "./canary_certificate.ts";
import { listenOnDeno } from "./deno_listener.ts";
import { denoTlsSocket } from "./deno_tls_socket.ts";
import type { FetchOptions, FetchServer, RuntimeFetch, RuntimeWebSocket, ServeOptions, Serving } from "./runtime.ts";
import { checkCaCerts, checkClientCertificate, createRuntimeFetch } from "./runtime_fetch.ts";
import {
  type CheckedServeOptions,
  checkServeOptions,
  createServing,
  type Handling,
  handlingOf,
  type Listener,
} from "./serving.ts";
import { tlsTrust } from "./tls_trust.ts";
import { dialWithNode, tlsWebSocket } from "./tls_web_socket.ts";

export { type HashProvider, nobleHash as nativeHash } from "../internal/hash.ts";
export { brokerStore } from "./broker_store.ts";
export { fileSink, type FileSinkOptions } from "./file_sink.ts";
export { keyFromEnvironment } from "./key_environment.ts";
export { keyFromFile, writeKeyFile } from "./key_file.ts";
export type * from "./runtime.ts";

/**
 * Serves over TLS, HTTP/2 where the client speaks it.
 *
 * A server without a disposal of its own loses, when drained, HTTP/1.1 requests whose body is still arriving.
 *
 * Needs `--allow-net` for the address and for 127.0.0.1 (see {@linkcode assertCertificateVerification}).
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
  return createServing(server, await (checked.clientCerts ? listenWithNode : listenOnDeno)(checked, handling), checked);
}

/**
 * A `fetch` that trusts more authorities than Deno does.
 *
 * Deno trusts Mozilla's list unless `DENO_TLS_CA_STORE`, `DENO_CERT` or `NODE_EXTRA_CA_CERTS` say otherwise.
 *
 * @param options Whom to trust, and a certificate to show.
 * @returns The fetch; dispose it to close its connections.
 * @throws {TypeError} For text that is not a certificate as PEM, or a certificate without its key.
 */
export function createFetch(options: FetchOptions = {}): RuntimeFetch {
  const client = Deno.createHttpClient({ caCerts: checkCaCerts(options), ...checkClientCertificate(options) });
  return createRuntimeFetch((input, init) => fetch(input, { ...init, client }), () => client.close());
}

/**
 * Opens WebSockets for `webSocketTransport`.
 *
 * Not with Deno's own `WebSocket`, which waits 44 ms for an acknowledgement of TCP inside of each message over 1,024
 * bytes and between two in a row.
 *
 * Needs `--allow-net` for the server; with a certificate to show it needs `--allow-sys=ca` too.
 *
 * @param options Whom to trust, and a certificate to show.
 * @returns What opens them.
 * @throws {TypeError} For text that is not a certificate as PEM, or a certificate without its key.
 */
export function createWebSocket(options: FetchOptions = {}): RuntimeWebSocket {
  const caCerts = checkCaCerts(options);
  // Deno.startTls() shows no certificate.
  const dial = checkClientCertificate(options).cert
    ? dialWithNode({ secureContext: tlsTrust(options)! })
    : (host: string, port: number) => denoTlsSocket({ host, port, caCerts });
  return (url, protocols = []) => tlsWebSocket(url, protocols, dial);
}

/**
 * Proves that this process refuses a certificate nobody signed; {@linkcode serve} calls it first.
 *
 * It finds `--unsafely-ignore-certificate-errors` for all hosts or for 127.0.0.1; a list of other hosts shows nowhere.
 *
 * @throws {Error} When verification is off, or when that cannot be found out: a missing permission, a proxy.
 */
export function assertCertificateVerification(): Promise<void> {
  return assertCanaryRefused({
    listen: listenCanary,
    // rustls names every reason to refuse a certificate by this prefix, and nothing else; Deno has no code for it.
    refusedCertificate: (error) => error instanceof Error && causes(error).includes("invalid peer certificate"),
    fix: "start it without --unsafely-ignore-certificate-errors",
  });
}

/** Loaded where it is used, because most servers need no `node:http2`. */
async function listenWithNode(options: CheckedServeOptions, handling: Handling): Promise<Listener> {
  const { listenOnNode } = await import("./node_listener.ts");
  return listenOnNode(options, handling);
}

function listenCanary(): Canary {
  const certificate = { cert: CANARY_CERTIFICATE, key: CANARY_KEY_NOT_A_SECRET };
  const where = { hostname: "127.0.0.1", port: 0, drainMs: 0 };
  const listener = listenOnDeno({ ...certificate, ...where }, { answer: () => Promise.resolve(new Response()) });
  return {
    port: listener.port,
    close() {
      listener.cut();
      return listener.close();
    },
  };
}

function causes(error: Error): string {
  return error.cause instanceof Error ? `${error.message}\n${causes(error.cause)}` : error.message;
}
